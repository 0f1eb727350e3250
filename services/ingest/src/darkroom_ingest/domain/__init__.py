"""Decisions of ingest, without I/O."""
