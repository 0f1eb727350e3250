"""What was made here leaves only when it is valid; what others have made goes as it is."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from pydicom import dcmread
from pydicom.dataset import Dataset

from darkroom_api.conformance.own import OBJECTS
from darkroom_api.objects.exchange import Kind
from darkroom_common.dicom.part10 import FileMeta, decode_head, encode_head
from darkroom_common.objects.store import FileSystemStore
from darkroom_common.transcoding.converters import open_converters
from darkroom_common.transcoding.preparing import CannotPrepare, ObjectPreparer
from darkroom_common.validation.made_here import CLASSES, LOOKED_AT, is_made_here
from darkroom_transmit.conversion import worker
from tests.support.builders import encode
from tests.unit.api.making.kinds import AnyOf, made
from tests.unit.common.test_ready_at_once import EXPLICIT, Stored

pytestmark = pytest.mark.asyncio(loop_scope="module")
IMPLICIT = "1.2.840.10008.1.2"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def preparer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ObjectPreparer]:
    scratch = tmp_path_factory.mktemp("scratch")
    async with open_converters(scratch, processes=1, module=worker.__spec__.name) as converters:
        yield ObjectPreparer(FileSystemStore(tmp_path_factory.mktemp("store")), converters)


def stored(preparer: ObjectPreparer, change: Callable[[Dataset], None]) -> Stored:
    """A text report that was made here, after a change."""
    found = dcmread(io.BytesIO(made(Kind.TEXT_REPORT, AnyOf(1).values(Kind.TEXT_REPORT)[0])))
    change(found)
    head = encode_head(FileMeta(str(found.SOPClassUID), str(found.SOPInstanceUID), EXPLICIT))
    body = encode(found)
    key = f"made/{found.SOPInstanceUID}.{len(body)}"
    path = Path(str(preparer._store.own_file(key)))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(head + body)
    return Stored(
        str(found.SOPInstanceUID), str(found.SOPClassUID), EXPLICIT, key, len(body), len(head)
    )


def nothing(_: Dataset) -> None:
    """Leave it as it was made."""


def broken(found: Dataset) -> None:
    del found.CompletionFlag


def of_another(found: Dataset) -> None:
    broken(found)
    found.InstanceCreatorUID = "1.2.3.4"


async def left(preparer: ObjectPreparer, one: Stored, wanted: tuple[str, ...]) -> bytes:
    assert preparer.at_once(one, wanted) is None
    async with preparer.prepare(one, wanted) as ready:
        return await asyncio.to_thread(Path(ready.path).read_bytes)


@pytest.mark.parametrize("wanted", [(), (EXPLICIT,), (IMPLICIT,)])
async def test_what_is_valid_leaves(preparer: ObjectPreparer, wanted: tuple[str, ...]) -> None:
    found = dcmread(io.BytesIO(await left(preparer, stored(preparer, nothing), wanted)))
    assert found.file_meta.TransferSyntaxUID == (wanted or (EXPLICIT,))[0]


@pytest.mark.parametrize("wanted", [(), (EXPLICIT,), (IMPLICIT,)])
async def test_what_is_not_valid_stays(preparer: ObjectPreparer, wanted: tuple[str, ...]) -> None:
    with pytest.raises(CannotPrepare, match="NotValid"):
        await left(preparer, stored(preparer, broken), wanted)


async def test_what_others_have_made_is_not_judged(preparer: ObjectPreparer) -> None:
    one = stored(preparer, of_another)
    assert "CompletionFlag" not in dcmread(io.BytesIO(await left(preparer, one, ())))
    assert "CompletionFlag" not in dcmread(io.BytesIO(await left(preparer, one, (IMPLICIT,))))


async def test_a_file_that_is_gone(preparer: ObjectPreparer) -> None:
    one = stored(preparer, nothing)
    Path(str(preparer._store.own_file(one.object_key))).unlink()
    with pytest.raises(CannotPrepare, match="ObjectMissing"):
        await left(preparer, one, ())


@pytest.mark.parametrize("kind", list(Kind))
async def test_each_kind_says_that_it_was_made_here(kind: Kind, tmp_path: Path) -> None:
    values, body = AnyOf(2).values(kind)
    file = made(kind, values, body)
    meta, offset = decode_head(file)
    assert meta.sop_class_uid in CLASSES
    assert is_made_here(file[offset : offset + LOOKED_AT])


async def test_the_classes_are_those_of_the_statement() -> None:
    assert {uid for uids, *_ in OBJECTS.values() for uid in uids} == CLASSES


async def test_a_uid_elsewhere_is_no_sign() -> None:
    other = (
        encode(Dataset()) + b"\x20\x00\x0d\x00UI\x28\x002.25.216273817461907462381927461829374651"
    )
    assert not is_made_here(other)
