"""Logs say what happened and nothing about anybody."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from darkroom_common.errors import Unhealthy
from darkroom_common.health import Health
from darkroom_common.telemetry import metrics, traces
from darkroom_common.telemetry.logs import REDACTED, configure_logs, get_logger

PLANTED = ("Planted^Name", "PLANTED-1", "hunter2")


@pytest.fixture
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


@pytest.mark.usefixtures("_own_logging")
def test_what_must_not_leave_is_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(service="test", level="DEBUG")
    log = get_logger("test")
    log.info(
        "something.happened",
        patient_name="Planted^Name",
        PatientID="PLANTED-1",
        nested={"password": "hunter2", "list": ["Planted^Name"]},
        url="amqp://user:hunter2@host:5672/v",
        data=b"PLANTED-1",
        ae="EVIL\r\n\x1b[31mTITLE",
        receipt="abc",
    )
    logging.getLogger("library").warning("refused for %s", "Planted^Name")
    try:
        int("Planted^Name")
    except ValueError:
        log.exception("it.failed")
    text = capsys.readouterr().out
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == 3
    assert not [word for word in PLANTED if word in text]
    assert lines[0]["receipt"] == "abc"
    assert lines[0]["patient_name"] == REDACTED
    assert lines[0]["url"] == f"amqp://user:{REDACTED}@host:5672/v"
    assert lines[0]["ae"] == "EVIL\\r\\n\\x1b[31mTITLE"
    assert lines[0]["service"] == "test"


@pytest.mark.usefixtures("_own_logging")
def test_a_traceback_keeps_its_shape(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(service="test", level="DEBUG")
    try:
        [].pop()
    except IndexError:
        get_logger("test").exception("it.failed")
    line = json.loads(capsys.readouterr().out)
    assert "IndexError" in line["exception"]
    assert REDACTED not in line["exception"]


@pytest.mark.usefixtures("_own_logging")
def test_a_reader_that_has_gone_stops_nobody() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "w") as stream:
        configure_logs(service="test", stream=stream)
        get_logger("test").info("it.goes_on")
    get_logger("test").info("on_a_closed_stream")


def test_trace_headers_survive_the_way(tmp_path: Path) -> None:
    del tmp_path
    provider = traces.configure_traces(service="test", endpoint=None)
    tracer = provider.get_tracer("test")
    with traces.span(tracer, "parent") as parent:
        headers = traces.inject()
    with traces.span(tracer, "child", parent=traces.extract(headers)) as child:
        assert child.get_span_context().trace_id == parent.get_span_context().trace_id
    assert traces.link_to(headers)[0].context.trace_id == parent.get_span_context().trace_id
    assert traces.link_to({"traceparent": "nonsense"}) == []


def test_every_metric_has_a_name_and_a_word() -> None:
    assert len(metrics.rows()) > 90
    for row in metrics.rows().values():
        assert row.name.startswith("darkroom_")
        assert row.text.endswith(".")
        assert all(label.values or label.bound for label in row.labels), row.name


@pytest.mark.req("OBS-06")
async def test_readiness_gives_a_reason_for_each_dependency() -> None:
    async def well() -> None:
        return

    async def ill() -> None:
        raise Unhealthy("away")

    async def broken() -> None:
        raise ValueError("Planted^Name")

    health = Health("test", "1", started=True)
    health.add("well", well)
    assert (await health.report())[0]
    health.add("ill", ill)
    health.add("broken", broken)
    ready, report = await health.report()
    assert not ready
    assert report["checks"]["well"]["ok"]
    assert report["checks"]["ill"] == {"ok": False, "reason": "away"}
    assert report["checks"]["broken"] == {"ok": False, "reason": "ValueError"}
    told = Health("test", "1", started=True)
    told.add("ill", ill, needed=False)
    ready, report = await told.report()
    assert ready
    assert not report["checks"]["ill"]["ok"]
    late = Health("test", "1")

    async def starts_meanwhile() -> None:
        late.started = True

    late.add("before its consumers", starts_meanwhile)
    assert not (await late.report())[0]
    assert (await late.report())[0]
    draining = Health("test", "1", started=True, draining=True)
    assert not (await draining.report())[0]
