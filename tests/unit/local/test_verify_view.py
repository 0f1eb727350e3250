"""What `darkroom verify` shows of the lines that metadata tells."""

import io

from rich.console import Console

from darkroom_local.commands.child import Line
from darkroom_local.commands.verify import Live, Plain, Shown

LINES: list[Line] = [
    {"event": "waiting", "reason": "another verification is at work"},
    {
        "event": "started",
        "check": "contents",
        "checked": 0,
        "bytes": 0,
        "findings": 0,
        "objects": 4,
        "total_bytes": 4096,
    },
    {
        "event": "finding",
        "check": "contents",
        "kind": "altered-object",
        "object_key": "a/[b].dcm",
        "receipt": "0" * 32,
        "sop_instance_uid": "1.2",
    },
    {"event": "progress", "check": "contents", "checked": 2, "bytes": 2048, "findings": 1},
    {
        "event": "finished",
        "check": "contents",
        "checked": 4,
        "bytes": 4096,
        "findings": 1,
        "seconds": 1.5,
        "untold": 0,
    },
    {
        "event": "started",
        "check": "objects",
        "checked": 2,
        "bytes": 0,
        "findings": 0,
        "objects": 3,
        "total_bytes": 0,
    },
    {"event": "progress", "check": "objects", "checked": 5, "bytes": 0, "findings": 0},
    {
        "event": "finished",
        "check": "objects",
        "checked": 5,
        "bytes": 0,
        "findings": 0,
        "seconds": 0.1,
        "untold": 0,
    },
]


def shown(kind: type[Shown], *, terminal: bool) -> tuple[str, Shown]:
    file = io.StringIO()
    with kind(Console(file=file, force_terminal=terminal, width=160)) as view:
        for line in LINES:
            view.show(line)
    return file.getvalue(), view


def test_a_log_gets_a_line_for_each_step() -> None:
    output, view = shown(Plain, terminal=False)
    assert output.splitlines() == [
        "waiting: another verification is at work",
        "reading objects back: about 4 to do",
        f"altered-object: a/[b].dcm receipt {'0' * 32}",
        "reading objects back: 4 done",
        "looking for the row of each object: about 3 to do, 2 done before",
        "looking for the row of each object: 5 done",
    ]
    assert [line["check"] for line in view.finished] == ["contents", "objects"]


def test_a_terminal_gets_bars_and_the_findings() -> None:
    output, _ = shown(Live, terminal=True)
    assert "reading objects back" in output
    assert "4.0/4.0 KiB" in output
    assert "3/3" in output
    assert "altered-object: a/[b].dcm" in output
