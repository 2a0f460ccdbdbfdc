"""What is served, as an OpenAPI document and a page."""
