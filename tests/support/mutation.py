"""Seeded mutation of bytes: the seed of a run is printed, and `DARKROOM_MUTATION_SEED` repeats it.

Blind flips find little in length-prefixed formats. Most of what is done here keeps a message long
enough to be read and makes its numbers lie.
"""

import os
import random
import secrets
from pathlib import Path

import data_store
import pydicom

_EXTREMES = (
    b"\xff\xff\xff\xff",
    b"\xfe\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\xff\xff",
    b"\x00\x00",
    b"\x01",
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
    b"\xfe\xff\xdd\xe0\x00\x00\x00\x00",
    b"\xfe\xff\x0d\xe0\x00\x00\x00\x00",
    b"SQ",
    b"UN",
    b"OB",
)


def a_seed() -> int:
    """The seed of this run."""
    seed = int(os.environ.get("DARKROOM_MUTATION_SEED") or secrets.randbits(32))
    print(f"DARKROOM_MUTATION_SEED={seed}")
    return seed


def mutated(chance: random.Random, whole: bytes) -> bytes:
    """One mutant: some bytes changed, dropped, doubled, cut, or put in."""
    data = bytearray(whole)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if data:
            chance.choices(_CHANGES, _OFTEN)[0](chance, data, chance.randrange(len(data)))
    return bytes(data)


def _lie(chance: random.Random, data: bytearray, at: int) -> None:
    extreme = chance.choice(_EXTREMES)
    data[at : at + len(extreme)] = extreme


def _replace(chance: random.Random, data: bytearray, at: int) -> None:
    data[at] = chance.randrange(256)


def _flip(chance: random.Random, data: bytearray, at: int) -> None:
    data[at] ^= 1 << chance.randrange(8)


def _drop(chance: random.Random, data: bytearray, at: int) -> None:
    del data[at : at + chance.choice(_LENGTHS)]


def _double(chance: random.Random, data: bytearray, at: int) -> None:
    data[at:at] = data[at : at + chance.choice(_LENGTHS)]


def _cut(_: random.Random, data: bytearray, at: int) -> None:
    del data[at:]


def _move(chance: random.Random, data: bytearray, at: int) -> None:
    length, other = chance.choice(_LENGTHS), chance.randrange(len(data))
    data[at : at + length] = data[other : other + length]


_LENGTHS = (1, 2, 4, 8, 64, 1000)
_CHANGES = (_lie, _replace, _flip, _drop, _double, _cut, _move)
_OFTEN = (3, 1, 1, 1, 1, 1, 1)


def real_files(limit: int) -> list[bytes]:
    """The contents of the DICOM files of pydicom and pydicom-data up to so many bytes."""
    roots = [
        Path(data_store.__file__).parent / "data",
        Path(pydicom.__file__).parent / "data" / "test_files",
    ]
    found = []
    for root in roots:
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.stat().st_size <= limit:
                content = path.read_bytes()
                if content[128:132] == b"DICM":
                    found.append(content)
    assert len(found) > 50
    return found
