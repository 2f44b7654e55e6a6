"""Together AI's models, in process, against the fake of its API.

conftest        a job with two checkpoints, and the environment that leads to it
projects        what a test says to it: entries, files, requests
"""
