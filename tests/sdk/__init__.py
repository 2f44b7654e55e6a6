"""Clients we did not write, run by a Python of their own: together 1.5 and 3.x exclude each other.

ask_together   run by the SDK's Python: makes the calls and prints what came of them
together       run by ours: starts it against a TogetherServer
"""
