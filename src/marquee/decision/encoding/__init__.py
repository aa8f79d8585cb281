"""The parts of a query: attributes as the tower reads them, and what it would be without each part."""
