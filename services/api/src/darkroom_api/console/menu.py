"""The menu of the console and the tabs of its pages; what somebody may not open is not shown."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Tab:
    """A page beside others.

    Attributes:
        path: that it opens, as `paths.py` has it.
        label: what it says.
    """

    path: str
    label: str


@dataclass(frozen=True)
class Entry:
    """A line of the menu; it opens the first of its pages that somebody may open.

    Attributes:
        path: what the paths of its pages begin with.
        label: what it says.
        icon: its picture, of `templates/icons.html`.
        tabs: its pages, when there are several.
    """

    path: str
    label: str
    icon: str
    tabs: tuple[Tab, ...] = ()

    def open_to(self, may_open: Callable[[str], bool]) -> list[Tab]:
        """Return its pages that somebody may open."""
        return [one for one in self.tabs or (Tab(self.path, self.label),) if may_open(one.path)]

    def holds(self, path: str) -> bool:
        """Tell whether a page is one of it, or of what it leads to."""
        return path == self.path or path.startswith(f"{self.path}/")


MENU: Final = (
    Entry("/worklist", "Worklist", "list"),
    Entry("/where", "Where is my study?", "clock"),
    Entry(
        "/schedule",
        "Schedule",
        "calendar",
        (
            Tab("/schedule", "Scheduled"),
            Tab("/schedule/performed", "Performed"),
            Tab("/schedule/workitems", "Workitems"),
        ),
    ),
    Entry("/upload", "Upload", "upload"),
    Entry(
        "/film", "Films", "film", (Tab("/film/queue", "Films"), Tab("/film/printers", "Printers"))
    ),
    Entry(
        "/transmission",
        "Transmission",
        "send",
        (
            Tab("/transmission", "Jobs"),
            Tab("/transmission/destinations", "Destinations"),
            Tab("/transmission/rules", "Rules"),
        ),
    ),
    Entry(
        "/others",
        "Other systems",
        "globe",
        (
            Tab("/others", "Find"),
            Tab("/others/retrieves", "Fetching"),
            Tab("/others/migrations", "Migration"),
            Tab("/others/worklist", "Scheduled there"),
            Tab("/others/steps", "Steps told"),
        ),
    ),
    Entry(
        "/trouble",
        "Trouble",
        "alert",
        (
            Tab("/trouble", "All"),
            Tab("/trouble/quarantine", "Quarantine"),
            Tab("/trouble/dead-letters", "Dead letters"),
            Tab("/trouble/conflicts", "Conflicts"),
            Tab("/trouble/findings", "Findings"),
            Tab("/trouble/jobs", "Failed jobs"),
        ),
    ),
    Entry("/senders", "Senders", "link"),
    Entry(
        "/people",
        "People",
        "users",
        (Tab("/people", "Users"), Tab("/people/roles", "Roles"), Tab("/people/audit", "Audit")),
    ),
    Entry(
        "/system",
        "System",
        "gear",
        (
            Tab("/system", "Health and licence"),
            Tab("/system/queues", "Services and storage"),
            Tab("/system/settings", "Settings"),
            Tab("/system/retention", "Retention"),
            Tab("/system/replication", "Replication"),
            Tab("/system/conformance", "Conformance"),
        ),
    ),
)
"""In the order in which they are shown."""
OWN: Final = Entry(
    "/account",
    "My account",
    "user",
    (Tab("/account", "My account"), Tab("/account/keys", "My API keys")),
)
"""What everybody has, at the end of the menu."""
