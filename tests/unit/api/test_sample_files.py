"""Every sample file is answered by the worker: with what is asked for, or with why not."""

import warnings
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from darkroom_api.rendering.appearance import JPEG, Appearance
from darkroom_api.rendering.exchange import (
    CANNOT,
    MADE,
    NO_FRAME,
    TASK,
    FramesTask,
    ObjectTask,
    Picture,
    Place,
    RenderTask,
)
from darkroom_api.rendering.worker import answer
from darkroom_common.dicom.part10 import HEAD_LIMIT, decode_head
from darkroom_common.dicom.walk import Unreadable
from tests.support.real_files import REAL_FILES

EXPLICIT = "1.2.840.10008.1.2.1"


class Files:
    """A store of which the keys are paths."""

    def open_now(self, key: str) -> BinaryIO:
        return Path(key).open("rb")


def place_of(path: Path) -> Place | None:
    with path.open("rb") as file:
        head = file.read(HEAD_LIMIT)
    try:
        meta, start = decode_head(head)
    except Unreadable:
        return None
    return Place(str(path), meta.transfer_syntax_uid, start, path.stat().st_size - start)


@pytest.mark.filterwarnings("ignore")
def test_every_sample_file_is_answered() -> None:
    store: Any = Files()
    shown = tried = 0
    for path in REAL_FILES:
        place = place_of(path)
        if place is None:
            continue
        for task in (
            RenderTask(place, Picture(None, JPEG, Appearance())),
            FramesTask(place, (0,), (EXPLICIT,)),
            ObjectTask(place, (EXPLICIT,)),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                said = list(answer(store, TASK.dump_json(task)))
            made = MADE.validate_json(bytes(said[0]))
            assert made.error in {"", CANNOT, NO_FRAME}, (path.name, made)
            told = [MADE.validate_json(bytes(line)).length for line in said[::2]]
            assert told == ([0] if made.error else [len(body) for body in said[1::2]])
            assert len(told) == made.more + 1
            tried += 1
            shown += isinstance(task, RenderTask) and not made.error
    assert tried > 600
    assert shown > 150
