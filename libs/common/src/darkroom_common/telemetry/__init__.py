"""Logs, traces and metrics: one way to make each, for every service."""
