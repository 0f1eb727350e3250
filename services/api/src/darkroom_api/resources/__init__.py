"""Destinations, printers and rules, over REST."""
