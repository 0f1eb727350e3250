"""What libraries, children and crashes say does not leave the process in their words."""

import asyncio
import json
import logging
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from darkroom_common.errors import PermanentError
from darkroom_common.telemetry.foreign import asyncio_failed, guarded_process, told
from darkroom_common.telemetry.logs import configure_logs, get_logger

PLANTED = "1.2.826.smith"
START = f"""
import asyncio, gc, os, subprocess, sys, threading, warnings
from darkroom_common.telemetry.foreign import asyncio_failed, guarded_process
from darkroom_common.telemetry.logs import configure_logs
PLANTED = {PLANTED!r}
configure_logs(service="test", level="DEBUG")
"""


def run(body: str) -> tuple[list[dict[str, Any]], str, int]:
    """Run a program in a guarded process; return its log, its standard error and its exit code."""
    text = f"{START}\nwith guarded_process():\n{textwrap.indent(textwrap.dedent(body), '    ')}"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", text], capture_output=True, text=True, check=False
    )
    assert PLANTED not in done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr, done.returncode


def events(log: list[dict[str, Any]]) -> set[str]:
    """Return the events of a log."""
    return {line["event"] for line in log}


PROGRAMS = {
    "warnings.warn(f'Invalid value for VR UI: {PLANTED!r}')": "python.warning",
    "os.write(2, f'libjpeg: {PLANTED} is corrupt'.encode())": "stderr.withheld",
    "print(PLANTED, file=sys.stderr)": "stderr.withheld",
    "os.system(f'echo {PLANTED} >&2')": "stderr.withheld",
    "subprocess.run([sys.executable, '-c', f'int({PLANTED!r})'])": "stderr.withheld",
    """
    one = threading.Thread(target=int, args=(PLANTED,))
    one.start()
    one.join()
    """: "process.uncaught",
    """
    class Bad:
        def __del__(self):
            int(PLANTED)
    bad = Bad()
    del bad
    gc.collect()
    """: "process.unraisable",
    """
    import logging
    logging.getLogger('pydicom').warning('value %r', PLANTED)
    """: "library.message",
    """
    import logging
    try:
        int(PLANTED)
    except ValueError:
        logging.getLogger('some.library').exception('it was %s', PLANTED)
    """: "library.message",
    """
    async def fail():
        int(PLANTED)
    async def main():
        asyncio.get_running_loop().set_exception_handler(asyncio_failed)
        task = asyncio.create_task(fail(), name=PLANTED)
        await asyncio.wait({task})
        del task
        gc.collect()
    asyncio.run(main())
    """: "asyncio.failed",
    """
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(asyncio_failed)
        loop.call_soon(int, PLANTED)
        await asyncio.wait({loop.run_in_executor(None, int)})
    asyncio.run(main())
    """: "asyncio.failed",
}


@pytest.mark.parametrize(("body", "event"), PROGRAMS.items())
def test_the_kind_and_the_place_are_logged_and_the_text_is_not(body: str, event: str) -> None:
    log, errors, code = run(body)
    assert event in events(log)
    assert code == 0
    assert not errors


def test_an_error_that_ends_the_process_is_logged() -> None:
    log, errors, code = run("raise ValueError(PLANTED) from KeyError(PLANTED)")
    (line,) = [one for one in log if one["event"] == "process.uncaught"]
    assert line["error"] == "ValueError"
    assert "from KeyError" in line["exception"]
    assert code == 1
    assert not errors


def test_a_crash_tells_lines_of_code() -> None:
    _, errors, code = run("name = PLANTED\nimport ctypes\nctypes.string_at(0)")
    assert code < 0
    assert "Segmentation fault" in errors
    assert "string_at" in errors


def test_a_child_that_crashes_is_told_by_its_parent() -> None:
    log, errors, _ = run(
        """
        text = f'name = {PLANTED!r}; import ctypes; ctypes.string_at(0)'
        subprocess.run([sys.executable, '-X', 'faulthandler', '-c', text])
        """
    )
    lines = [one for one in log if one["event"] == "stderr.withheld"]
    assert "Fatal Python error" in [kind for line in lines for kind in line["kinds"]]
    assert any("string_at" in place for line in lines for place in line["at"])
    assert not errors


def test_a_line_that_comes_in_parts_is_understood() -> None:
    log, _, _ = run(
        """
        import time
        text = f'Fatal Python error: {PLANTED}\\n  File "/usr/one.py", line 7 in string_at'
        for letter in text:
            os.write(2, letter.encode())
            time.sleep(0.001)
        """
    )
    lines = [one for one in log if one["event"] == "stderr.withheld"]
    assert len(lines) > 2
    assert [kind for line in lines for kind in line["kinds"]] == ["Fatal Python error"]
    assert [at for line in lines for at in line["at"]] == ["/usr/one.py:7 string_at"]


def test_much_is_written_to_standard_error_without_end() -> None:
    log, _, code = run("for _ in range(2000):\n    os.write(2, (PLANTED + ' ') .encode() * 200)")
    assert code == 0
    assert sum(one["size"] for one in log) == 2000 * 200 * (len(PLANTED) + 1)


def test_only_our_own_errors_speak() -> None:
    try:
        try:
            int("PLANTED")
        except ValueError as error:
            raise PermanentError("it is of no use") from error
    except PermanentError as error:
        text = told(error)
    assert text.startswith("PermanentError: it is of no use")
    assert "from ValueError" in text
    assert "test_foreign.py" in text
    assert "PLANTED" not in text
    group = ExceptionGroup("PLANTED", [ValueError("PLANTED"), KeyError("PLANTED")])
    assert "PLANTED" not in told(group)
    assert "KeyError" in told(group)


@pytest.fixture
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


@pytest.mark.usefixtures("_own_logging")
def test_a_command_keeps_its_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs(service="test", level="DEBUG")
    with guarded_process(stderr=False), warnings.catch_warnings():
        warnings.simplefilter("always")
        sys.stderr.write("usage: ...\n")
        warnings.warn("PLANTED", UserWarning, stacklevel=1)
    get_logger("test").info("it.goes_on")
    out, err = capfd.readouterr()
    assert err == "usage: ...\n"
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["it.goes_on"] or (
        "PLANTED" not in out
    )


@pytest.mark.usefixtures("_own_logging")
async def test_a_callback_is_not_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(service="test", level="DEBUG")
    loop = asyncio.get_running_loop()
    asyncio_failed(loop, {"message": "Exception in callback int('PLANTED')", "exception": None})
    line = json.loads(capsys.readouterr().out)
    assert (line["event"], line["what"]) == ("asyncio.failed", "callback")
