"""The DICOM port of ingest on an index that tests fill, and a node that asks it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from darkroom_common.postgres.phi import BlindIndex, PhiKeys, decode_key
from darkroom_common.postgres.pool import open_database
from darkroom_ingest.answering.identifier import PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT
from darkroom_ingest.senders.admission import QueryRule, Roster, Sender
from darkroom_ingest.senders.roster import COPY_NAME, RosterCopy
from tests.integration.api.seed import Seed
from tests.integration.ingest.scp import running_scp
from tests.support.services import Services, prepare_database, role_url

HOST = "127.0.0.1"
Found = list[tuple[int, Dataset]]


def asker(ae_title: str, rule: QueryRule, character_set: str | None = None) -> Sender:
    """A listed node that may ask."""
    return Sender(
        ae_title,
        enabled=True,
        description="",
        host_rule="any",
        hosts=(),
        sop_class_rule="any",
        sop_class_uids=(),
        max_associations=None,
        character_set=character_set,
        query_rule=rule,
        retrieve_rule=rule,
    )


@dataclass
class Asked:
    """A front door that answers queries, and its index."""

    port: int
    seed: Seed

    @contextmanager
    def association(
        self,
        ae_title: str = "ASKER",
        *,
        wants: bytes = b"",
        port: int = 0,
        called: str = "DARKROOM",
    ) -> Iterator[Association]:
        """Ask as this node; `wants` is what is beyond the usual service."""
        ae = AE(ae_title=ae_title)
        for model in (PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY):
            ae.add_requested_context(model)
        extended: list[Any] = []
        if wants:
            item = SOPClassExtendedNegotiation()
            item.sop_class_uid = STUDY_ROOT
            item.service_class_application_information = wants
            extended.append(item)
        opened = ae.associate(HOST, port or self.port, ext_neg=extended, ae_title=called)
        try:
            assert opened.is_established
            yield opened
        finally:
            opened.release()
            ae.shutdown()


def identifier(level: str, **keys: str) -> Dataset:
    """Return an identifier; a key without value asks for the attribute."""
    found = Dataset()
    found.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(found, keyword, value)
    return found


def find(association: Association, asked: Dataset, model: str = STUDY_ROOT) -> tuple[int, Found]:
    """Return the last status, and the matches with theirs."""
    found: Found = []
    for status, match in association.send_c_find(asked, model):
        if match is None:
            return status.Status, found
        found.append((status.Status, match))
    raise AssertionError("no last answer")


@asynccontextmanager
async def answering(
    services: Services, directory: Path, *, index: str = "", **changes: object
) -> AsyncIterator[Asked]:
    """Run a front door that knows the keys of the index, which may be another than the seed's."""
    await prepare_database(services.superuser_url, "ingest", "metadata")
    keys = PhiKeys.parse(services.secrets["PHI_KEYS"])
    blind = BlindIndex(decode_key(services.secrets["BLIND_INDEX_KEY"], setting="BLIND_INDEX_KEY"))
    spool = directory / "spool"
    spool.mkdir(exist_ok=True)
    RosterCopy(spool / COPY_NAME).put(
        Roster(senders=(asker("ASKER", "any"), asker("OWN", "own"), asker("NOBODY", "none")))
    )
    services.store.mkdir(exist_ok=True)
    async with (
        open_database(
            role_url(services.superuser_url, "darkroom_metadata"), service="seed"
        ) as database,
        running_scp(
            directory,
            postgres_url=index or role_url(services.superuser_url, "darkroom_ingest"),
            store_url=f"file://{services.store}",
            phi_keys=services.secrets["PHI_KEYS"],
            blind_index_key=services.secrets["BLIND_INDEX_KEY"],
            **changes,
        ) as scp,
    ):
        yield Asked(scp.port, Seed(database, services.store, keys, blind))
