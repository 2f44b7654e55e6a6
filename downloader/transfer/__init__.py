"""One file's bytes: downloaded, resumed and verified."""
