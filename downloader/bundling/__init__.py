"""What a machine without network needs, written and read (docs/offline.md)."""
