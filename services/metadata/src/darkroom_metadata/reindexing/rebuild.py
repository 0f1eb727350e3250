"""`python -m darkroom_metadata rebuild`: an empty index is made of what the store holds.

Each object says all that its rows need. Exit code 0: done; 2: it could not be done, or the index is
not empty.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from typing import Final

from darkroom_common.amqp.broker import Received
from darkroom_common.errors import ConfigurationError
from darkroom_common.messages.events import InstancesStored, StoredItem
from darkroom_common.objects.receipt import ReceiptReader
from darkroom_common.objects.store import Listed
from darkroom_common.output import say
from darkroom_common.postgres.migrate import require_compatible
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import PhiKeys
from darkroom_common.postgres.pool import open_database
from darkroom_metadata.indexing.indexer import Indexer
from darkroom_metadata.indexing.reading import Reading, open_reading
from darkroom_metadata.indexing.repository import IndexRepository
from darkroom_metadata.indexing.rows import RowWriter
from darkroom_metadata.settings import MetadataSettings
from darkroom_metadata.tagging.writer import TagWriter
from darkroom_metadata.verification.judgement import reconciled_receipt

BATCH: Final = 100
_ANY: Final = "SELECT EXISTS (SELECT FROM index.study)"


async def rebuild(settings: MetadataSettings, arguments: Sequence[str]) -> int:
    """Be the command; return its exit code.

    Raises:
        DarkroomError: it could not be done.
    """
    argparse.ArgumentParser(prog="python -m darkroom_metadata rebuild").parse_args(arguments)
    url = settings.postgres_url.get_secret_value()
    async with (
        open_database(url, service="metadata-rebuild", size=3) as database,
        open_reading(settings) as reading,
    ):
        await require_compatible(database, schema="index", package="darkroom_metadata")
        async with database.acquire() as db:
            if await db.fetchval(_ANY):
                raise ConfigurationError("the index is not empty: darkroom reindex reads again")
        keys = PhiKeys.parse(settings.phi_keys.get_secret_value())
        rows = IndexRepository(RowWriter(keys), TagWriter(keys, reading.blind))
        indexer = Indexer(database, reading, rows, Outbox("index"), settings.batch_size)
        done = await _all(indexer, reading)
    say(json.dumps({"event": "summary", "instances": done}))
    return 0


async def _all(indexer: Indexer, reading: Reading) -> int:
    done, some = 0, list[StoredItem]()
    async for listed in reading.store.list_keys():
        some.append(await _item(reading, listed))
        if len(some) == BATCH:
            done, some = await _index(indexer, some, done), []
    return await _index(indexer, some, done) if some else done


async def _index(indexer: Indexer, some: Sequence[StoredItem], done: int) -> int:
    messages = InstancesStored.of(some)
    await indexer.index([Received(one, {}, 0) for one in messages])
    say(json.dumps({"event": "progress", "instances": done + len(some)}))
    return done + len(some)


async def _item(reading: Reading, listed: Listed) -> StoredItem:
    reader = ReceiptReader()
    async for chunk in reading.store.stream(listed.key):
        await asyncio.to_thread(reader.feed, chunk)
    receipt = reader.finish(receipt_id=reconciled_receipt(listed.key), received_at=listed.modified)
    return receipt.stored(listed.key)
