"""One project's targets brought up to date."""
