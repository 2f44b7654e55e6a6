"""The tests; they mirror downloader/."""
