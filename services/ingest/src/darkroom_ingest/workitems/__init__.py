"""Workitems: unified procedure steps, and who is told of them (PS3.4 annex CC)."""
