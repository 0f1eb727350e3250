"""Decisions of transmit, without I/O."""
