"""Routing rules: which instances go where by themselves."""
