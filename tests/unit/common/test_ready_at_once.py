"""What is sent as it is stored is ready without a step of the event loop; nothing else is."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from darkroom_common.objects.store import FileSystemStore
from darkroom_common.transcoding.preparing import ObjectPreparer, Prepared
from tests.support.memory_store import MemoryStore

EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"


@dataclass(frozen=True)
class Stored:
    """An instance whose bytes nobody looks at."""

    sop_instance_uid: str = "2.25.1"
    sop_class_uid: str = "1.2.840.10008.5.1.4.1.1.2"
    transfer_syntax_uid: str = EXPLICIT
    object_key: str = "a/b"
    size: int = 100
    data_set_offset: int = 300


def preparer(store: Any) -> ObjectPreparer:
    return ObjectPreparer(store, cast("Any", None))


@pytest.mark.parametrize("wanted", [(), (EXPLICIT,), (JPEG, EXPLICIT)])
def test_it_is_the_stored_file(tmp_path: Path, wanted: tuple[str, ...]) -> None:
    one = Stored()
    assert preparer(FileSystemStore(tmp_path)).at_once(one, wanted) == Prepared(
        f"{tmp_path}/a/b", 300, 100, one.sop_class_uid, "2.25.1", EXPLICIT
    )


def test_what_has_to_be_made_is_not_ready(tmp_path: Path) -> None:
    made = preparer(FileSystemStore(tmp_path))
    odd = replace(Stored(), size=101)
    assert made.at_once(Stored(), (JPEG,)) is None
    assert made.at_once(Stored(), (), ["a change"]) is None
    assert made.at_once(odd, ()) is None
    assert made.at_once(replace(odd, transfer_syntax_uid=BIG_ENDIAN), ()) is not None
    assert preparer(MemoryStore()).at_once(Stored(), ()) is None
