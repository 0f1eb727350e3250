"""What a password must be."""

import pytest

from darkroom_api.accounts.policy import LONGEST, faults_of


@pytest.mark.parametrize(
    "password",
    [
        "InitialPassword123!",  # of 002
        "SecurePassword123!",
        "Aa1!aaaa",
        "Äß9 öäüx",
        "Пароль-12",
        "A" * 200 + "a1!",
        "Correct horse battery 7",
    ],
)
def test_what_may_be(password: str) -> None:
    assert faults_of(password, "doctor@hospital.com", "doctor") == []


@pytest.mark.parametrize(
    ("password", "lacks"),
    [
        ("Aa1!aaa", "at least 8"),
        ("aa1!aaaa", "upper-case"),
        ("AA1!AAAA", "lower-case"),
        ("Aab!aaaa", "a digit"),
        ("Aa1aaaaa", "neither letter nor digit"),
        ("A" * 255 + "a1!", "at most 256"),
        ("P@ssw0rd", "guessed first"),
        ("ZAQ!2wsx", "guessed first"),
        ("Password1!", "guessed first"),
        ("2026-Summer!", "guessed first"),
        ("P@ssw0rd1", "guessed first"),
        ("Radia.2026!", "a name with"),
        ("Hospital1!", "a name with"),
        ("", "at least 8"),
    ],
)
@pytest.mark.req("API-03")
def test_what_may_not_be(password: str, lacks: str) -> None:
    faults = faults_of(password, "radia", "")
    assert any(lacks in fault for fault in faults), faults


def test_no_fault_repeats_what_was_typed() -> None:
    assert not any("abc" in fault for fault in faults_of("abc", "abc"))


def test_the_longest_is_allowed_and_one_character_more_is_not() -> None:
    longest = "aB3!".ljust(LONGEST, "x")
    assert faults_of(longest) == []
    assert faults_of(longest + "x") == [f"It has at most {LONGEST} characters."]
