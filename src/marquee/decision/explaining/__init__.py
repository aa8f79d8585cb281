"""Why an answer was given: asked again as it was asked then, and taken apart."""
