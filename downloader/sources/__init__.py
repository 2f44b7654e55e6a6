"""Sources of models: one module per provider; none imports another."""
