"""Extract an untrusted archive, or refuse all of it."""
