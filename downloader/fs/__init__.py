"""This machine's files, touched so that nothing outside the folder that is meant is reached."""
