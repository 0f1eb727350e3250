"""What is sealed opens for its purpose and under its key alone."""

import base64

import pytest

from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.seal import REMEMBERED, Seal, Unsealable

ONE, TWO = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
SEAL = Seal(PhiKeys(1, {1: ONE, 2: TWO}))


def test_what_was_sealed_opens_again_and_never_looks_the_same() -> None:
    value = {"name": "Planted^Name", "n": [1, None]}
    first, second = (SEAL.seal(value, purpose="a") for _ in range(2))
    assert first != second
    assert first.startswith("s1.1.")
    assert "Planted" not in first
    assert SEAL.open(first, purpose="a") == SEAL.open(second, purpose="a") == value
    sealed = SEAL.seal_bytes(b"Planted", purpose="a")
    assert b"Planted" not in sealed
    assert SEAL.open_bytes(sealed, purpose="a") == b"Planted"


def test_the_key_is_the_one_that_was_current_then() -> None:
    later = Seal(PhiKeys(2, {1: ONE, 2: TWO}))
    assert later.open(SEAL.seal(1, purpose="a"), purpose="a") == 1
    assert later.open_bytes(SEAL.seal_bytes(b"x", purpose="a"), purpose="a") == b"x"
    assert later.seal(1, purpose="a").startswith("s1.2.")


@pytest.mark.parametrize("keys", [{2: TWO}, {1: TWO, 2: TWO}])
def test_without_its_key_nothing_opens(keys: dict[int, str]) -> None:
    other = Seal(PhiKeys(2, keys))
    with pytest.raises(Unsealable):
        other.open(SEAL.seal(1, purpose="a"), purpose="a")
    with pytest.raises(Unsealable):
        other.open_bytes(SEAL.seal_bytes(b"x", purpose="a"), purpose="a")


def test_for_another_purpose_nothing_opens() -> None:
    with pytest.raises(Unsealable):
        SEAL.open(SEAL.seal(1, purpose="a"), purpose="b")
    with pytest.raises(Unsealable):
        SEAL.open_bytes(SEAL.seal_bytes(b"x", purpose="a"), purpose="b")


def test_what_was_altered_does_not_open() -> None:
    sealed = SEAL.seal_bytes(b"secret", purpose="a")
    for at in range(len(sealed)):
        altered = bytearray(sealed)
        altered[at] ^= 1
        with pytest.raises(Unsealable):
            SEAL.open_bytes(bytes(altered), purpose="a")
    for text in ("", "s1.1", "s1.x.AAAA", "s1.1.?", SEAL.seal(1, purpose="a").replace("s1", "s2")):
        with pytest.raises(Unsealable):
            SEAL.open(text, purpose="a")


def test_so_many_derived_keys_are_kept_and_not_one_more() -> None:
    seal = Seal(PhiKeys(1, {1: ONE}))
    for n in range(REMEMBERED):
        seal.seal(1, purpose=str(n))
    kept = seal._ciphers[1, "0"]
    assert seal._cipher(1, "0") is kept
    assert len(seal._ciphers) == REMEMBERED
    seal.seal(1, purpose="one more")
    assert list(seal._ciphers) == [(1, "one more")]
