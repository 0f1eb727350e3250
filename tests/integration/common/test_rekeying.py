"""Every column that PHI_KEYS opens comes under a new key, in every schema."""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg
import pytest

from darkroom_api.rekey import COLUMNS as OF_API
from darkroom_common.postgres.phi import PGP_OPTIONS, PhiKeys
from darkroom_common.rekeying import Column, Encrypted, Rekeying, Sealed
from darkroom_common.seal import Seal, Unsealable
from darkroom_ingest.rekey import COLUMNS as OF_INGEST
from darkroom_metadata.rekey import COLUMNS as OF_METADATA
from darkroom_print.rekey import COLUMNS as OF_PRINT
from darkroom_transmit.rekey import COLUMNS as OF_TRANSMIT
from tests.support.database import Prepared
from tests.support.deployed import ROOT
from tests.support.services import WITH_SCHEMA

ONE, TWO = (base64.b64encode(letter * 32).decode() for letter in (b"1", b"2"))
OLD = PhiKeys(1, {1: ONE})
BOTH = PhiKeys(2, {1: ONE, 2: TWO})
NEW = PhiKeys(2, {2: TWO})
OWNERS: Final[Mapping[str, tuple[str, Sequence[Column]]]] = {
    "index": ("metadata", OF_METADATA),
    "transmit": ("transmit", OF_TRANSMIT),
    "print": ("print", OF_PRINT),
    "ingest": ("ingest", OF_INGEST),
    "api": ("api", OF_API),
}
MESSAGES = "a message on its way"
NO_KEY = "a digest, a code, a token or a place: nothing is read out of it"
LEFT: Final[Mapping[str, str]] = {
    "api.audit_log.phi": "nobody changes the log: PHI_KEYS keeps the key for as long as its rows",
    "print.picture.sealed": "is gone in minutes",
    "api.dead_letter.body": MESSAGES,
    **dict.fromkeys((f"{one}.outbox.body" for one in (*OWNERS, "licensing")), MESSAGES),
    **dict.fromkeys(
        (
            "api.accepted.fingerprint",
            "api.accepted.idempotency_key",
            "api.api_key.key_hash",
            "api.audit_checkpoint.head",
            "api.audit_checkpoint.mac",
            "api.audit_link.mac",
            "api.audit_link.macs",
            "api.act.fingerprint",
            "api.act.idempotency_key",
            "api.audit_link.previous",
            "api.audit_log.mac",
            "api.bulk_change.fingerprint",
            "api.bulk_change.idempotency_key",
            "api.examination.blind",
            "api.examination.physician_key",
            "api.export.fingerprint",
            "api.export.idempotency_key",
            "api.dead_letter.fingerprint",
            "api.known_device.device",
            "api.login_attempt.name_hash",
            "api.patient_hold.patient_key",
            "api.made_object.fingerprint",
            "api.made_object.idempotency_key",
            "api.recovery_code.code_hash",
            "api.refresh_token.token_hash",
            "index.edit.merged_key",
            "index.edited.frame_places",
            "index.edited.head_sha256",
            "index.edited.sha256",
            "index.listing.physician_key",
            "index.patient.blind",
            "index.patient.patient_key",
            "index.series.blind",
            "index.study.blind",
            "index.conflict.head_sha256",
            "index.conflict.sha256",
            "index.instance.frame_places",
            "index.instance.head_sha256",
            "index.listing.physician_key",
            "index.merged_patient.patient_key",
            "index.merged_patient.target_key",
            "index.instance.sha256",
            "index.tagged.blind",
            "index.tagged.digest",
            "index.verification_finding.sha256",
            "index.replicated.sha256",
            "print.film.sha256",
            "transmit.migration_object.sha256",
            "transmit.migration_study.digest",
            "ingest.taken.key",
            "ingest.worklist.accession_key",
            "ingest.worklist.patient_key",
            "ingest.worklist.step_key",
            "ingest.workitem.patient_key",
            "ingest.workitem.transaction_key",
        ),
        NO_KEY,
    ),
}
"""What no `rekey` touches, and why."""
WORDS: Final = {
    ("index.conflict", "kind"): "'instance'",
    ("index.resolution", "action"): "'keep'",
    ("index.edit", "action"): "'edit'",
    ("index.removal", "action"): "'delete'",
    ("index.replication_due", "kind"): "'object'",
    ("index.replication_told", "kind"): "'edit'",
    ("ingest.worklist", "source"): "'rest'",
    ("ingest.worklist", "state"): "'SCHEDULED'",
    ("ingest.performed_step", "state"): "'COMPLETED'",
    ("ingest.workitem", "state"): "'SCHEDULED'",
    ("api.examination_change", "field"): "'physician_name'",
}
"""What a table checks."""
BINARY = (
    "SELECT n.nspname || '.' || c.relname || '.' || a.attname AS name FROM pg_attribute a"
    " JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p') AND NOT a.attisdropped AND a.attinhcount = 0 AND a.attnum > 0"
    " AND a.atttypid IN ('bytea'::regtype, 'bytea[]'::regtype)"
    " AND n.nspname IN (SELECT * FROM unnest($1::text[]))"
)
NEEDED = (
    "SELECT column_name AS name, data_type AS type FROM information_schema.columns"
    " WHERE table_schema = $1 AND table_name = $2 AND is_nullable = 'NO'"
    " AND column_default IS NULL AND is_identity = 'NO' AND is_generated = 'NEVER'"
)
ANY: Final = {
    "text": "'x'",
    "bytea": "'\\x00'",
    "uuid": "gen_random_uuid()",
    "bigint": "1",
    "integer": "1",
    "smallint": "1",
    "boolean": "false",
    "timestamp with time zone": "now()",
    "jsonb": "'{}'",
    "ARRAY": "'{}'",
}


@pytest.fixture
async def prepared(superuser_url: str) -> Prepared:
    return await Prepared.make(superuser_url, *WITH_SCHEMA)


def every(schema: str) -> Sequence[Column]:
    return OWNERS[schema][1]


def declared() -> set[str]:
    return {f"{schema}.{one.table}.{one.column}" for schema in OWNERS for one in every(schema)}


def sealed_texts() -> set[str]:
    """Columns of text that a migration says are sealed."""
    found: set[str] = set()
    schemas = {"metadata": "index"}
    for file in ROOT.glob("services/*/src/*/migrations/*.sql"):
        service = file.parts[-5]
        table = ""
        for line in file.read_text().splitlines():
            if began := re.match(r"(?:CREATE|ALTER) TABLE (\w+)", line):
                table = began[1]
            column = re.match(r"\s+(?:ADD COLUMN )?(\w+) +text\b.*?(--.*)?$", line)
            if column is None:
                continue
            said = re.search(r"(?<!what is )\bsealed\b|under PHI_KEYS", column[2] or "")
            if said or column[1] in ("sealed", "secret"):
                found.add(f"{schemas.get(service, service)}.{table}.{column[1]}")
    return found


@pytest.mark.req("MET-02")
async def test_every_column_under_a_key_is_named(prepared: Prepared) -> None:
    binary = {row["name"] for row in await prepared.fetch(BINARY, [*OWNERS, "licensing"])}
    assert binary | sealed_texts() == declared() | set(LEFT)
    assert not declared() & set(LEFT)


async def a_row(db: asyncpg.Connection, schema: str, table: str) -> None:
    """Add a row with a value under the old key in each of its columns."""
    values: dict[str, str] = {}
    for row in await db.fetch(NEEDED, schema, table):
        values[row["name"]] = WORDS.get((f"{schema}.{table}", row["name"]), ANY[row["type"]])
    given: list[object] = []
    for one in (one for one in every(schema) if one.table == table):
        match one:
            case Encrypted():
                text = f"{one.table} {one.column}"
                given += [text, ONE, PGP_OPTIONS]
                n = len(given)
                values[one.column] = f"pgp_sym_encrypt(${n - 2}::text, ${n - 1}::text, ${n}::text)"
                values[one.key] = "1"
            case Sealed():
                text = Seal(OLD).seal(f"{one.table} {one.column}", purpose=one.purpose)
                given.append([text, text] if one.many else text)
                values[one.column] = f"${len(given)}"
    names, texts = ", ".join(values), ", ".join(values.values())
    await db.execute(f"INSERT INTO {schema}.{table} ({names}) VALUES ({texts})", *given)


async def read(db: asyncpg.Connection, schema: str, one: Column) -> set[str]:
    """Return what a column says to whoever has the new key alone."""
    if isinstance(one, Encrypted):
        sql = f"SELECT pgp_sym_decrypt({one.column}, $1), {one.key} FROM {schema}.{one.table}"
        rows = await db.fetch(sql, TWO)
        assert {row[1] for row in rows} == {2}
        return {row[0] for row in rows}
    rows = await db.fetch(f"SELECT {one.column} FROM {schema}.{one.table}")
    texts = [text for row in rows for text in (row[0] if one.many else [row[0]])]
    assert len(texts) == 1 + one.many
    return {Seal(NEW).open(text, purpose=one.purpose) for text in texts}


def rekeying(schema: str, database: object) -> Rekeying:
    return Rekeying(database, schema, every(schema), BOTH, 0, lambda _: None)  # type: ignore[arg-type]


@pytest.mark.req("MET-02")
async def test_all_of_them_come_under_a_new_key(prepared: Prepared) -> None:
    db = await asyncpg.connect(prepared.superuser_url)
    await db.execute("SET session_replication_role = replica")  # without what they refer to
    try:
        for schema in OWNERS:
            for table in sorted({one.table for one in every(schema)}):
                await a_row(db, schema, table)
        for schema, (role, columns) in OWNERS.items():
            async with prepared.login(role) as database:
                assert await rekeying(schema, database).run() == len(columns)
                assert await rekeying(schema, database).run() == 0
            for one in columns:
                assert await read(db, schema, one) == {f"{one.table} {one.column}"}
    finally:
        await db.close()


async def test_what_cannot_be_opened_keeps_nothing_else_from_it(prepared: Prepared) -> None:
    db = await asyncpg.connect(prepared.superuser_url)
    try:
        for number, purpose in enumerate(("mail", "another")):
            sealed = Seal(OLD).seal("text", purpose=purpose)
            sql = "INSERT INTO api.mail (id, template, recipient, sealed) VALUES ($1, '', '', $2)"
            await db.execute(sql, str(number), sealed)
        async with prepared.login("api") as database:
            with pytest.raises(Unsealable, match="in mail"):
                await rekeying("api", database).run()
        rows = await db.fetch("SELECT split_part(sealed, '.', 2) FROM api.mail ORDER BY id")
        assert [row[0] for row in rows] == ["2", "1"]
    finally:
        await db.close()
