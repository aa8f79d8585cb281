"""Messages, routes and their OpenAPI document: what a caller may ask."""
