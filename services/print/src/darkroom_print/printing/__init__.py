"""Printing: jobs, lanes, and the Basic Print SCU."""
