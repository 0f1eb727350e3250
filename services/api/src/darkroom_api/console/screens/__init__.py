"""The screens: one file each, with a template of the same name (docs/console.md)."""

from typing import Final

from darkroom_api.console.screens import (
    account,
    film,
    people,
    senders,
    study,
    system,
    transmission,
    trouble,
    upload,
    viewer,
    where,
    worklist,
)

SCREENS: Final = (
    *(account, worklist, study, where, film, upload, viewer),
    *(transmission, trouble, people, senders, system),
)
"""Modules whose `add` adds their routes."""
