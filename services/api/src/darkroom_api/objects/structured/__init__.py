"""Structured reports: dose, key objects and text (PS3.3 A.35)."""
