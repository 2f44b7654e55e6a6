"""The room project."""
