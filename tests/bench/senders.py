"""What is sent, and how: DCMTK's storescu, one process for each association."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkroom_common.dicom.part10 import FileMeta, encode_head
from darkroom_local.engines.ports import LOOPBACK
from tests.bench.receivers import environment
from tests.support.builders import CT, a_data_set, encode, new_uid

EXPLICIT = "1.2.840.10008.1.2.1"
_NOISE = np.random.default_rng(7)


@dataclass(frozen=True)
class Load:
    """Files for some associations, one directory for each."""

    folders: list[Path]
    objects: int
    megabytes: float


def noise(side: int) -> bytes:
    """Return pixels of 16 bits of which none tells anything of another."""
    return os.urandom(side * side * 2)


def section(side: int) -> bytes:
    """Return pixels as a CT has them: air, skin, tissue, bone, and the noise of 20 HU."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    values = np.zeros((side, side))
    for height, width, hounsfield in ((0.9, 0.7, 40), (0.82, 0.63, 1100), (0.76, 0.58, 35)):
        values[(y / height) ** 2 + (x / width) ** 2 < 1] = 1024 + hounsfield
    values += _NOISE.normal(0, 20, values.shape)
    return values.clip(0, 4095).astype("<u2").tobytes()


def make_load(
    directory: Path,
    *,
    objects: int,
    associations: int,
    side: int,
    pixels: Callable[[int], bytes] = noise,
) -> Load:
    """Write CT images of `side` by `side` pixels of 16 bits, of one study."""
    study, series = new_uid(), new_uid()
    total = 0
    folders = [directory / str(number) for number in range(associations)]
    for folder in folders:
        folder.mkdir(parents=True)
    for number in range(objects):
        one = a_data_set(
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            InstanceNumber=number,
            Rows=side,
            Columns=side,
            BitsAllocated=16,
            BitsStored=12,
            HighBit=11,
            PixelData=pixels(side),
        )
        head = encode_head(FileMeta(CT, str(one.SOPInstanceUID), EXPLICIT, "SCANNER", "DARKROOM"))
        content = head + encode(one)
        total += len(content)
        (folders[number % associations] / f"{number}.dcm").write_bytes(content)
    return Load(folders, objects, total / 1e6)


class NotAllAccepted(Exception):
    """A sender has failed: there is no rate."""


async def send(load: Load, port: int, *, best: bool) -> float:
    """Send everything and return the seconds it took.

    Raises:
        NotAllAccepted: an object was not.
    """
    began = time.perf_counter()
    processes = [
        await asyncio.create_subprocess_exec(
            "storescu",
            "-R",
            "-aec",
            "DARKROOM",
            "+sd",
            LOOPBACK,
            str(port),
            str(folder),
            env=environment(best=best),
            stdout=asyncio.subprocess.DEVNULL,
        )
        for folder in load.folders
    ]
    codes = await asyncio.gather(*(process.wait() for process in processes))
    took = time.perf_counter() - began
    if set(codes) != {0}:
        raise NotAllAccepted(f"storescu ended with {codes}")
    return took
