"""The tests of the sources; every source passes the suite of `contract`."""
