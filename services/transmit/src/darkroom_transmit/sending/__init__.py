"""Sending: jobs, lanes, and the senders of each protocol."""
