"""Targets brought up to date."""
