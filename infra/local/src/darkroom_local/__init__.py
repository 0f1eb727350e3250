"""Darkroom on one machine: the `darkroom` command."""
