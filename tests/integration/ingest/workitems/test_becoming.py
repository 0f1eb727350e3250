"""UPS-RS: what becomes of a workitem, by whom, and what is answered to whoever may not."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from tests.integration.api.conftest import Api
from tests.integration.ingest.workitems.asking import (
    BASE,
    JSON,
    STATE,
    a_change,
    a_workitem,
    performed,
)
from tests.support.builders import new_uid

PAGE = Path(__file__).parents[4] / "docs" / "ups.md"
OURS, THEIRS = "1.2.3.1", "1.2.3.2"
STATES = ("SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED")
INCONSISTENT = "The submitted request is inconsistent with the state of the UPS Instance."
MISSING, WRONG = "The Transaction UID is missing.", "The Transaction UID is incorrect."
DONE = "The UPS is already in the requested state of COMPLETED."
OVER = "The UPS is already in the requested state of CANCELED."
TABLE = {
    ("SCHEDULED", OURS): ((409, INCONSISTENT),) * 4,
    ("IN PROGRESS", OURS): ((200, ""), *((409, INCONSISTENT),) * 3),
    ("IN PROGRESS", None): ((400, MISSING),) * 4,
    ("COMPLETED", OURS): ((409, INCONSISTENT), (200, ""), (200, DONE), (409, INCONSISTENT)),
    ("COMPLETED", THEIRS): ((409, INCONSISTENT), *((400, WRONG),) * 3),
    ("COMPLETED", None): ((400, MISSING),) * 4,
    ("CANCELED", OURS): ((409, INCONSISTENT), (200, ""), (409, INCONSISTENT), (200, OVER)),
    ("CANCELED", THEIRS): ((409, INCONSISTENT), *((400, WRONG),) * 3),
    ("CANCELED", None): ((400, MISSING),) * 4,
}
CANCEL: tuple[tuple[int, str | None], ...] = ((202, ""), (202, ""), (409, None), (202, OVER))
"""What is answered to whoever asks for one to be canceled, by its state."""
UPDATE: dict[str, tuple[tuple[int, str | None], ...]] = {
    "": ((200, ""), (400, MISSING), (400, None), (400, None)),
    OURS: ((409, "The target URI did not reference a claimed Workitem."), (200, ""))
    + ((400, None),) * 2,
    THEIRS: ((409, "The target URI did not reference a claimed Workitem."), (400, WRONG))
    + ((400, None),) * 2,
}
OF_WORKITEM = "The submitted request is inconsistent with the current state of the Workitem."
LABEL = {"00741204": {"vr": "LO", "Value": ["Another"]}}


@pytest.mark.req("API-18")
async def test_every_transition_is_answered_as_the_standard_says(house: Api) -> None:
    """PS3.4 table CC.1.1-2 by PS3.18 sections 11.6 to 11.8, each from each state."""
    client = house.client

    def said(warning: str | None) -> str:
        text = OF_WORKITEM if warning is None else warning
        return f"299 {house.url}/dicom-web: {text}" if text else ""

    for number, state in enumerate(STATES):
        for (asked, transaction), row in TABLE.items():
            path = await in_state(house, state)
            answer = await client.put(
                f"{path}/state", json=a_change(asked, transaction), headers=JSON
            )
            status, warning = row[number]
            told = (state, asked, transaction, answer.text)
            assert answer.status_code == status, told
            assert answer.headers.get("warning", "") == said(warning), told
            assert await state_of(house, path) == (
                asked if status == 200 and not warning else state
            ), told
        path = await in_state(house, state)
        answer = await client.post(f"{path}/cancelrequest/ASKER")
        assert answer.status_code == CANCEL[number][0], (state, answer.text)
        assert answer.headers.get("warning", "") == said(CANCEL[number][1])
        assert await state_of(house, path) == ("CANCELED" if state == "SCHEDULED" else state)
        for owner, updates in UPDATE.items():
            path = await in_state(house, state)
            query = f"?transaction-uid={owner}" if owner else ""
            answer = await client.post(f"{path}{query}", json=LABEL, headers=JSON)
            status, text = updates[number]
            assert answer.status_code == status, (state, owner, answer.text)
            assert answer.headers.get("warning", "") == said(text)
            shown = (await client.get(path)).json()[0]["00741204"]["Value"]
            assert shown == (["Another"] if status == 200 else ["Read the chest"])
    for method, path in (("PUT", "state"), ("POST", "cancelrequest")):
        answer = await client.request(
            method, f"{BASE}/{new_uid()}/{path}", json=a_change("COMPLETED", OURS), headers=JSON
        )
        assert (answer.status_code, answer.json()["dicom_status"]) == (404, "C307")
    await unfit_changes(house)
    await one_owner_of_two(house)
    await as_the_page_says(house)


async def as_the_page_says(house: Api) -> None:
    """Run what docs/ups.md shows, as it stands."""
    (lines,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", lines),
        env={**os.environ, "URL": house.url, "TOKEN": house.tokens["access_token"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert b"content-location: ws://" in output.lower()
    assert await state_of(house, f"{BASE}/2.25.4711") == "COMPLETED"


async def unfit_changes(house: Api) -> None:
    client, path = house.client, await in_state(house, "IN PROGRESS")
    early = await client.post(
        f"{BASE}?workitem={(fresh := new_uid())}", json=a_workitem(), headers=JSON
    )
    assert early.status_code == 201
    claimed = await client.put(
        f"{BASE}/{fresh}/state", json=a_change("IN PROGRESS", OURS), headers=JSON
    )
    assert claimed.status_code == 200
    bare = await client.put(f"{BASE}/{fresh}/state", json=a_change("COMPLETED", OURS), headers=JSON)
    assert (bare.status_code, bare.json()["dicom_status"]) == (409, "C304")
    assert {one["field"] for one in bare.json()["errors"]} >= {"00404028", "00404050"}
    whose = await client.post(
        f"{path}?transaction-uid={OURS}",
        json={"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Planted^Other"}]}},
        headers=JSON,
    )
    assert (whose.status_code, whose.json()["errors"][0]["field"]) == (400, "00100010")
    assert "Planted" not in whose.text
    nonsense = await client.put(f"{path}/state", json=a_change("DONE", OURS), headers=JSON)
    assert nonsense.status_code == 400
    shown = (await client.get(path)).json()[0]
    assert "00081195" not in shown


async def one_owner_of_two(house: Api) -> None:
    """Whoever claims it first has it, however many come at the same moment."""
    path = await in_state(house, "SCHEDULED")
    owners = [new_uid() for _ in range(6)]
    answers = await asyncio.gather(
        *(
            house.client.put(f"{path}/state", json=a_change("IN PROGRESS", owner), headers=JSON)
            for owner in owners
        )
    )
    won = [owner for owner, one in zip(owners, answers, strict=True) if one.status_code == 200]
    assert sorted(one.status_code for one in answers) == [200, *[409] * 5]
    others = [one for one in owners if one not in won]
    wrong = await house.client.put(
        f"{path}/state", json=a_change("CANCELED", others[0]), headers=JSON
    )
    assert wrong.status_code == 400
    right = await house.client.put(f"{path}/state", json=a_change("CANCELED", won[0]), headers=JSON)
    assert right.status_code == 200


async def in_state(house: Api, state: str) -> str:
    """Make a workitem, bring it into a state under the lock `OURS`, and return its path."""
    client, uid = house.client, new_uid()
    made = await client.post(f"{BASE}?workitem={uid}", json=a_workitem(), headers=JSON)
    assert made.status_code == 201, made.text
    path = f"{BASE}/{uid}"
    if state == "SCHEDULED":
        return path
    steps = ["IN PROGRESS", *([] if state == "IN PROGRESS" else [state])]
    for step in steps:
        answer = await client.put(f"{path}/state", json=a_change(step, OURS), headers=JSON)
        assert answer.status_code == 200, answer.text
        if step == "IN PROGRESS":
            said = await client.post(
                f"{path}?transaction-uid={OURS}", json=performed(), headers=JSON
            )
            assert said.status_code == 200, said.text
    return path


async def state_of(house: Api, path: str) -> str:
    found: str = (await house.client.get(path)).json()[0][STATE]["Value"][0]
    return found
