"""Large files checked piece by piece (docs/pieces.md)."""
