"""Where models come from: one module a provider, none knows another."""
