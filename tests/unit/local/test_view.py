"""What people and scripts read."""

import io
import os
import time

import httpx

from darkroom_common.amqp.definitions import password_hash
from darkroom_local.commands.doctor import Finding
from darkroom_local.commands.doctor import show as show_findings
from darkroom_local.stack.probe import not_ready_reason
from darkroom_local.stack.state import ProcessState
from darkroom_local.stack.view import SteadyConsole, View, table


def a_process(**changes: object) -> ProcessState:
    values = {
        "name": "metadata",
        "pid": 1,
        "state": "running",
        "ready": False,
        "reason": "",
        "restarts": 0,
        "since": time.time() - 61,
        "log": "/x.log",
        "health_url": None,
    }
    return ProcessState(**{**values, **changes})  # type: ignore[arg-type]


def printed(terminal: bool) -> tuple[SteadyConsole, io.StringIO]:
    text = io.StringIO()
    return SteadyConsole(file=text, force_terminal=terminal, width=100), text


def test_without_a_terminal_every_change_is_a_line_with_its_time() -> None:
    console, text = printed(terminal=False)
    View(console, list).changed(a_process(reason="rabbitmq: away [x]"))
    assert text.getvalue().endswith("Z metadata running (pid 1): rabbitmq: away [x]\n")


def test_a_terminal_that_is_gone_is_no_reason_to_fail() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as broken:
        view = View(SteadyConsole(file=broken), list)
        view.say("nobody listens")
        view.say("nor here")


def test_the_table_says_how_long_and_how_large() -> None:
    console, text = printed(terminal=False)
    console.print(table([a_process(ready=True, restarts=2)]))
    assert {"metadata", "ready", "0:01:01", "2", "MB"} <= set(text.getvalue().split())


def test_the_doctor_gives_the_command_for_what_is_missing() -> None:
    console, text = printed(terminal=False)
    broken = Finding("RabbitMQ", ok=False, detail="none", remedy="apt-get install rabbitmq-server")
    spare = Finding("DCMTK", ok=False, detail="none", remedy="apt", optional=True)
    assert not show_findings([broken], console)
    assert show_findings([spare], console)
    assert "apt-get install rabbitmq-server" in text.getvalue()


def test_a_readyz_answer_becomes_a_reason() -> None:
    checks = {"postgres": {"ok": True, "reason": "ok"}, "rabbitmq": {"ok": False, "reason": "away"}}
    assert not_ready_reason(httpx.Response(503, json={"checks": checks})) == "rabbitmq: away"
    assert not_ready_reason(httpx.Response(200, json={"checks": checks})) == ""
    assert not_ready_reason(httpx.Response(502, text="bad")) == "/readyz answers 502"


def test_a_password_is_hashed_as_rabbitmq_documents_it() -> None:
    expected = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    assert password_hash("test12", bytes.fromhex("908DC60A")) == expected
