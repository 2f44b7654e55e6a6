"""Piece layers."""
