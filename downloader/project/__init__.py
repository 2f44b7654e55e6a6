"""models.yaml with its models.lock."""
