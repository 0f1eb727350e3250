"""The screens: one file each, with a template of the same name (docs/console.md)."""

from typing import Final

from darkroom_api.console.screens import (
    account,
    notifications,
    others,
    people,
    schedule,
    senders,
    start,
    study,
    system,
    transmission,
    trouble,
    upload,
    where,
    worklist,
)
from darkroom_api.console.screens.images import film, marks, viewer
from darkroom_api.console.screens.upkeep import replication, retention

SCREENS: Final = (
    *(account, start, notifications, worklist, study, where, marks, film, upload, viewer),
    *(schedule, transmission, others, trouble, people, senders, system, retention, replication),
)
"""Modules whose `add` adds their routes."""
