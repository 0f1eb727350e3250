"""The list of log events is that of the code; those of security are a stream (OBS-08)."""

import io
import json
import re
from pathlib import Path

import pytest

from darkroom_common.telemetry.logs import _SECRET_KEYS, configure_logs, get_logger
from darkroom_common.telemetry.security import EVENTS, LOGGER
from tests.support.log_events import events

_EVENT = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+|(security|login)\.<\.\.\.>")


def test_events_are_words_and_fields_are_nobody_s_names() -> None:
    for event, one in events().items():
        assert _EVENT.fullmatch(event), event
        assert not {name for name in one.fields if _SECRET_KEYS.search(name)}, event


def test_the_security_stream_names_events_that_there_are() -> None:
    assert set(events()) >= EVENTS


@pytest.mark.req("OBS-08")
def test_security_events_are_a_stream_and_a_file_of_their_own(tmp_path: Path) -> None:
    file, stream = tmp_path / "security.log", io.StringIO()
    configure_logs(service="test", stream=stream, security=file)
    try:
        get_logger("any").warning("tls.refused", peer="10.0.0.1", reason="Doe^Jane")
        get_logger("any").info("instance.stored", receipt="1")
        get_logger(LOGGER).info("security.AUTH_LOGIN", log_id="7")
        file.rename(tmp_path / "rotated.log")
        get_logger("any").info("login.refused", reason="state")
        file.unlink()
        file.mkdir()  # the disk does not take it
        get_logger("any").info("login.refused", reason="state")
    finally:
        configure_logs(service="test", level="DEBUG")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    marked = [one["event"] for one in lines if one.get("stream") == "security"]
    assert marked == ["tls.refused", "security.AUTH_LOGIN", "login.refused", "login.refused"]
    written = (tmp_path / "rotated.log").read_text().splitlines()
    assert [json.loads(line) for line in written] == lines[:1] + lines[2:3]
    assert "Doe" not in written[0]
    assert lines[-1]["not_in_file_so_far"] == 1
