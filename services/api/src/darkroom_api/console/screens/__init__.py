"""The screens: one file each, with a template of the same name (docs/console.md)."""

from typing import Final

from darkroom_api.console.screens import (
    account,
    film,
    notifications,
    others,
    people,
    printers,
    senders,
    start,
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
    *(account, start, notifications, worklist, study, where, film, printers, upload, viewer),
    *(transmission, others, trouble, people, senders, system),
)
"""Modules whose `add` adds their routes."""
