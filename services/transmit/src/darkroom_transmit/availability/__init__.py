"""Destinations are told which images are here: Instance Availability Notification."""
