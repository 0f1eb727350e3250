"""The screens: one file each, with a template of the same name (docs/console.md)."""

from typing import Final

from darkroom_api.console.screens import account, viewer, worklist

SCREENS: Final = (account, worklist, viewer)
"""Modules whose `add` adds their routes."""
