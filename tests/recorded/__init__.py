"""Folders that earlier versions wrote, recorded."""
