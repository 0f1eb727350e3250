"""Writes `index.tagged`: what objects say of the indexed tags."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from darkroom_common.index.tags.indexed import IndexedTag, Values, read_tags, values_of
from darkroom_common.postgres.phi import PGP_OPTIONS, BlindIndex, PhiKeys
from darkroom_common.postgres.pool import Connection
from darkroom_metadata.indexing.item import hexadecimal

BATCH: Final = 200
"""Headers that are read at once."""
_HOLD: Final = "SELECT generation FROM index.tag_state FOR SHARE"
_SERIES_OF: Final = "SELECT id, series_id FROM index.instance WHERE id = ANY($1::bigint[])"
_ADD: Final = (
    "INSERT INTO index.tagged (series_id, instance_id, digest, phi, phi_key, blind)"
    " SELECT g.series, nullif(g.instance, 0), g.digest, pgp_sym_encrypt(g.json, $6, $8), $7,"
    " ARRAY(SELECT decode(h, 'hex') FROM unnest(string_to_array(g.tokens, ',')) AS h)"
    " FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::text[], $5::text[])"
    " AS g (series, instance, digest, json, tokens) ON CONFLICT DO NOTHING"
)
_DROP: Final = "DELETE FROM index.tagged WHERE series_id = ANY($1::bigint[])"  # tagged_values
_HEADERS: Final = (  # instance_series
    "SELECT i.id, i.series_id, CASE WHEN length(i.header) > 0"
    "  THEN pgp_sym_decrypt(i.header, coalesce(($1::text[])[i.phi_key], '')) ELSE '{}' END"
    " FROM index.instance i WHERE i.series_id = ANY($2::bigint[]) AND i.id > $3"
    " ORDER BY i.id LIMIT $4"
)


@dataclass(frozen=True)
class TagWriter:
    """Writes in the caller's transaction, which has locked the studies."""

    keys: PhiKeys
    blind: BlindIndex
    _known: dict[int, tuple[IndexedTag, ...]] = field(default_factory=dict)

    async def hold(self, db: Connection) -> tuple[IndexedTag, ...]:
        """Return the tags; until the transaction has ended nobody changes them."""
        generation: int = await db.fetchval(_HOLD)
        if generation not in self._known:
            tags = await read_tags(db)
            self._known.clear()
            self._known[generation] = tags
        return self._known[generation]

    async def add(self, db: Connection, headers: Mapping[int, str]) -> None:
        """Keep what new instances say.

        Args:
            db: the transaction that has added them.
            headers: the JSON text of their headers, by their rows.
        """
        tags = await self.hold(db)
        if tags and headers:
            series = await db.fetch(_SERIES_OF, list(headers))
            await self._write(db, tags, [(of, one, headers[one]) for one, of in series])

    async def refill(self, db: Connection, series: Sequence[int]) -> int:
        """Keep what all objects of some series say now; return how many they are."""
        tags = await self.hold(db)
        await db.execute(_DROP, list(series))
        last = count = 0
        passphrases = self.keys.by_id()
        while tags:
            rows = await db.fetch(_HEADERS, passphrases, list(series), last, BATCH)
            if not rows:
                break
            await self._write(db, tags, [(of, one, text) for one, of, text in rows])
            last, count = rows[-1][0], count + len(rows)
        return count

    async def _write(
        self, db: Connection, tags: Sequence[IndexedTag], given: Iterable[tuple[int, int, str]]
    ) -> None:
        shared = [tag for tag in tags if not tag.of_instance]
        own = [tag for tag in tags if tag.of_instance]
        rows: dict[tuple[int, int, bytes], Values] = {}
        for series, instance, text in given:
            header = orjson.loads(text or "{}")
            for of, some in ((0, shared), (instance, own)):
                values = values_of(header, some, self.blind) if some else None
                if values is not None:
                    digest = self.blind.token("tagged", "value", values.json.decode())
                    rows[series, of, digest] = values
        if rows:
            await db.execute(
                _ADD,
                [series for series, _, _ in rows],
                [instance for _, instance, _ in rows],
                [digest for _, _, digest in rows],
                [one.json.decode() for one in rows.values()],
                [hexadecimal(one.tokens) for one in rows.values()],
                self.keys.current_key,
                self.keys.current,
                PGP_OPTIONS,
            )
