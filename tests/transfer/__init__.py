"""Tests of the transfer; they mirror downloader/transfer/."""
