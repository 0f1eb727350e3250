"""What `darkroom demo` adds to its studies, so that every screen of the console shows something.

Destinations and a printer that are not there: jobs on their way, one that has failed, a film that
waits; entries of the worklist; an object that disagrees with one that is here; a message that
nobody can read. Nothing of it leaves this machine.
"""

import asyncio
import copy
import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import aio_pika
import httpx
import numpy as np
from pydicom.dataset import FileDataset

from darkroom_common.clock import utc_now
from darkroom_common.messages.base import Exchange
from darkroom_common.messages.commands import PrintFilm
from darkroom_local.commands.phantom import PATIENTS
from darkroom_local.stack.plan import Plan

_NOWHERE: Final = {"host": "127.0.0.1", "port": 9}
"""The port of discard, where nobody listens."""
_KEPT: Final = frozenset({httpx.codes.OK, httpx.codes.CREATED, httpx.codes.ACCEPTED})
_ENTRIES: Final = (
    (0, "CT", "CT head, control"),
    (1, "CR", "Chest, two views"),
    (2, "US", "Heart"),
    (0, "MR", "MR head"),
)
_STEP: Final = dt.timedelta(minutes=30)


class SceneError(RuntimeError):
    """A part of it was refused; the text says by what answer."""


async def set_scene(
    client: httpx.AsyncClient,
    studies: Sequence[Sequence[FileDataset]],
    send: Callable[[FileDataset], None],
    data: Path,
) -> None:
    """Make what the screens show.

    Args:
        client: asks REST, signed in.
        studies: that were sent.
        send: sends an object as those were.
        data: of the running stack.

    Raises:
        SceneError: see there.
    """
    uids = [str(study[0].StudyInstanceUID) for study in studies]
    patient = {"host": _NOWHERE["host"], "port": _NOWHERE["port"]}
    for name, attempts in (("demo-archive", 30), ("demo-gone", 1)):
        one = {"name": name, "ae_title": "NOWHERE", "backoff": {"max_attempts": attempts}}
        await _post(client, "destinations", {**one, **patient}, known=True)
        await _post(client, "transmit/jobs", {"destination": name, "study_instance_uid": uids[0]})
    printer = {"name": "demo-laser", "ae_title": "LASER", "dpi": 100, **patient}
    await _post(client, "printers", printer, known=True)
    film = {"printer": "demo-laser", "study_instance_uid": uids[1], "layout": "single"}
    await _post(client, "print/jobs", film)
    now = utc_now()
    for number, (who, modality, what) in enumerate(_ENTRIES):
        await _post(client, "worklist", _entry(now + number * _STEP, who, modality, what))
    await asyncio.to_thread(send, _other(studies[1][0]))
    await _unreadable(data)


def _entry(at: dt.datetime, who: int, modality: str, what: str) -> dict[str, Any]:
    person = PATIENTS[who]
    return {
        "patient_name": person.name,
        "patient_id": person.number,
        "patient_sex": person.sex,
        "accession_number": f"PLAN{at:%H%M%S}",
        "requested_procedure_description": what,
        "scheduled_at": f"{at:%Y-%m-%dT%H:%M:%S}",
        "modality": modality,
    }


def _other(one: FileDataset) -> FileDataset:
    """Return an object with the UID of another, and other pixels."""
    made = copy.deepcopy(one)
    made.PixelData = np.flip(np.frombuffer(one.PixelData, dtype="<u2")).tobytes()
    return made


async def _unreadable(data: Path) -> None:
    """Send a command that says nothing: what reads it gives it up, and it becomes a dead letter."""
    url = Plan.of_running(data).amqp_urls["api"]
    async with await aio_pika.connect(url) as connection:
        exchange = await (await connection.channel()).get_exchange(Exchange.COMMANDS, ensure=False)
        message = aio_pika.Message(
            b'{"demonstration": true}',
            type=PrintFilm.TYPE,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await exchange.publish(message, PrintFilm.TYPE)


async def _post(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], *, known: bool = False
) -> None:
    answer = await client.post(f"/api/v1/{path}", json=body)
    if answer.status_code in _KEPT or (known and answer.status_code == httpx.codes.CONFLICT):
        return
    raise SceneError(f"POST /api/v1/{path} was answered with {answer.status_code}")
