"""The menu of the console; a line is shown to whoever may open its path."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Entry:
    """A line of the menu.

    Attributes:
        path: that it opens, as `paths.py` has it.
        label: what it says.
        icon: its picture, of `templates/icons.html`.
        group: under which heading it stands.
    """

    path: str
    label: str
    icon: str
    group: str = ""


MENU: Final = (
    Entry("/worklist", "Worklist", "list"),
    Entry("/where", "Where is my study?", "clock"),
    Entry("/upload", "Upload", "upload"),
    Entry("/film/queue", "Films", "film"),
    Entry("/transmission", "Transmission", "send"),
    Entry("/trouble", "Trouble", "alert"),
    Entry("/senders", "Senders", "link"),
    Entry("/people", "People", "users"),
    Entry("/system", "System", "gear"),
)
"""In the order in which they are shown."""
