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
_LOCAL: Final = "infra/local/src/darkroom_local"
_ORDER: Final = "tests/unit/common/test_order.py"
_SPOOL: Final = "tests/unit/common/test_spool.py"
_POOL: Final = "tests/unit/transmit/test_pool.py"
_DECISIONS: Final = "tests/unit/transmit/test_decisions.py"
_TOKENS: Final = "tests/unit/api/test_api_tokens.py"
_RELAY: Final = "tests/unit/ingest/test_relay.py"
_WRITES: Final = "tests/unit/metadata/test_index_writes.py"
_DELIVERY: Final = "tests/unit/transmit/test_delivery.py"
_FILMS: Final = "tests/unit/print/test_printing.py"
_LEASES: Final = "tests/unit/common/test_leases.py"
_ADMISSION: Final = "tests/unit/ingest/test_admission.py"
_PASSWORDS: Final = "tests/unit/api/test_api_passwords.py"
_STORE_USER: Final = "tests/unit/common/dimse/test_store_user.py"
_INFLATE: Final = "tests/unit/common/test_inflate.py"
_REPORTS: Final = "tests/unit/ingest/test_reports.py"
_DIGEST: Final = "tests/unit/ingest/test_digest.py"
_LANE: Final = "tests/unit/transmit/test_lane.py"
_RETRIEVING: Final = "tests/unit/ingest/test_retrievals.py"
_FINDING: Final = "tests/unit/ingest/test_finding.py"
_WAL: Final = "tests/unit/local/test_wal.py"


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
        "            self._writing.move(incoming.receipt_id, self._committed)\n"
        "            self._group.sync()",
        "            self._group.sync()\n"
        "            self._writing.move(incoming.receipt_id, self._committed)",
        _ORDER,
    ),
    Named(
        f"{_COMMON}/objects/spool.py",
        "            os.fdatasync(incoming.descriptor)\n"
        "            self._close(incoming)\n"
        "            self._writing.move",
        "            self._close(incoming)\n            self._writing.move",
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
    # what peers and people may
    Named(
        f"{_INGEST}/senders/roster.py",
        'return permit is not None and permit.query_rule != "none"',
        "return permit is not None",
        _ADMISSION,
    ),
    Named(
        f"{_INGEST}/senders/roster.py",
        'return permit is not None and permit.retrieve_rule != "none"',
        "return permit is not None",
        _ADMISSION,
    ),
    Named(
        f"{_INGEST}/senders/roster.py",
        "if self._doorkeeper.roster is not self._roster:",
        "if False:",
        _ADMISSION,
    ),
    Named(
        f"{_COMMON}/amqp/permissions.py",
        'if queue.name.partition(".")[0] == service]',
        "]",
        "tests/unit/common/test_permissions.py",
    ),
    Named(
        f"{_API}/accounts/passwords.py",
        "                await turns.enter_async_context(self._strangers)\n",
        "                pass\n",
        _PASSWORDS,
    ),
    Named(
        f"{_API}/accounts/passwords.py",
        " or self._waiting[address] >= WAITING_OF_AN_ADDRESS:",
        ":",
        _PASSWORDS,
    ),
    Named(f"{_API}/accounts/passwords.py", "password_hash or self._dummy", "''", _PASSWORDS),
    # leases of jobs
    Named(
        f"{_COMMON}/jobs/lease.py",
        "                            raise _NotOurs\n",
        "                            pass\n",
        _LEASES,
    ),
    Named(
        f"{_COMMON}/jobs/lease.py",
        "            if attempt.id not in ours:",
        "            if False:",
        _LEASES,
    ),
    Named(f"{_COMMON}/jobs/lease.py", "[*waiting, *self.held]", "waiting", _LEASES),
    Named(f"{_COMMON}/jobs/lease.py", "await asyncio.shield(claiming)", "await claiming", _LEASES),
    Named(
        f"{_COMMON}/jobs/lease.py",
        "        finally:\n            self.held.pop",
        "        finally:\n            self.held.get",
        _LEASES,
    ),
    # limits, and what cannot be said
    Named(f"{_COMMON}/dicom/inflate.py", "if self._grown > self._limit:", "if False:", _INFLATE),
    Named(f"{_COMMON}/dicom/inflate.py", "if self._restarts > RESTARTS:", "if False:", _INFLATE),
    Named(f"{_INGEST}/receiving/digest.py", "queue.Queue(_AHEAD)", "queue.Queue()", _DIGEST),
    Named(
        f"{_INGEST}/door/reports.py",
        "self._missed or isinstance(report, Receipt)",
        "isinstance(report, Receipt)",
        _REPORTS,
    ),
    Named(
        f"{_COMMON}/dimse/users/store.py",
        '        if not complete:\n            raise Unsendable("ObjectDamaged")\n',
        "",
        _STORE_USER,
    ),
    Named(
        f"{_TRANSMIT}/sending/lane.py",
        "                    if not self._pause():\n",
        "                    if True:\n",
        _LANE,
    ),
    Named(
        f"{_COMMON}/http/door.py",
        "if full and not self._make_room(among):",
        "if False:",
        "tests/unit/common/test_http_door.py",
    ),
    Named(
        f"{_COMMON}/http/wire.py",
        'if version == "1.0" or lengths:',
        'if version == "1.0":',
        "tests/unit/common/test_http_wire.py",
    ),
    Named(
        f"{_COMMON}/http/wire.py",
        "        if self._extra > self._limits.extra_bytes:\n",
        "        if False:\n",
        "tests/unit/common/test_http_wire.py",
    ),
    Named(
        f"{_INGEST}/workitems/rules.py",
        "    if not known.claimed_by:\n",
        "    if False:\n",
        "tests/unit/ingest/workitems/test_states.py",
    ),
    Named(
        f"{_LOCAL}/stack/rolling.py",
        "        await program.kill()\n",
        "",
        "tests/unit/local/test_rolling.py",
    ),
    # retrieving and shipping
    Named(
        f"{_INGEST}/answering/retrieving.py", '.retrieve_rule == "own"', ' == "own"', _RETRIEVING
    ),
    Named(
        f"{_INGEST}/answering/retrieving.py",
        "if len(found) > settings.retrieve_instances:",
        "if False:",
        _RETRIEVING,
    ),
    Named(
        f"{_INGEST}/answering/move.py",
        'if reply.body["moves"] >= desk.settings.retrieve_moves:',
        "if False:",
        _RETRIEVING,
    ),
    Named(f"{_INGEST}/answering/move.py", "        job.cancel()\n", "        pass\n", _RETRIEVING),
    Named(f"{_INGEST}/answering/find.py", '.query_rule == "own"', ' == "own"', _FINDING),
    Named(
        f"{_INGEST}/answering/find.py",
        "if told >= self._settings.query_answers:",
        "if False:",
        _FINDING,
    ),
    Named(f"{_INGEST}/answering/get.py", "if sending.cancelled:", "if False:", _FINDING),
    Named(
        f"{_LOCAL}/recovery/shipping.py",
        "            full, part = await asyncio.to_thread(self._noted)\n"
        "            await self._copy_objects(db)\n",
        "            await self._copy_objects(db)\n"
        "            full, part = await asyncio.to_thread(self._noted)\n",
        _WAL,
    ),
    Named(f"{_LOCAL}/recovery/shipping.py", "if is_received:", "if True:", _WAL),
    Named(f"{_LOCAL}/recovery/wal.py", "if name[:24] < oldest", "if name[:24] <= oldest", _WAL),
)
