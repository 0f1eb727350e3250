"""Who may send: ingest and its commands as processes, with a database that comes and goes."""

import asyncio
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest

from darkroom_ingest.senders.roster import COPY_NAME
from darkroom_local.engines.postgres import PrivatePostgres
from tests.support.builders import CT, a_data_set, encode
from tests.support.commands import run_command
from tests.support.dicom_peer import ECHO, Association, Rejected
from tests.support.services import Services, declare_index_queue, prepare_database, role_url
from tests.support.waiting import until

EXPLICIT = "1.2.840.10008.1.2.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
CONTEXTS = {1: (CT, EXPLICIT), 3: (ECHO, "1.2.840.10008.1.2"), 5: (MR, EXPLICIT)}
CALLING, CALLED, BUSY, LIMIT = (1, 1, 3), (1, 1, 7), (2, 3, 1), (2, 3, 2)


@pytest.fixture
async def ingest(services: Services) -> Services:
    """Ingest that accepts nobody who is not listed, on a database with its schema."""
    await prepare_database(services.superuser_url, "ingest")
    await declare_index_queue(services.amqp_url)
    services.extra |= {"UNKNOWN_AE": "reject", "PROCESSES": "2"}
    return services


async def ae(services: Services, *arguments: str, code: int = 0) -> str:
    """Run `python -m darkroom_ingest ae`; return what it says."""
    environment = services.environment("ingest", 0)
    ended, out, err = await run_command("ingest", "ae", *arguments, environment=environment)
    assert ended == code, err
    return out + err


def outcome(
    services: Services, calling: str = "SCANNER", called: str = "DARKROOM"
) -> tuple[int, int, int] | int:
    """What a sender of one CT object is told: why it is rejected, or the object's status."""
    data_set = a_data_set()
    try:
        with Association(services.dicom_port, CONTEXTS, calling=calling, called=called) as peer:
            return peer.store(1, CT, str(data_set.SOPInstanceUID), encode(data_set))
    except Rejected as rejected:
        return rejected.answer


async def until_all(wanted: object, ask: Callable[[], object]) -> None:
    """Wait for what every worker has to see: several answers in a row."""
    found: list[object] = []

    async def came() -> bool:
        found.append(await asyncio.to_thread(ask))
        return found[-6:] == [wanted] * 6

    await until(came, f"{wanted} from every worker")


@pytest.mark.req("ING-05", "ING-08")
async def test_each_rule_takes_effect_while_ingest_runs(ingest: Services) -> None:
    await ingest.start("ingest")
    assert outcome(ingest) == CALLING
    assert outcome(ingest, called="OTHER") == CALLED

    await ae(ingest, "add", "SCANNER", code=2)
    told = await ae(ingest, "add", "SCANNER", "--host", "10.0.0.0/8", "--by", "an operator")
    line = json.loads(told.splitlines()[1])
    assert (line["event"], line["ae"], line["by"]) == ("senders.changed", "SCANNER", "an operator")
    assert outcome(ingest) == CALLING  # this host is not the one
    await ae(ingest, "set", "SCANNER", "--host", "10.0.0.0/8", "--host", "127.0.0.1")
    await until_all(0, lambda: outcome(ingest))
    assert outcome(ingest, calling="scanner") == CALLING
    assert outcome(ingest, calling="SCANNER\t") == CALLING

    await ae(ingest, "add", "ARCHIVE", "--called")
    await until_all(0, lambda: outcome(ingest, called="ARCHIVE"))
    await ae(ingest, "remove", "ARCHIVE", "--called")
    await until_all(CALLED, lambda: outcome(ingest, called="ARCHIVE"))

    with await asyncio.to_thread(
        Association, ingest.dicom_port, CONTEXTS, calling="SCANNER"
    ) as opened:
        data_set = a_data_set()
        again = (str(data_set.SOPInstanceUID), encode(data_set))
        assert opened.store(1, CT, *again) == 0
        await ae(ingest, "set", "SCANNER", "--only-sop-class", MR)
        await until_all(0x0124, lambda: outcome(ingest))
        await until(lambda: opened.store(1, CT, *again) == 0x0124)  # for whom is connected, too
        assert opened.echo(3) == 0
        await ae(ingest, "set", "SCANNER", "--not-sop-class", MR)
        await until_all(0, lambda: outcome(ingest))
        await ae(ingest, "set", "SCANNER", "--disable")
        await until_all(CALLING, lambda: outcome(ingest))
        assert opened.store(1, CT, *again) == 0x0124
    await ae(ingest, "set", "SCANNER", "--enable", "--any-host", "--any-sop-class")
    await until_all(0, lambda: outcome(ingest))
    log = ingest.running["ingest"].log.read_text()
    assert r"SCANNER\\t" in log  # escaped, within a JSON string


@pytest.mark.req("ING-05")
async def test_patterns_and_mistakes_of_the_command(ingest: Services) -> None:
    await ingest.start("ingest")
    await ae(ingest, "add", "SCANNER", "--any-host", "--by", "an operator")
    await ae(ingest, "set", "SCANNER", "--max-associations", "3")
    await until_all(0, lambda: outcome(ingest))
    await ae(ingest, "remove", "SCANNER")
    await until_all(CALLING, lambda: outcome(ingest))
    await ae(ingest, "remove", "SCANNER", code=2)
    await ae(ingest, "add", "SCAN*", "--any-host")
    await until_all(0, lambda: outcome(ingest))
    await ae(ingest, "add", "SCAN*", "--any-host", code=2)
    listed = json.loads(await ae(ingest, "list", "--json"))
    assert [one["ae_title"] for one in listed["senders"]] == ["SCAN*"]
    assert "SCAN*" in await ae(ingest, "list")
    await ae(ingest, "add", "X", "--host", "10.0.0.1/8", code=2)
    await ae(ingest, "add", "SEVENTEEN-LETTERS", "--any-host", code=2)

    connection = await asyncpg.connect(role_url(ingest.superuser_url, "darkroom_ingest"))
    try:
        changes = await connection.fetch("SELECT action, by FROM ingest.ae_change ORDER BY id")
        assert [row["action"] for row in changes] == ["added", "changed", "removed", "added"]
        assert changes[0]["by"] == "an operator"
        for forbidden in (
            "DELETE FROM ingest.ae_change",
            "UPDATE ingest.ae_change SET by = ''",
            "TRUNCATE ingest.ae_change",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
    finally:
        await connection.close()
    assert await ingest.running["ingest"].stop() == 0


async def echoscu(services: Services, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "echoscu",
        *arguments,
        "127.0.0.1",
        str(services.dicom_port),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return out.decode()


@pytest.mark.req("ING-05", "ING-08")
async def test_limits_count_over_all_processes_and_another_program_is_told(
    ingest: Services,
) -> None:
    await ae(ingest, "add", "SMALL", "--any-host", "--max-associations", "2")
    await ae(ingest, "add", "OTHER", "--any-host")
    ingest.extra |= {"MAX_ASSOCIATIONS_PER_HOST": "5"}
    await ingest.start("ingest")

    def fill(ae_title: str, room: int) -> None:
        with ExitStack() as stack:
            for _ in range(room):
                stack.enter_context(Association(ingest.dicom_port, CONTEXTS, calling=ae_title))
            for _ in range(5):  # whichever process it is
                with pytest.raises(Rejected) as caught:
                    Association(ingest.dicom_port, CONTEXTS, calling=ae_title)
                assert caught.value.answer == LIMIT

    await until_all(0, lambda: outcome(ingest, calling="SMALL"))
    await asyncio.to_thread(fill, "SMALL", 2)
    await until_all(0, lambda: outcome(ingest, calling="OTHER"))
    await asyncio.to_thread(fill, "OTHER", 5)
    await until_all(0, lambda: outcome(ingest, calling="SMALL"))

    known = ("-aec", "DARKROOM", "-aet", "OTHER")
    assert await echoscu(ingest, *known) == ""
    told = await echoscu(ingest, "-aec", "DARKROOM", "-aet", "NOBODY")
    assert "Calling AE Title Not Recognized" in told
    told = await echoscu(ingest, "-aec", "NOWHERE", "-aet", "OTHER")
    assert "Called AE Title Not Recognized" in told


def checks(services: Services) -> tuple[int, dict[str, dict[str, object]]]:
    status, body = services.running["ingest"].probe("/readyz")
    return status, json.loads(body)["checks"] if body else {}


async def until_checks(
    services: Services, wanted: Callable[[int, dict[str, dict[str, object]]], bool]
) -> None:
    async def came() -> bool:
        return bool(wanted(*await asyncio.to_thread(checks, services)))

    await until(came)


@pytest.mark.timeout(240)
@pytest.mark.req("ING-05")
async def test_the_list_holds_while_the_database_is_away(
    tmp_path: Path, own_postgres: PrivatePostgres, amqp_url: str
) -> None:
    services = Services(tmp_path, own_postgres.superuser_url("postgres"), amqp_url)
    services.extra |= {"UNKNOWN_AE": "reject", "PROCESSES": "2"}
    try:
        await prepare_database(services.superuser_url, "ingest")
        await declare_index_queue(amqp_url)
        await ae(services, "add", "SCANNER", "--host", "127.0.0.0/8")
        await services.start("ingest")
        await until_all(0, lambda: outcome(services))
        await own_postgres.stop()
        await until_checks(services, lambda code, all_: code == 200 and not all_["postgres"]["ok"])
        assert (outcome(services), outcome(services, "NOBODY")) == (0, CALLING)
        assert await services.running["ingest"].stop() == 0
        await services.start("ingest")  # now it has never seen the database
        assert (outcome(services), outcome(services, "NOBODY")) == (0, CALLING)

        await own_postgres.start()
        await ae(services, "add", "NEW", "--any-host")
        await until_checks(services, lambda _, all_: bool(all_["postgres"]["ok"]))
        await until_all(0, lambda: outcome(services, "NEW"))

        await services.running["ingest"].stop()
        await own_postgres.stop()
        (services.spool / COPY_NAME).write_text("{")
        service = services.running["ingest"]
        await service.start()
        await until_checks(services, lambda code, all_: code == 503 and not all_["senders"]["ok"])
        assert outcome(services) == BUSY
        await own_postgres.start()
        await until_checks(services, lambda code, _: code == 200)
        await until_all(0, lambda: outcome(services))
    finally:
        await services.stop()


@pytest.mark.req("ING-05")
async def test_without_a_list_nobody_is_accepted_and_health_says_why(ingest: Services) -> None:
    ingest.superuser_url = "postgresql://nobody@127.0.0.1:1/none"
    starting = asyncio.create_task(ingest.start("ingest"))
    await until(lambda: "ingest" in ingest.running)
    await until_checks(
        ingest,
        lambda code, all_: (
            (code, [name for name, one in all_.items() if not one["ok"]])
            == (503, ["senders", "postgres"])
        ),
    )
    starting.cancel()
    assert "never been read" in str(checks(ingest)[1]["senders"]["reason"])
    assert outcome(ingest) == BUSY
    assert '"senders.not_known"' in ingest.running["ingest"].log.read_text()


@pytest.mark.req("ING-05")
async def test_a_row_that_makes_no_sense_changes_nothing(ingest: Services) -> None:
    await ae(ingest, "add", "SCANNER", "--any-host")
    await ingest.start("ingest")
    await until_all(0, lambda: outcome(ingest))
    connection = await asyncpg.connect(ingest.superuser_url)
    try:
        await connection.execute(
            "ALTER TABLE ingest.calling_ae DROP CONSTRAINT calling_ae_host_rule_check;"
            "INSERT INTO ingest.calling_ae (ae_title, host_rule) VALUES ('OTHER', 'all')"
        )
        await until_checks(ingest, lambda code, all_: code == 200 and not all_["postgres"]["ok"])
        assert (outcome(ingest), outcome(ingest, "OTHER")) == (0, CALLING)
        _, text = ingest.running["ingest"].probe("/metrics")
        assert 'darkroom_senders_not_read_total{reason="row"}' in text
        assert "a row of the list of senders makes no sense" in (
            ingest.running["ingest"].log.read_text()
        )
        await connection.execute("UPDATE ingest.calling_ae SET host_rule = 'any'")
        await until_all(0, lambda: outcome(ingest, "OTHER"))
    finally:
        await connection.close()


async def test_a_database_without_the_schema_is_told(services: Services) -> None:
    await prepare_database(services.superuser_url)
    services.extra |= {"UNKNOWN_AE": "accept"}
    await services.start("ingest")
    await until_checks(
        services, lambda code, all_: code == 200 and "lacks" in str(all_["postgres"]["reason"])
    )
    assert outcome(services) == 0
    assert "senders.open" in services.running["ingest"].log.read_text()
    assert "run the migration first" in await ae(services, "list", code=2)
