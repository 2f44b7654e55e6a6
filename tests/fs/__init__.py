"""Tests of files that are touched below one folder only."""
