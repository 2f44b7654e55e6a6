"""What a run tells of itself: one object that is told, and those who show it.

`run.RunProgress` is told by whoever moves files (doit's tasks, the Python API); it keeps the totals
and hands `events` to its subscribers: lines, JSON, or the live display.
"""
