"""Fills an index with as many studies as a hospital has: rows as metadata and the api write them.

`python -m tests.bench.studies URL --studies 1000000` with DARKROOM_PHI_KEYS and
DARKROOM_BLIND_INDEX_KEY set. URL is of a superuser, of a database that was migrated and is empty.
Every row is encrypted and has its tokens, made by the code of metadata; only the indexes are built
when the rows are there. Nothing is in the store: no object is fetched of these studies.
"""

import argparse
import asyncio
import hashlib
import os
import random
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

import asyncpg
import orjson

from darkroom_common.index.fields import PHYSICIAN, search_tokens
from darkroom_common.index.matching.runs import runs_of_study
from darkroom_common.postgres.phi import PGP_OPTIONS, BlindIndex, PhiKeys, decode_key
from darkroom_metadata.indexing.extract import extract
from darkroom_metadata.indexing.item import hexadecimal


def words(text: str) -> list[str]:
    """Split a list of names."""
    return text.split()


CHUNK: Final = 6000
"""Studies in one transaction; each third begins another patient."""
OF_A_PATIENT: Final = 3
FIRST_DAY: Final = date(2016, 1, 1)
DAYS: Final = 3980
NAMES: Final = words(
    "Smith Jones Taylor Brown Williams Wilson Johnson Davies Patel Robinson Wright Thompson Evans"
    " Walker White Roberts Green Hall Wood Jackson Clarke Khan Lewis Harris Martin Cooper King"
    " Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch"
    " García Fernández González Rodríguez López Martínez Sánchez Pérez Gómez Dubois Durand Moreau"
    " Rossi Russo Ferrari Bianchi Romano Kowalski Nowak Wiśniewski Jensen Nielsen Hansen Larsen"
    " Silva Santos Ferreira Pereira Oliveira Yilmaz Kaya Demir Ivanov Petrov Popescu Novák Horvat"
    " Nguyen Tran Kim Park Choi Tanaka=田中 Yamada=山田 Suzuki=鈴木 Wang=王 Zhang=张 Chen=陈"
)
GIVEN: Final = words(
    "Anna Maria Sophie Emma Olivia Mia Lena Laura Julia Sarah Lisa Marie Clara Eva Nora Zoë Chloé"
    " Inès Lucía Carmen Elena Giulia Francesca Ewa Zofia Ingrid Astrid Fatma Ayşe Olga Natasha Mei"
    " Yuki Hana John Peter Paul James David Thomas Michael Daniel Mark Andrew Stefan Jürgen Björn"
    " Søren Lars Luca Marco Pablo José Miguel Jean Pierre Piotr Jan Mehmet Ali Ivan Sergei Kenji"
)
PHYSICIANS: Final = tuple(f"Dr. {GIVEN[n % 40]} {NAMES[n % 70]}" for n in range(0, 480, 11))
KINDS: Final = (  # modality, SOP class, share, AE titles, descriptions
    (
        "CT",
        "1.2.840.10008.5.1.4.1.1.2",
        30,
        ("CT_ER", "CT_MAIN1", "CT_MAIN2"),
        ("CT chest", "CT abdomen pelvis", "CT head", "CT angiography aorta", "CT spine lumbar"),
    ),
    (
        "CR",
        "1.2.840.10008.5.1.4.1.1.1",
        25,
        ("CR_WARD", "CR_ER"),
        ("Chest 2 views", "Hand left", "Knee right", "Pelvis", "Ankle left 3 views"),
    ),
    (
        "MR",
        "1.2.840.10008.5.1.4.1.1.4",
        20,
        ("MR_15T", "MR_3T"),
        ("MR head", "MR knee", "MR lumbar spine", "MR liver contrast", "MR prostate"),
    ),
    (
        "US",
        "1.2.840.10008.5.1.4.1.1.6.1",
        15,
        ("US_OBGYN", "US_CARD"),
        ("US abdomen", "Echocardiography", "US thyroid", "Obstetric US"),
    ),
    ("MG", "1.2.840.10008.5.1.4.1.1.1.2", 6, ("MAMMO",), ("Screening mammography", "Tomo left")),
    ("XA", "1.2.840.10008.5.1.4.1.1.12.1", 3, ("CATHLAB",), ("Coronary angiography", "PTCA")),
    ("NM", "1.2.840.10008.5.1.4.1.1.20", 1, ("GAMMA",), ("Bone scan", "Thyroid scintigraphy")),
)
SERIES_NAMES: Final = ("Scout", "Axial", "Coronal", "Sagittal", "Contrast", "Late phase")
REFERRERS: Final = tuple(f"{name}^{GIVEN[n % 60]}" for n, name in enumerate(NAMES[:60]))
_PATIENTS: Final = (
    "INSERT INTO index.patient (patient_key, phi, phi_key, blind) SELECT key,"
    " pgp_sym_encrypt(phi, $4, $6), $5,"
    " ARRAY(SELECT decode(h, 'hex') FROM unnest(string_to_array(blind, ',')) AS h)"
    " FROM unnest($1::bytea[], $2::text[], $3::text[]) AS g (key, phi, blind)"
    " RETURNING id, patient_key"
)
_STUDIES: Final = (
    "INSERT INTO index.study (patient_id, study_instance_uid, study_date, study_time, modalities,"
    " sop_classes, calling_ae_titles, series_count, instance_count, byte_count, status, revision,"
    " created_at, last_instance_at, completed_at, phi, phi_key, blind)"
    " SELECT patient, uid, day, moment, ARRAY[modality], ARRAY[class], ARRAY[ae], series, series,"
    " series * 524288::bigint, CASE WHEN uid LIKE '%7' THEN 'verified' ELSE 'complete' END, 1,"
    " day + moment, day + moment, day + moment, pgp_sym_encrypt(phi, $11, $13), $12,"
    " ARRAY(SELECT decode(h, 'hex') FROM unnest(string_to_array(blind, ',')) AS h)"
    " FROM unnest($1::bigint[], $2::text[], $3::date[], $4::time[], $5::text[], $6::text[],"
    " $7::text[], $8::int[], $9::text[], $10::text[])"
    " AS g (patient, uid, day, moment, modality, class, ae, series, phi, blind)"
    " RETURNING id, study_instance_uid"
)
_RUNS: Final = (  # the trigger of index.study has made the rows
    "UPDATE index.infix f SET due = false, runs = g.runs::bigint[]"
    " FROM unnest($1::bigint[], $2::text[]) AS g (study, runs) WHERE f.study_id = g.study"
)
_SERIES: Final = (
    "INSERT INTO index.series (study_id, series_instance_uid, modality, series_number,"
    " instance_count, phi, phi_key, blind)"
    " SELECT study, uid, modality, number, 1, pgp_sym_encrypt(phi, $7, $9), $8,"
    " ARRAY(SELECT decode(h, 'hex') FROM unnest(string_to_array(blind, ',')) AS h)"
    " FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[])"
    " AS g (study, uid, modality, number, phi, blind) RETURNING id, series_instance_uid"
)
_INSTANCES: Final = (
    "INSERT INTO index.instance (series_id, sop_instance_uid, sop_class_uid, transfer_syntax_uid,"
    " instance_number, pixel_rows, pixel_columns, bits_allocated, object_key, sha256, size,"
    " data_set_offset, receipt, calling_ae_title, header, phi_key, received_at)"
    " SELECT series, uid, class, '1.2.840.10008.1.2.1', 1, 512, 512, 16,"
    " 'bench/' || encode(digest, 'hex') || '.dcm', digest, 524288, 380, encode(digest, 'hex'), ae,"
    " pgp_sym_encrypt(header, $6, $8), $7, now()"
    " FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $9::bytea[])"
    " AS g (series, uid, class, ae, header, digest)"
)
_EXAMINATIONS: Final = (
    "INSERT INTO api.examination (study_instance_uid, exam_status, physician, phi_key,"
    " physician_key, blind) SELECT uid, status,"
    " CASE WHEN name <> '' THEN pgp_sym_encrypt(name, $6, $8) END,"
    " CASE WHEN name <> '' THEN $7::smallint END, key,"
    " ARRAY(SELECT decode(h, 'hex') FROM unnest(string_to_array(blind, ',')) AS h)"
    " FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[])"
    " AS g (uid, status, name, key, blind)"
)
_TABLES: Final = (
    "index.patient, index.study, index.infix, index.series, index.instance, index.listing,"
    " api.examination"
)
_LATER: Final = (
    "SELECT schemaname, indexname, indexdef FROM pg_indexes WHERE schemaname IN ('index', 'api')"
    " AND tablename IN ('patient', 'study', 'infix', 'series', 'instance', 'examination',"
    " 'listing') AND indexdef NOT LIKE 'CREATE UNIQUE%'"
    " AND indexname <> 'listing_uid' ORDER BY indexname"  # a trigger looks there
)


class Remembering(BlindIndex):
    """Makes each token of a name once: hospitals see the same names again and again."""

    def __init__(self, master: bytes) -> None:
        super().__init__(master)
        self._made: dict[tuple[str, str, str], bytes] = {}

    def token(self, field: str, kind: str, text: str) -> bytes:
        if kind == "value":
            return super().token(field, kind, text)
        made = self._made.get((field, kind, text))
        if made is None:
            made = super().token(field, kind, text)
            if len(self._made) < 2_000_000:
                self._made[field, kind, text] = made
        return made


@dataclass
class Rows:
    """The columns of a chunk, as the statements take them."""

    patients: list[list[Any]] = field(default_factory=lambda: [[] for _ in range(3)])
    studies: list[list[Any]] = field(default_factory=lambda: [[] for _ in range(10)])
    runs: list[str] = field(default_factory=list)
    series: list[list[Any]] = field(default_factory=lambda: [[] for _ in range(6)])
    instances: list[list[Any]] = field(default_factory=lambda: [[] for _ in range(6)])
    examinations: list[list[Any]] = field(default_factory=lambda: [[] for _ in range(5)])


def _add(columns: list[list[Any]], *values: Any) -> None:
    for column, value in zip(columns, values, strict=True):
        column.append(value)


def element(vr: str, value: str) -> dict[str, Any]:
    """An element of DICOM JSON."""
    if vr != "PN":
        return {"vr": vr, "Value": [value]}
    groups = zip(("Alphabetic", "Ideographic"), value.split("="), strict=False)
    return {"vr": vr, "Value": [dict(groups)]}


def a_patient(dice: random.Random, number: int) -> dict[str, Any]:
    """The patient module of somebody."""
    family, _, written = dice.choice(NAMES).partition("=")
    name = f"{family}^{dice.choice(GIVEN)}" + (f"={written}" if written else "")
    born = date(1930, 1, 1) + timedelta(days=dice.randrange(33_000))
    return {
        "00100010": element("PN", name),
        "00100020": element("LO", f"P{number:08d}"),
        "00100030": element("DA", f"{born:%Y%m%d}"),
        "00100040": element("CS", dice.choice("MF")),
    }


def make(first: int, count: int, blind: BlindIndex) -> Rows:
    """Make the rows of `count` studies, the same ones whenever they are made."""
    rows = Rows()
    dice = random.Random(first)
    patient: dict[str, Any] = {}
    for number in range(first, first + count):
        if number % OF_A_PATIENT == 0 or not patient:
            patient = a_patient(dice, number // OF_A_PATIENT)
        _study(rows, dice, number, patient, blind)
    return rows


def _study(
    rows: Rows, dice: random.Random, number: int, patient: dict[str, Any], blind: BlindIndex
) -> None:
    uid = f"2.25.77{number:012d}"
    modality, sop_class, _, titles, texts = dice.choices(KINDS, [kind[2] for kind in KINDS])[0]
    ae = dice.choice(titles)
    day = FIRST_DAY + timedelta(days=dice.randrange(DAYS))
    seconds = dice.randrange(6 * 3600, 22 * 3600)
    moment = f"{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}"
    header = patient | {
        "00080020": element("DA", f"{day:%Y%m%d}"),
        "00080030": element("TM", moment),
        "00080050": element("SH", f"A{number:09d}"),
        "00080060": element("CS", modality),
        "00080080": element("LO", "City Hospital"),
        "00080090": element("PN", dice.choice(REFERRERS)),
        "00081010": element("SH", ae),
        "00081030": element("LO", dice.choice(texts)),
        "0020000D": element("UI", uid),
        "00200010": element("SH", str(number % 100_000)),
    }
    count = 1 if modality == "CR" else dice.randrange(1, 4)
    for index in range(1, count + 1):
        series_uid, instance_uid = f"{uid}.{index}", f"{uid}.{index}.1"
        whole = header | {
            "00080018": element("UI", instance_uid),
            "0008103E": element("LO", dice.choice(SERIES_NAMES)),
            "0020000E": element("UI", series_uid),
            "00200011": element("IS", str(index)),
        }
        found = extract(whole, study_instance_uid=uid, blind=blind)
        if index == 1:
            key = found.patient_key
            if not rows.patients[0] or rows.patients[0][-1] != key:
                _add(rows.patients, key, found.patient.json, hexadecimal(found.patient.tokens))
            when, at, text = found.study_date, found.study_time, found.study.json
            tokens = hexadecimal(found.study.tokens)
            runs = runs_of_study(blind, orjson.loads(text)["n"]) or []
            kept = ",".join(map(str, runs))
            _add(rows.studies, key, uid, when, at, modality, sop_class, ae, count, text, tokens)
            rows.runs.append(f"{{{kept}}}")
        tokens = hexadecimal(found.series.tokens)
        _add(rows.series, uid, series_uid, modality, index, found.series.json, tokens)
        digest = hashlib.sha256(instance_uid.encode()).digest()
        _add(rows.instances, series_uid, instance_uid, sop_class, ae, found.header, digest)
    _examination(rows, dice, uid, (FIRST_DAY + timedelta(days=DAYS) - day).days, blind)


def _examination(rows: Rows, dice: random.Random, uid: str, age: int, blind: BlindIndex) -> None:
    """Most of what is older than a few days is read; something is left over of every year."""
    roll = dice.random()
    status = "pending" if roll < 0.03 or age < 3 else "cancelled" if roll < 0.04 else "completed"
    if status == "pending" and roll < 0.5:
        return
    if 0.04 <= roll < 0.05:
        status = "in_progress"
    name = dice.choice(PHYSICIANS) if roll < 0.8 else ""
    key = blind.exact(PHYSICIAN.keyword, name) if name else None
    tokens = sorted(search_tokens(blind, PHYSICIAN, [name]))
    _add(rows.examinations, uid, status, name, key, hexadecimal(tokens))


async def _load(url: str, first: int, count: int, keys: PhiKeys, blind: BlindIndex) -> None:
    rows = make(first, count, blind)
    key = keys.current_key, keys.current, PGP_OPTIONS
    db = await asyncpg.connect(url, server_settings={"synchronous_commit": "off"})
    try:
        async with db.transaction():
            made = await db.fetch(_PATIENTS, *rows.patients, *key)
            patients = {bytes(row["patient_key"]): row["id"] for row in made}
            owners, *columns = rows.studies
            made = await db.fetch(_STUDIES, [patients[one] for one in owners], *columns, *key)
            studies = {row["study_instance_uid"]: row["id"] for row in made}
            await db.execute(_RUNS, [studies[uid] for uid in columns[0]], rows.runs)
            owners, *columns = rows.series
            made = await db.fetch(_SERIES, [studies[one] for one in owners], *columns, *key)
            series = {row["series_instance_uid"]: row["id"] for row in made}
            owners, *columns, digests = rows.instances
            numbers = [series[one] for one in owners]
            await db.execute(_INSTANCES, numbers, *columns, *key, digests)
            await db.execute(_EXAMINATIONS, *rows.examinations, *key)
    finally:
        await db.close()


def _chunk(url: str, first: int, count: int) -> int:
    keys = PhiKeys.parse(os.environ["DARKROOM_PHI_KEYS"])
    master = decode_key(os.environ["DARKROOM_BLIND_INDEX_KEY"], setting="BLIND_INDEX_KEY")
    asyncio.run(_load(url, first, count, keys, Remembering(master)))
    return count


async def _without_indexes(url: str) -> list[str]:
    """Drop the indexes that searches need; return the statements that make them."""
    db = await asyncpg.connect(url)
    try:
        later = await db.fetch(_LATER)
        for row in later:
            await db.execute(f"DROP INDEX {row['schemaname']}.{row['indexname']}")
        return [row["indexdef"] for row in later]
    finally:
        await db.close()


async def _finish(url: str, statements: list[str]) -> None:
    db = await asyncpg.connect(url)
    try:
        await db.execute("SET maintenance_work_mem = '1GB'")
        for statement in statements:
            began = time.perf_counter()
            await db.execute(statement, timeout=3600)
            name = statement.split()[2]
            print(f"index {name}: {time.perf_counter() - began:.0f} s", flush=True)
        for table in _TABLES.split(", "):
            await db.execute(f"VACUUM ANALYZE {table}", timeout=3600)
    finally:
        await db.close()


def fill(url: str, studies: int, workers: int = 2) -> None:
    """Fill the index; the keys come from the environment, for each process its own."""
    began = time.perf_counter()
    statements = asyncio.run(_without_indexes(url))
    done, told = 0, 0.0
    with ProcessPoolExecutor(workers) as pool:
        work = [
            pool.submit(_chunk, url, first, min(CHUNK, studies - first))
            for first in range(0, studies, CHUNK)
        ]
        for one in as_completed(work):
            done += one.result()
            seconds = time.perf_counter() - began
            if seconds - told > 5 or done == studies:
                told = seconds
                print(f"{done} of {studies} studies, {done / seconds:.0f}/s", flush=True)
    asyncio.run(_finish(url, statements))
    print(f"{studies} studies in {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fill an index with studies.")
    parser.add_argument("url", help="of a superuser, of a migrated database without studies")
    parser.add_argument("--studies", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    fill(given.url, given.studies, given.workers)
