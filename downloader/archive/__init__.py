"""Unpack an archive that nobody vouches for, or refuse all of it."""
