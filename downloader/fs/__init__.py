"""This machine's files, touched so that a kill, a full disk or somebody else does no harm."""
