"""The shared store, module by module."""
