"""The folder that stands on the module search path; nothing is imported through this package."""
