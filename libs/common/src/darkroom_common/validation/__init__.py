"""Validation of objects against the information object definitions of PS3.3."""
