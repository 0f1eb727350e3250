"""Indexed tags (MET-05): which there are, and what an object says of them.

`index.tagged` has, for each series or instance, the values of all tags in one encrypted JSON as
`{"j": {<tag>: <DICOM JSON element>}, "n": {<field>: <normalised text>}}`, and the blind tokens of
them: the same as the rows of studies and series have of their attributes. Of a series there are as
many rows as its objects say different things.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from darkroom_common.dicom.json_values import texts
from darkroom_common.index.fields import Field, Kept, Level, search_text, search_tokens
from darkroom_common.index.rows import Json
from darkroom_common.postgres.phi import BlindIndex
from darkroom_common.postgres.pool import Connection
from darkroom_common.resources.stored import read_spec
from darkroom_common.specs.indexed_tags import IndexedTagSpec

_READ: Final = "SELECT name, spec::text FROM index.tag ORDER BY name"
TAGGED_OF_STUDY: Final = (  # series_study_id_series_instance_uid_key, tagged_values
    ", ARRAY(SELECT pgp_sym_decrypt(t.phi, ($1::text[])[t.phi_key]) FROM index.series q"
    " JOIN index.tagged t ON t.series_id = q.id WHERE q.study_id = s.id AND t.instance_id IS NULL"
    " ORDER BY t.id LIMIT 100) AS tagged"
)
TAGGED_OF_SERIES: Final = (  # tagged_values
    ", ARRAY(SELECT pgp_sym_decrypt(t.phi, ($1::text[])[t.phi_key]) FROM index.tagged t"
    " WHERE t.series_id = e.id AND t.instance_id IS NULL ORDER BY t.id LIMIT 100) AS tagged"
)
_COMPLETE: Final = (
    "SELECT NOT EXISTS (SELECT FROM index.tag_job WHERE state NOT IN ('DONE', 'CANCELLED'))"
)
JOBS: Final = (
    "SELECT id AS job_id, state, reason, studies, instances, total, attempts,"
    " CASE WHEN state IN ('PENDING', 'RETRYING') THEN next_at END AS next_at,"
    " created_at, updated_at, finished_at FROM index.tag_job"
)
_BLOCKS: Final = range(0x10, 0x100)


@dataclass(frozen=True)
class IndexedTag:
    """A tag that is in use."""

    name: str
    field: Field

    @property
    def of_instance(self) -> bool:
        """Whether each instance says it for itself."""
        return self.field.level is Level.INSTANCE


@dataclass(frozen=True)
class Values:
    """What is kept of the tags of an object; nothing when it says nothing of them."""

    json: bytes
    tokens: tuple[bytes, ...]


async def read_tags(db: Connection) -> tuple[IndexedTag, ...]:
    """Return the tags that are in use; what this version cannot read is not."""
    found = []
    for name, text in await db.fetch(_READ):
        spec, unreadable = read_spec(IndexedTagSpec, text)
        if spec.enabled and not unreadable:
            found.append(IndexedTag(name, field_of(spec)))
    return tuple(found)


async def is_complete(db: Connection) -> bool:
    """Tell whether all that is stored is found by the tags."""
    return bool(await db.fetchval(_COMPLETE))


def field_of(spec: IndexedTagSpec) -> Field:
    """Return the field of the index that a tag is; its key names the creator as well."""
    path = ".".join(spec.tags)
    return Field(
        keyword=f"{path}@{spec.creator}" if spec.creator else path,
        tag=path,
        vr=spec.value_representation,
        level=Level(spec.level),
        kept=Kept.SEARCHABLE,
        creator=spec.creator,
        tagged=True,
    )


def values_of(header: Json, tags: Sequence[IndexedTag], blind: BlindIndex) -> Values | None:
    """Return what an object says of some tags."""
    shown: Json = {}
    normal: dict[str, str] = {}
    tokens: set[bytes] = set()
    for tag in tags:
        values = [text for element in _elements(header, tag.field) for text in texts(element)]
        values = [text.replace("\0", "") for text in values]
        text = search_text(tag.field, values)
        if text:
            normal[tag.field.keyword] = text
            tokens |= search_tokens(blind, tag.field, values)
            shown |= _roots(header, tag.field)
    if not normal:
        return None
    json = orjson.dumps({"j": shown, "n": normal}, option=orjson.OPT_SORT_KEYS)
    return Values(json.replace(b"\\u0000", b""), tuple(sorted(tokens)))


def said_of(fields: Sequence[Field], data_sets: Sequence[Json]) -> Json:
    """Return the elements of tags in some data sets; of different values each once."""
    found: Json = {}
    for data_set in data_sets:
        for field in fields:
            for tag, element in _roots(data_set, field).items():
                known = found.get(tag)
                if known is None:
                    found[tag] = element
                    continue
                more = [v for v in element.get("Value", []) if v not in known.get("Value", [])]
                if more:
                    found[tag] = {**known, "Value": [*known.get("Value", []), *more]}
    return found


def _elements(data_set: Mapping[str, Any], field: Field) -> Iterator[Any]:
    """Yield the elements at the end of a path, of all items on its way."""
    yield from _walk(data_set, field.tag.split("."), field.creator)


def _walk(data_set: Mapping[str, Any], path: Sequence[str], creator: str) -> Iterator[Any]:
    tag = _actual(data_set, path[0], creator)
    element = data_set.get(tag) if tag else None
    if element is None:
        return
    if len(path) == 1:
        yield element
        return
    for item in element.get("Value", ()):
        if isinstance(item, dict):
            yield from _walk(item, path[1:], creator)


def _roots(data_set: Mapping[str, Any], field: Field) -> Json:
    """Return the elements of the data set itself that a tag is found in, to be answered."""
    tag = _actual(data_set, field.tag.partition(".")[0], field.creator)
    if tag is None:
        return {}
    reserved = f"{tag[:4]}00{tag[4:6]}"
    names = (tag, reserved) if int(tag[3], 16) % 2 else (tag,)
    return {name: data_set[name] for name in names if name in data_set}


def _actual(data_set: Mapping[str, Any], tag: str, creator: str) -> str | None:
    """Return the tag of an element in a data set: a private one is in its creator's block."""
    if int(tag[3], 16) % 2 == 0:
        return tag
    for block in _BLOCKS:
        reserved = data_set.get(f"{tag[:4]}00{block:02X}")
        if reserved is not None and reserved.get("Value", [""])[0] == creator:
            actual = f"{tag[:4]}{block:02X}{tag[6:]}"
            if actual in data_set:
                return actual
    return None
