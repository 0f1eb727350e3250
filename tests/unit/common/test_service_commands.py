"""`python -m darkroom_<service> <command>`."""

from collections.abc import Sequence

import pytest

from darkroom_common.errors import DarkroomError
from darkroom_common.service import Command, Service, main
from darkroom_common.settings import Settings
from darkroom_common.telemetry.logs import get_logger


async def work(settings: Settings, arguments: Sequence[str]) -> int:
    get_logger("test").info("command.works", told=len(arguments))
    if "fail" in arguments:
        raise DarkroomError("the reason")
    print("its output", settings.health_port)
    return 1


async def serve(service: Service, settings: Settings) -> None:
    raise AssertionError("not asked to serve")


def run(argv: list[str]) -> int:
    commands = [Command("work", work)]
    return main("test", settings=Settings, run=serve, schema=None, commands=commands, argv=argv)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_POSTGRES_URL", "postgresql://localhost")
    monkeypatch.setenv("DARKROOM_AMQP_URL", "amqp://localhost")
    monkeypatch.setenv("DARKROOM_HEALTH_PORT", "1234")


def test_a_command_gets_the_settings_and_its_arguments(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["work", "a", "b"]) == 1
    output, errors = capfd.readouterr()
    assert output == "its output 1234\n"
    assert "command.works" in errors


def test_an_error_is_told_and_ends_with_2(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["work", "fail"]) == 2
    assert "darkroom_test work: the reason" in capfd.readouterr().err


def test_settings_that_are_missing_end_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DARKROOM_AMQP_URL")
    assert run(["work"]) == 2


def test_no_command_takes_the_place_of_the_one_that_migrates_the_schema() -> None:
    with pytest.raises(ValueError, match="its schema"):
        Command("migrate", work)


def test_the_usage_names_the_commands(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["nonsense"]) == 2
    assert "[migrate [pre|post] | work]" in capfd.readouterr().err
