"""Instance Availability Notification to destinations that want it (PS3.4 annex R)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.events import Event

from darkroom_common.index.objects import Reference
from darkroom_common.specs.destinations import DestinationSpec
from darkroom_transmit.availability.notices import NOTIFICATION, notice
from tests.integration.transmit.desk import Desk
from tests.integration.transmit.nodes import scripted
from tests.support.builders import new_uid
from tests.support.waiting import until


@dataclass
class Listener:
    """Keeps what it is told; answers with these statuses first, and loses so many answers."""

    statuses: list[int] = field(default_factory=list)
    lose: int = 0
    told: list[tuple[str, Dataset]] = field(default_factory=list)

    def on_create(self, event: Event) -> Any:
        request: Any = event.request
        uid = str(request.AffectedSOPInstanceUID)
        if self.statuses:
            return self.statuses.pop(0), None
        if uid in {one for one, _ in self.told}:
            return 0x0111, None
        self.told.append((uid, event.attribute_list))
        if self.lose:
            self.lose -= 1
            event.assoc.abort()
        return 0x0000, event.attribute_list


@contextmanager
def listening(listener: Listener) -> Iterator[int]:
    handlers: Any = [(evt.EVT_N_CREATE, listener.on_create)]
    with scripted([NOTIFICATION], handlers) as port:
        yield port


async def states(desk: Desk, expected: dict[str, str]) -> None:
    async def come() -> bool:
        rows = await desk.prepared.fetch("SELECT destination, revision, state FROM transmit.notice")
        return {f"{row['destination']}/{row['revision']}": row["state"] for row in rows} == expected

    await until(come, f"notices {expected}")


async def test_who_wants_it_is_told_of_each_study_once(desk: Desk) -> None:
    step = Dataset()
    step.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.3"
    step.ReferencedSOPInstanceUID = new_uid()
    study = await desk.study(3, ReferencedPerformedProcedureStepSequence=[step])
    listener = Listener()
    with listening(listener) as port:
        await desk.destination("RIS", port, availability=True)
        await desk.destination("PACS", port)
        await desk.destination("OFF", port, availability=True, enabled=False)
        await desk.completed(study, revision=1, times=2)
        await states(desk, {"RIS/1": "DONE"})
        await desk.completed(study, revision=2)
        await states(desk, {"RIS/1": "DONE", "RIS/2": "DONE"})
    (uid, told), (other, _) = listener.told
    assert uid != other
    assert told.StudyInstanceUID == study.uid
    (performed,) = told.ReferencedPerformedProcedureStepSequence
    assert performed.ReferencedSOPClassUID == step.ReferencedSOPClassUID
    assert performed.ReferencedSOPInstanceUID == step.ReferencedSOPInstanceUID
    assert performed.PerformedWorkitemCodeSequence == []
    (series,) = told.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == study.series
    images = series.ReferencedSOPSequence
    assert {str(one.ReferencedSOPInstanceUID) for one in images} == set(study.digests)
    assert {one.InstanceAvailability for one in images} == {"ONLINE"}
    assert {one.RetrieveAETitle for one in images} == {"DARKROOM"}
    assert all(one.ReferencedSOPClassUID for one in images)


async def test_it_is_told_again_until_it_is_heard(desk: Desk) -> None:
    study = await desk.study(1)
    listener = Listener(lose=1)
    with listening(listener) as port:
        await desk.destination("RIS", port, availability=True)
        await desk.completed(study, revision=1)
        await states(desk, {"RIS/1": "DONE"})
    assert len(listener.told) == 1  # the second time it was a duplicate
    assert listener.told[0][1].ReferencedPerformedProcedureStepSequence == []  # it names none


async def test_a_restart_loses_none_and_refusals_end_it_at_last(desk: Desk) -> None:
    study = await desk.study(1)
    await desk.destination("RIS", 1, availability=True)  # nobody listens there
    await desk.completed(study, revision=1)
    await states(desk, {"RIS/1": "RETRYING"})
    await desk.services.running["transmit"].kill()
    await desk.services.start("transmit")
    with listening(Listener(statuses=[0x0110])) as port:  # refused once, then taken
        await desk.destination("RIS", port, availability=True)
        await states(desk, {"RIS/1": "DONE"})
    with listening(Listener(statuses=[0x0110])) as port:
        once = {"initial_seconds": 0.2, "max_attempts": 1}
        await desk.destination("RIS", port, availability=True, backoff=once)
        await desk.completed(study, revision=2)
        await states(desk, {"RIS/1": "DONE", "RIS/2": "FAILED"})


def test_series_stand_apart() -> None:
    held = [Reference("1.1", "1.9", "1.1.1"), Reference("1.2", "1.9", "1.2.1")]
    found = notice("1", held, "HERE").ReferencedSeriesSequence
    assert [one.SeriesInstanceUID for one in found] == ["1.1", "1.2"]


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "stow", "url": "https://x/dicom-web"},
        {"ae_title": "A", "host": "h", "port": 104, "deidentify": "basic"},
    ],
)
def test_who_cannot_be_told_is_refused(given: dict[str, Any]) -> None:
    DestinationSpec.model_validate(given)
    with pytest.raises(ValueError, match="availability"):
        DestinationSpec.model_validate({**given, "availability": True})
