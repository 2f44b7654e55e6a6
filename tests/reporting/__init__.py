"""What a run tells: counted, worded, laid out."""
