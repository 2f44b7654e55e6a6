"""Reading and writing files so that a kill, a full disk or somebody else does no harm."""
