"""A conformance statement as a peer reads it, and a peer that asks for whatever it likes."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from darkroom_common.dimse.requestor import Association as OurAssociation
from darkroom_common.dimse.requestor import Peer, associate
from darkroom_common.dimse.users.find import Refused, find
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_common.dimse.wire.data_set import IMPLICIT_VR_LITTLE_ENDIAN
from darkroom_local.engines.ports import LOOPBACK
from tests.support.waiting import LIMIT, until

PEER: Final = "PEER"
STUDY_ROOT: Final = "1.2.840.10008.5.1.4.1.2.2.1"
MOST: Final = 128
"""Contexts of an association."""
OF_STORAGE: Final = "each of the table of storage SOP classes"
OF_SYNTAXES: Final = "each of the table of transfer syntaxes, in its order"
REFUSED_CLASS, REFUSED_SYNTAX = 3, 4
IN_A_ROW: Final = 16
"""Associations that are let in one after the other: each receiving process has its own list."""
Row = dict[str, str]


@dataclass(frozen=True)
class Read:
    """A statement, by the titles of its tables."""

    tables: dict[str, list[Row]]

    def rows(self, title: str, **wanted: str) -> list[Row]:
        """The lines of a table, of which cells are as wanted."""
        return [
            row
            for row in self.tables[title]
            if all(row[name.replace("_", " ")] == value for name, value in wanted.items())
        ]

    @property
    def syntaxes(self) -> dict[str, str]:
        """Transfer syntaxes by name, in the order of their table."""
        return {row["Transfer syntax"]: row["UID"] for row in self.rows("Transfer syntaxes")}

    def contexts(self, port: int) -> dict[str, tuple[list[str], Row]]:
        """SOP class to the transfer syntaxes that are taken at a port, and its line."""
        found: dict[str, tuple[list[str], Row]] = {}
        for row in self.rows("Presentation contexts, as acceptor of associations", Port=str(port)):
            syntaxes = list(self._named(row["Transfer syntaxes"]))
            classes = [row["UID"]]
            if row["SOP class"] == OF_STORAGE:
                classes = [one["UID"] for one in self.rows("Storage SOP classes")]
            found |= dict.fromkeys(classes, (syntaxes, row))
        return found

    def _named(self, said: str) -> Iterator[str]:
        if OF_SYNTAXES in said:
            if "then" in said:
                yield self.syntaxes[said.partition(", then ")[0]]
            yield from self.syntaxes.values()
            return
        yield from (self.syntaxes[name] for name in said.split(", "))


async def read(client: httpx.AsyncClient) -> Read:
    """The statement of what runs, once all services have told of themselves."""

    async def told() -> dict[str, Any] | None:
        answer = await client.get("/api/v1/system/conformance")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return None if found["missing"] else found

    found = await until(told, "every service has told of itself")
    return Read(
        {
            table["title"]: [
                dict(
                    zip(
                        [*table["columns"], "Shown by"],
                        [*one["cells"], one["shown_by"]],
                        strict=True,
                    )
                )
                for one in table["lines"]
            ]
            for section in found["sections"]
            for table in section["tables"]
        }
    )


def asked(
    port: int, contexts: Sequence[PresentationContext], items: Sequence[Any] = ()
) -> Association:
    """An association with these contexts; what is refused does not keep it from being there."""
    ae = AE(ae_title=PEER)
    ae.requested_contexts = []
    association = ae.associate(
        LOOPBACK, port, contexts=list(contexts), ae_title="DARKROOM", ext_neg=list(items) or None
    )
    assert association.is_established or not association.accepted_contexts
    return association


def results(port: int, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """What is answered to each SOP class in each transfer syntax, by itself: 0 is accepted."""
    left, found = list(pairs), {}
    while left:
        some, left = left[: MOST - 1], left[MOST - 1 :]
        always = build_context("1.2.840.10008.1.1")  # so that the association is there
        contexts = [always, *(build_context(UID(one), UID(syntax)) for one, syntax in some)]
        association = asked(port, contexts)
        answered = [*association.accepted_contexts, *association.rejected_contexts]
        by_id = {one.context_id: -1 if one.result is None else int(one.result) for one in answered}
        for number, pair in enumerate(some, 1):
            found[pair] = by_id[2 * number + 1]
        association.release()
    return found


async def may_ask(client: httpx.AsyncClient, port: int) -> None:
    """List the peer as one that may ask for everything, once that is in force."""
    sender = {"name": PEER, "host_rule": "any", "query_rule": "any", "retrieve_rule": "any"}
    answer = await client.post("/api/v1/senders", json=sender)
    assert answer.status_code in (201, 409), answer.text

    def is_told() -> bool:
        query = Dataset()
        query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", "1.2.3.99"
        association = asking(port, STUDY_ROOT)
        try:
            find(association, STUDY_ROOT, query, limit=1, deadline=time.monotonic() + LIMIT)
        except Refused:
            return False
        finally:
            association.release()
        return True

    def is_told_everywhere() -> bool:
        return all(is_told() for _ in range(IN_A_ROW))

    await until(lambda: asyncio.to_thread(is_told_everywhere), "the list of senders is in force")


def asking(port: int, *models: str) -> OurAssociation:
    """An association for queries, by our own code: pynetdicom loses an answer in some hundreds."""
    peer = Peer(LOOPBACK, port, "DARKROOM", PEER)
    return associate(peer, [Proposal(uid, (IMPLICIT_VR_LITTLE_ENDIAN,)) for uid in models])


def a_match(association: OurAssociation, query: Dataset, model: str) -> list[Dataset]:
    """All matches of a query, which has to end well."""
    deadline = time.monotonic() + LIMIT
    return list(find(association, model, query, limit=100, deadline=deadline).data_sets)


def put(data_set: Dataset, path: Sequence[str], value: Any) -> None:
    """Set an attribute, within items of sequences that are made on the way."""
    *above, last = path
    for keyword in above:
        if not data_set.get(keyword):
            setattr(data_set, keyword, [Dataset()])
        data_set = data_set[keyword].value[0]
    assert tag_for_keyword(last) is not None, last
    setattr(data_set, last, value)


def taken(data_set: Dataset, path: Sequence[str]) -> Any:
    """The value of an attribute, within the first items of sequences; None: it is not there."""
    for keyword in path[:-1]:
        items = data_set.get(keyword)
        if not items:
            return None
        data_set = items[0]
    return data_set.get(path[-1])
