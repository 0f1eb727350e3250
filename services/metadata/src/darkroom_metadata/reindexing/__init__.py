"""Stored objects are read again, and their rows brought up to date."""
