"""Fixtures of tests of common."""

from tests.support.line_fixture import connect

__all__ = ["connect"]
