"""Conflicts at work: an index, an operator who decides, and whether all that is shown agrees."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from darkroom_api.dicomweb.retrieving.pixels import find_frames
from darkroom_common.dicom.stored import stored_file
from darkroom_common.index.fields import BY_KEYWORD, Level
from darkroom_common.index.query import Query, conditions
from darkroom_common.index.reader import IndexReader
from darkroom_common.jobs.lease import Claims
from darkroom_common.messages.base import new_message_id
from darkroom_common.messages.commands import ResolveConflict
from darkroom_common.messages.events import ConflictResolved, InstancesReplaced
from darkroom_common.objects.frame_places import unpacked
from darkroom_common.seal import Seal
from darkroom_common.specs.conflicts import PURPOSE, Decision
from darkroom_metadata.conflicts.intake import Decisions
from darkroom_metadata.conflicts.objects import Desk
from darkroom_metadata.conflicts.repository import Resolutions
from darkroom_metadata.conflicts.resolving import Resolver
from darkroom_metadata.conflicts.upkeep import Upkeep
from tests.integration.metadata.test_indexer import BLIND, KEYS, Bench, indexing
from tests.support.database import Prepared

RETENTION = timedelta(days=30)
_SUMS = (
    "SELECT s.study_instance_uid, s.series_count, s.instance_count, s.byte_count, s.modalities,"
    " s.sop_classes, count(DISTINCT e.id) AS series, count(i.id) AS instances,"
    " coalesce(sum(i.size), 0)::bigint AS bytes, array_agg(DISTINCT e.modality) AS seen,"
    " array_agg(DISTINCT i.sop_class_uid) AS classes"
    " FROM index.study s LEFT JOIN index.series e ON e.study_id = s.id"
    " LEFT JOIN index.instance i ON i.series_id = e.id GROUP BY s.id, 1, 2, 3, 4, 5, 6"
)
_SERIES = (
    "SELECT e.instance_count, count(i.id) AS counted FROM index.series e"
    " LEFT JOIN index.instance i ON i.series_id = e.id GROUP BY e.id, 1"
)
_LOST = (
    "SELECT (SELECT count(*) FROM index.series e WHERE NOT EXISTS"
    " (SELECT FROM index.study s WHERE s.id = e.study_id))"
    " + (SELECT count(*) FROM index.instance i WHERE NOT EXISTS"
    " (SELECT FROM index.series e WHERE e.id = i.series_id))"
)


def frames_in(file: Path) -> list[Sequence[tuple[int, int]]]:
    """Return where a worker of the api finds the frames of an object."""
    with file.open("rb") as content, stored_file(content) as (stored, _):
        return list(find_frames(stored, None).places or ())


@dataclass
class House:
    """An index with its operator."""

    bench: Bench
    commands: Decisions
    reader: IndexReader
    upkeep: Upkeep

    @property
    def resolver(self) -> Resolver:
        return self.commands.resolver

    async def received(self, *sets: Dataset, **changes: Any) -> None:
        await self.bench.index(*(self.bench.stored(one, **changes) for one in sets))

    async def conflicts(self, where: str = "state = 'open'") -> list[Any]:
        sql = f"SELECT * FROM index.conflict WHERE {where} ORDER BY id"
        return await self.bench.prepared.fetch(sql)

    def command(self, conflict: int, action: Any, **more: Any) -> ResolveConflict:
        given = {name: more.pop(name) for name in Decision.model_fields if name in more}
        seal = self.resolver.seal
        sealed = seal.seal(Decision(**given).model_dump(), purpose=PURPOSE) if given else ""
        return ResolveConflict(
            job_id=new_message_id(),
            conflict_id=str(conflict),
            action=action,
            requested_by="olga",
            sealed=sealed,
            **more,
        )

    async def decide(self, conflict: int, action: Any, **more: Any) -> tuple[str, str]:
        """Have a decision carried out; return the job's state and reason."""
        command = self.command(conflict, action, **more)
        await self.commands.handle(command)
        await self.work()
        rows = await self.bench.prepared.fetch(
            "SELECT state, reason FROM index.resolution WHERE id = $1", command.job_id
        )
        return rows[0]["state"], rows[0]["reason"]

    async def work(self) -> int:
        """Do what there is to do; return how many attempts that took."""
        claims, done = self.resolver.claims, 0
        while (attempt := await claims.claim()) is not None:
            await claims.finish(attempt, await self.resolver.attempt(attempt))
            done += 1
        return done

    async def purge(self) -> int:
        """Have the objects go that were discarded, as if that were long ago; return how many."""
        await self.bench.prepared.fetch(
            "UPDATE index.conflict SET resolved_at = now() + interval '1 s',"
            " remove_after = now() - interval '1 s' WHERE state = 'discarded'"
        )
        gone = 0
        while await self.upkeep.remove_one():
            gone += 1
        return gone

    async def events(self, *kinds: type[Any]) -> list[dict[str, Any]]:
        names = [kind.TYPE for kind in kinds or (ConflictResolved, InstancesReplaced)]
        rows = await self.bench.prepared.fetch(
            "SELECT body FROM index.outbox WHERE type = ANY($1) ORDER BY id", names
        )
        return [json.loads(row["body"]) for row in rows]

    async def found(self, level: Level = Level.INSTANCE, **keys: str) -> list[Any]:
        """Search as QIDO-RS does."""
        wanted = tuple(
            one for key, value in keys.items() for one in conditions(BY_KEYWORD[key], value)
        )
        query = Query(level, conditions=wanted, limit=1000, include_all=True)
        return (await self.reader.search(query)).results

    async def require_agreement(self) -> None:
        """Compare counts, what searches answer, headers and the objects themselves."""
        fetch = self.bench.prepared.fetch
        for row in await fetch(_SUMS):
            assert row["instances"] > 0
            have = [row[name] for name in ("series_count", "instance_count", "byte_count")]
            assert have == [row[name] for name in ("series", "instances", "bytes")]
            assert (row["modalities"], row["sop_classes"]) == (row["seen"], row["classes"])
        for row in await fetch(_SERIES):
            assert row["instance_count"] == row["counted"] > 0
        assert (await fetch(_LOST))[0][0] == 0
        keys = {row["sop_instance_uid"]: row for row in await fetch("SELECT * FROM index.instance")}
        in_force = {row["object_key"] for row in keys.values()}
        found = await self.found()
        assert len(found) == len(keys)
        for one in found:
            instance, series, study = one.instance, one.series, one.study
            row = keys.pop(instance.sop_instance_uid)
            file = self.bench.directory / row["object_key"]
            data = dcmread(file, force=True)
            assert file.stat().st_size == row["data_set_offset"] + row["size"]
            if row["frame_places"]:
                said = [[place] for place in unpacked(row["frame_places"])]
                assert said == frames_in(file), "a worker finds frames elsewhere"
            assert str(data.SOPInstanceUID) == instance.sop_instance_uid
            assert str(data.StudyInstanceUID) == study.study_instance_uid
            assert str(data.SeriesInstanceUID) == series.series_instance_uid
            assert data.Modality == series.modality
            for keyword, tag in (("PatientID", "00100020"), ("PatientSex", "00100040")):
                values = [str(data.get(keyword))] if data.get(keyword) else []
                assert instance.attributes.get(tag, {}).get("Value", []) == values
                above = study.attributes.get(tag, {}).get("Value", [])
                assert above == values or (keyword == "PatientSex" and [] in (above, values))
            name = {"Alphabetic": str(data.PatientName)}
            assert instance.attributes["00100010"]["Value"] == [name]
            above = study.attributes["00100010"]["Value"][0]["Alphabetic"]
            parts = [set(one.split("^")) for one in (above, str(data.PatientName))]
            assert parts[0] <= parts[1] or parts[1] <= parts[0]
            stored = await self.reader.stored(
                study.study_instance_uid, series.series_instance_uid, instance.sop_instance_uid
            )
            assert [place.object_key for place in stored] == [row["object_key"]]
        for row in await self.conflicts("kind IN ('instance', 'correction')"):
            there = (self.bench.directory / row["object_key"]).exists()
            assert there is (row["removed_at"] is None) or row["object_key"] in in_force


@asynccontextmanager
async def house(superuser_url: str, directory: Path) -> AsyncIterator[House]:
    prepared = await Prepared.make(superuser_url, "metadata")
    root = directory / "objects"
    root.mkdir()
    async with indexing(prepared, root) as bench:
        indexer = bench.indexer
        desk = Desk(indexer.database, indexer.reading)
        resolutions = Resolutions(indexer.outbox)
        claims = Claims(resolutions.table, indexer.database, new_message_id(), 20.0)
        resolver = Resolver(claims, desk, KEYS, Seal(KEYS), indexer.outbox, RETENTION)
        reader = IndexReader(indexer.database, keys=KEYS, blind=BLIND)
        upkeep = Upkeep(indexer.database, indexer.reading.store, desk, KEYS)
        yield House(bench, Decisions(resolver, resolutions), reader, upkeep)
