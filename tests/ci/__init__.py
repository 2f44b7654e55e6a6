"""What CI services run of ours, run without them."""
