"""Files of an archive: which there are below a directory or on a medium, and what they are."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pydicom.dataset import Dataset

from darkroom_common.dicom.heads import DEFLATED, Encoding
from darkroom_common.dicom.identity import derived_uid
from darkroom_common.dicom.inflate import Inflater
from darkroom_common.dicom.part10 import HEAD_LIMIT, FileMeta, decode_head
from darkroom_common.dicom.walk import Unreadable, Walker
from darkroom_common.dimse.wire.data_set import decode_data_set
from darkroom_common.dimse.wire.pdu import ProtocolError
from darkroom_common.errors import PermanentError
from darkroom_transmit.migration.dimse_source import day_of
from darkroom_transmit.migration.source import Found, Listed

DICOMDIR: Final = "DICOMDIR"
NOT_DICOM: Final = "NotDicom"
NOT_THERE: Final = "NotOnMedium"
_CLASS, _INSTANCE, _DATE, _MODALITY, _PATIENT, _STUDY, _SERIES = (
    *(0x00080016, 0x00080018, 0x00080020, 0x00080060, 0x00100020, 0x0020000D, 0x0020000E),
)
_WANTED: Final = frozenset({_CLASS, _INSTANCE, _DATE, _MODALITY, _PATIENT, _STUDY, _SERIES})
_PIECE: Final = 64 * 1024
_MOST: Final = 8 << 20
"""Bytes of a file that are read to see what it is."""
_MOST_OF_DICOMDIR: Final = 64 << 20
_LONGEST_PATH: Final = 4096


class BadDirectory(PermanentError):
    """It is no directory below MIGRATION_DIRECTORY, or has no DICOMDIR that can be read."""


@dataclass(frozen=True)
class FoundFile:
    """A file of an archive.

    Attributes:
        path: below the directory of the archive.
        found, listed: what it is; the UIDs of a file that cannot be read are made of its path.
        problem: why it cannot be taken; empty: it can. `NotDicom` is passed over.
    """

    path: str
    found: Found
    listed: Listed
    problem: str = ""


def below(root: Path | None, directory: str) -> Path:
    """Return the directory of an archive.

    Raises:
        BadDirectory: see there.
    """
    if root is None:
        raise BadDirectory("MIGRATION_DIRECTORY is not set: no files are read")
    try:
        top = root.resolve(strict=True)
        path = (top / directory).resolve(strict=True)
    except OSError as error:
        raise BadDirectory(f"the directory cannot be read: {error.strerror}") from error
    if not path.is_dir() or not path.is_relative_to(top):
        raise BadDirectory("it is no directory below MIGRATION_DIRECTORY")
    return path


def walk(top: Path, after: str = "") -> Iterator[str]:
    """Yield the paths of regular files below a directory, always in one order, behind `after`.

    Links are not followed: they may lead anywhere.

    Raises:
        BadDirectory: a directory cannot be read.
    """
    yield from _walk(top, "", tuple(after.split("/")) if after else ())


def _walk(top: Path, within: str, after: tuple[str, ...]) -> Iterator[str]:
    try:
        with os.scandir(top / within) as entries:
            found = sorted(entries, key=lambda one: one.name)
    except OSError as error:
        raise BadDirectory(f"a directory cannot be read: {error.strerror}") from error
    for one in found:
        if after and one.name < after[0]:
            continue
        path = f"{within}/{one.name}" if within else one.name
        rest = after[1:] if after and one.name == after[0] else ()
        if one.is_dir(follow_symlinks=False):
            yield from _walk(top, path, rest)
        elif one.is_file(follow_symlinks=False) and not (after and one.name == after[0]):
            yield path


def look(top: Path, path: str) -> FoundFile:
    """Return what a file is, by as little of it as tells."""
    try:
        with open_below(top, path) as file:
            meta, offset = read_head(file)
            file.seek(offset)
            values = _values(file, meta.transfer_syntax_uid)
    except (Unreadable, OSError) as error:
        code = error.code if isinstance(error, Unreadable) else "NotReadable"
        return _unreadable(path, NOT_DICOM if code in ("no-prefix", "empty") else code)
    texts = {tag: raw.decode("latin-1").strip("\x00 ") for tag, raw in values.items()}
    sop_class = texts.get(_CLASS) or meta.sop_class_uid
    instance = texts.get(_INSTANCE) or meta.sop_instance_uid
    if sop_class == "1.2.840.10008.1.3.10":  # a DICOMDIR beside its files
        return _unreadable(path, NOT_DICOM)
    series = texts.get(_SERIES, "")
    study = texts.get(_STUDY) or derived_uid("study", series or instance)
    series = series or derived_uid("series", study)
    if not instance or not sop_class:
        return _unreadable(path, "no-sop-uid")
    modality = texts.get(_MODALITY, "")
    return FoundFile(
        path,
        Found(
            study,
            day_of(texts.get(_DATE, "")),
            None,
            frozenset([modality] if modality else []),
            texts.get(_PATIENT, ""),
        ),
        Listed(series, sop_class, instance),
    )


def _unreadable(path: str, problem: str) -> FoundFile:
    uid = derived_uid("file", path)
    return FoundFile(path, Found(derived_uid("file", "")), Listed("", "", uid), problem)


def _values(file: BinaryIO, syntax: str) -> dict[int, bytes]:
    walker = Walker(Encoding.of(syntax), wanted=_WANTED)
    inflater = Inflater(_MOST) if syntax in DEFLATED else None
    left = _MOST
    while left > 0 and _SERIES not in walker.values:
        piece = file.read(min(_PIECE, left))
        if not piece:
            break
        left -= len(piece)
        for chunk in [piece] if inflater is None else inflater.feed(piece):
            walker.feed(chunk)
            if _SERIES in walker.values:
                break
    return {tag: raw for tag, (raw, _) in walker.values.items()}


def open_below(top: Path, path: str) -> BinaryIO:
    """Open a regular file of an archive to read; the last part of its path is no link.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(top / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is no regular file")
    return os.fdopen(descriptor, "rb")


def read_head(file: BinaryIO) -> tuple[FileMeta, int]:
    """Return the file meta and where the data set begins.

    Raises:
        Unreadable: it is no DICOM file.
    """
    head = file.read(HEAD_LIMIT)
    if not head:
        raise Unreadable("empty", 0)
    return decode_head(head)


def of_medium(top: Path) -> Iterator[FoundFile]:
    """Yield what the DICOMDIR of a medium names, in the order of the paths.

    Raises:
        BadDirectory: there is no DICOMDIR that can be read.
    """
    name = next((one for one in (DICOMDIR, DICOMDIR.lower()) if (top / one).is_file()), None)
    if name is None:
        raise BadDirectory("there is no DICOMDIR")
    try:
        with open_below(top, name) as file:
            body = file.read(_MOST_OF_DICOMDIR + 1)
        if len(body) > _MOST_OF_DICOMDIR:
            raise BadDirectory("the DICOMDIR is too large: bring its files as a directory")
        meta, offset = decode_head(body)
        records = _records(decode_data_set(body[offset:], meta.transfer_syntax_uid))
    except (Unreadable, ProtocolError, OSError) as error:
        raise BadDirectory("the DICOMDIR cannot be read: bring its files as a directory") from error
    for path, (study, record) in sorted(records.items()):
        there = _on_medium(top, path)
        if there is not None:
            yield look(top, there)
            continue
        uid = str(record.get("ReferencedSOPInstanceUIDInFile", "") or derived_uid("file", path))
        sop_class = str(record.get("ReferencedSOPClassUIDInFile", "") or "")
        named = str(study.get("StudyInstanceUID", "") or derived_uid("file", ""))
        found = Found(named, day_of(str(study.get("StudyDate", "") or "")))
        yield FoundFile(path, found, Listed("", sop_class, uid), NOT_THERE)


def _records(medium: Dataset) -> dict[str, tuple[Dataset, Dataset]]:
    """Return path to (record of the study, record of the file): PS3.3 section F.3.2.2."""
    found: dict[str, tuple[Dataset, Dataset]] = {}
    study = Dataset()
    for record in medium.get("DirectoryRecordSequence") or ():
        kind = str(record.get("DirectoryRecordType", ""))
        if kind == "PATIENT":
            study = Dataset()
        if kind == "STUDY":
            study = record
        parts = record.get("ReferencedFileID")
        if parts is None or not record.get("RecordInUseFlag", 0xFFFF):
            continue
        path = "/".join([parts] if isinstance(parts, str) else [str(one) for one in parts])
        if ".." not in path.split("/") and len(path) < _LONGEST_PATH and not path.startswith("/"):
            found[path] = study, record
    return found


def _on_medium(top: Path, path: str) -> str | None:
    """Return the path as it is, whose letters a file system may have in lower case."""
    for one in (path, path.lower()):
        if (top / one).is_file():
            return one
    return None
