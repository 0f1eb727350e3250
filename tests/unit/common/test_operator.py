"""Who runs a command: a container's user has no name, and on OpenShift any number."""

import getpass
import os

import pytest

from darkroom_common.output import operator


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_a_user_without_a_name_is_a_number(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def nobody() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert operator() == f"uid {os.getuid()}"


def test_a_name_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ops")
    assert operator() == "ops"
