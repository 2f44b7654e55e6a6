"""Together AI, end to end."""
