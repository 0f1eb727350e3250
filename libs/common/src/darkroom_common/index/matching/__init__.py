"""The kinds of matching (PS3.4 section C.2.2.2)."""
