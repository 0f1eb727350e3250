"""Decisions of metadata, made without I/O."""
