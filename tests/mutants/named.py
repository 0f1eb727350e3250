"""Safeguards by name: what CI takes out, one at a time, in every run (`make mutants-quick`).

Each is a text that stands in its file exactly once. Whoever changes that text changes the line
here, too: that is the moment to ask what holds the safeguard now.
"""

from typing import Final, NamedTuple

_COMMON: Final = "libs/common/src/darkroom_common"
_INGEST: Final = "services/ingest/src/darkroom_ingest"
_METADATA: Final = "services/metadata/src/darkroom_metadata"
_PRINT: Final = "services/print/src/darkroom_print"
_TRANSMIT: Final = "services/transmit/src/darkroom_transmit"
_API: Final = "services/api/src/darkroom_api"
_ORDER: Final = "tests/unit/common/test_order.py"
_SPOOL: Final = "tests/unit/common/test_spool.py"
_POOL: Final = "tests/unit/transmit/test_pool.py"
_DECISIONS: Final = "tests/unit/transmit/test_decisions.py"
_TOKENS: Final = "tests/unit/api/test_api_tokens.py"
_RELAY: Final = "tests/unit/ingest/test_relay.py"
_WRITES: Final = "tests/unit/metadata/test_index_writes.py"
_DELIVERY: Final = "tests/unit/transmit/test_delivery.py"
_FILMS: Final = "tests/unit/print/test_printing.py"


class Named(NamedTuple):
    """A safeguard that is taken out: the text, what stands there instead, who must see it."""

    path: str
    before: str
    after: str
    tests: str


NAMED: Final = (
    # order and durability
    Named(
        f"{_COMMON}/amqp/consumer.py",
        "            await self._settle_alone(source, good[0], received[0], error)\n"
        "            await source.ack(good)",
        "            await source.ack(good)\n"
        "            await self._settle_alone(source, good[0], received[0], error)",
        _ORDER,
    ),
    Named(
        f"{_COMMON}/amqp/consumer.py",
        "                await self._bury(source, delivery, Dead(reason_of(error)))\n"
        "                await source.ack([delivery])",
        "                await source.ack([delivery])\n"
        "                await self._bury(source, delivery, Dead(reason_of(error)))",
        _ORDER,
    ),
    Named(
        f"{_COMMON}/amqp/consumer.py",
        "        await source.scatter(delivery, message.singles())\n"
        "        await source.ack([delivery])",
        "        await source.ack([delivery])\n"
        "        await source.scatter(delivery, message.singles())",
        _ORDER,
    ),
    Named(f"{_COMMON}/amqp/consumer.py", "monotonic() - began > HOLD_LIMIT", "False", _ORDER),
    Named(
        f"{_COMMON}/amqp/publisher.py",
        "        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,\n        message_id=message_id,",
        "        message_id=message_id,",
        _ORDER,
    ),
    Named(
        f"{_COMMON}/objects/spool.py",
        "            incoming.path.rename(self.ready / incoming.receipt_id)\n"
        "            self._group.sync()",
        "            self._group.sync()\n"
        "            incoming.path.rename(self.ready / incoming.receipt_id)",
        _ORDER,
    ),
    Named(
        f"{_COMMON}/objects/spool.py",
        "            os.fdatasync(incoming.file.fileno())\n"
        "            incoming.file.close()\n"
        "            incoming.path.rename",
        "            incoming.file.close()\n            incoming.path.rename",
        _ORDER,
    ),
    Named(
        f"{_COMMON}/objects/spool.py", "            self._group.sync()", "            pass", _ORDER
    ),
    Named(
        f"{_COMMON}/objects/spool.py",
        "        if self._failed:\n            raise SpoolFailed",
        "        if False:\n            raise SpoolFailed",
        _SPOOL,
    ),
    # two owners, in one process
    Named(f"{_TRANSMIT}/sending/pool.py", "one.association.peer == peer and ", "", _POOL),
    Named(
        f"{_TRANSMIT}/sending/pool.py", "if self._used.get(key, 0) < self.limit:", "if True:", _POOL
    ),
    Named(f"{_TRANSMIT}/sending/pool.py", "count + 1 - self.limit", "count - self.limit", _POOL),
    Named(
        f"{_TRANSMIT}/sending/breaker.py",
        "self.failures >= THRESHOLD",
        "self.failures > THRESHOLD",
        _DECISIONS,
    ),
    Named(
        f"{_TRANSMIT}/sending/breaker.py",
        '        if self._probing:\n            return float("inf")\n',
        "",
        _DECISIONS,
    ),
    Named(
        f"{_TRANSMIT}/sending/breaker.py",
        "        if self._until is not None and self.reason in _UNREACHED:",
        "        if self._until is not None:",
        _DECISIONS,
    ),
    # time
    Named(
        f"{_API}/accounts/guard.py",
        "            and self._clock.monotonic() < known[2]\n",
        "",
        "tests/unit/api/test_guard.py",
    ),
    Named(
        f"{_API}/accounts/guard.py",
        "            and self._clock.now() < known[1]\n",
        "",
        "tests/unit/api/test_guard.py",
    ),
    Named(
        f"{_API}/accounts/guard.py",
        "        if self._word.heard():",
        "        if False:",
        "tests/unit/api/test_guard.py",
    ),
    Named(
        f"{_TRANSMIT}/routing/decision.py",
        "inside = after <= now < before if after <= before",
        "inside = after <= now < before if after < before",
        _DECISIONS,
    ),
    # parsers
    Named(
        f"{_API}/dicomweb/accept.py",
        "if self.quality <= 0 or not",
        "if not",
        "tests/unit/api/test_api_dicomweb.py",
    ),
    Named(
        f"{_API}/dicomweb/searching/parameters.py",
        "if len(items) > MAX_PARAMETERS:",
        "if False:",
        "tests/unit/api/test_api_query.py",
    ),
    Named(
        f"{_API}/dicomweb/searching/parameters.py",
        "            series_uid=below[1],\n",
        "",
        "tests/unit/api/test_api_query.py",
    ),
    Named(f"{_COMMON}/amqp/retry.py", "[:500]", "", "tests/unit/common/test_decisions.py"),
    # wiring of decisions
    Named(
        f"{_INGEST}/receiving/receive.py",
        "            if self.size >= self._next_look:",
        "            if False:",
        "tests/unit/ingest/test_receiver.py",
    ),
    Named(
        f"{_INGEST}/receiving/receive.py",
        "        if self.size > self._receiver.max_bytes:",
        "        if False:",
        "tests/unit/ingest/test_receiver.py",
    ),
    Named(
        f"{_INGEST}/relaying/relay.py",
        "            if self.spool.path(receipt.id).exists()\n",
        "",
        _RELAY,
    ),
    Named(f"{_INGEST}/relaying/relay.py", "            if result is None\n", "", _RELAY),
    Named(
        f"{_COMMON}/amqp/consumer.py",
        "            if crashes < CAREFUL_FROM:\n                return",
        "            return",
        _ORDER,
    ),
    Named(f"{_API}/accounts/tokens.py", "len(token) > MAX_LENGTH", "False", _TOKENS),
    Named(
        f"{_METADATA}/indexing/indexer.py",
        "                if not is_clash(error):\n                    raise\n",
        "",
        _WRITES,
    ),
    Named(
        f"{_METADATA}/indexing/rows.py",
        '            raise LostRace("an instance',
        '            LostRace("an instance',
        _WRITES,
    ),
    Named(
        f"{_METADATA}/indexing/reading.py",
        '    if answer.get("error") == worker.STORE:\n        raise',
        "    if False:\n        raise",
        _WRITES,
    ),
    Named(
        f"{_TRANSMIT}/sending/results.py",
        "                await self._queue.join()\n",
        "",
        _DELIVERY,
    ),
    Named(f"{_TRANSMIT}/sending/delivery.py", "if syntax not in refused)", "if True)", _DELIVERY),
    Named(
        f"{_TRANSMIT}/sending/delivery.py",
        "while groups and not claimed.halted:",
        "while groups:",
        _DELIVERY,
    ),
    Named(
        f"{_PRINT}/printing/printing.py",
        "            if not await shop.jobs.acting(db, job.id, number, known, owner=shop.owner):\n"
        "                raise Lost",
        "            await shop.jobs.acting(db, job.id, number, known, owner=shop.owner)",
        _FILMS,
    ),
    Named(
        f"{_PRINT}/printing/printing.py",
        "        if self.stopping:\n            raise Stopping\n"
        "        shop, job = self.shop, self.job",
        "        shop, job = self.shop, self.job",
        _FILMS,
    ),
    Named(
        f"{_COMMON}/dicom/walk.py",
        "tag in self._wanted and tag not in self.values:",
        "tag in self._wanted:",
        "tests/unit/common/test_walk_edges.py",
    ),
)
