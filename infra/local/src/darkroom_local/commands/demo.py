"""`darkroom demo`: sends sample studies to the running stack and shows how to get them back."""

import asyncio
import contextlib
import functools
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
from pydicom.dataset import FileDataset
from pynetdicom import _config, ae
from pynetdicom.association import Association
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from darkroom_common.clock import monotonic
from darkroom_local.commands.phantom import studies
from darkroom_local.commands.scene import SceneError, set_scene
from darkroom_local.engines.ports import LOOPBACK
from darkroom_local.stack.state import StackState

CALLING_AE_TITLE: Final = "DARKROOM-DEMO"
_FOUND_SECONDS: Final = 60.0
_SUCCESS: Final = 0x0000


class DemoError(RuntimeError):
    """The demonstration could not be given; the text says what was refused."""


async def run(
    data: Path, *, save: Path | None, slices: int, console: Console, only_studies: bool = False
) -> None:
    """Make, send, find, and print what to paste.

    Raises:
        DemoError: no stack runs in `data`, or it refuses a step.
    """
    state = StackState.read(data / "run" / "state.json")
    if state is None:
        raise DemoError(f"no stack runs in {data}: start one with darkroom up")
    made = list(studies(slices=slices))
    if save:
        await asyncio.to_thread(_save, save, made)
        console.print(f"kept the files in {save}", markup=False)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console
    ) as progress:
        total = sum(len(study) for study in made)
        sending = progress.add_task("sending", total=total)
        with _associated(state, made) as association:
            for study in made:
                for instance in study:
                    await asyncio.to_thread(_send, association, instance)
                    progress.advance(sending)
        finding = progress.add_task("found by QIDO-RS", total=len(made))
        async with httpx.AsyncClient(
            base_url=state.base_url, timeout=30, trust_env=False, verify=state.trust
        ) as client:
            client.headers["Authorization"] = f"Bearer {await _log_in(client, data)}"
            for study in made:
                await _until_found(client, study)
                progress.advance(finding)
            if not only_studies:
                await _set_scene(client, state, made, data)
    _explain(console, state, data, made)


async def _set_scene(
    client: httpx.AsyncClient, state: StackState, made: list[list[FileDataset]], data: Path
) -> None:
    def again(instance: FileDataset) -> None:
        with _associated(state, made) as association:
            _send(association, instance)

    try:
        await set_scene(client, made, again, data)
    except SceneError as error:
        raise DemoError(str(error)) from error


@contextlib.contextmanager
def _associated(state: StackState, made: list[list[FileDataset]]) -> Iterator[Association]:
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    entity = ae.ApplicationEntity(CALLING_AE_TITLE)
    for sop_class in sorted({study[0].SOPClassUID for study in made}):
        entity.add_requested_context(sop_class, made[0][0].file_meta.TransferSyntaxUID)
    port, tls = state.dicom_port, None
    if state.dicom_tls_port is not None:
        port, tls = state.dicom_tls_port, (state.trust, LOOPBACK)
    association = entity.associate(LOOPBACK, port, ae_title=state.ae_title, tls_args=tls)
    if not association.is_established:
        raise DemoError(f"no association with {state.ae_title} at port {port}")
    try:
        yield association
    finally:
        association.release()


def _send(association: Association, instance: FileDataset) -> None:
    answer = association.send_c_store(instance)
    status = answer.get("Status")
    if status != _SUCCESS:
        shown = "no answer" if status is None else f"0x{status:04X}"
        raise DemoError(f"C-STORE of {instance.SOPInstanceUID} was answered with {shown}")


async def _log_in(client: httpx.AsyncClient, data: Path) -> str:
    password = (data / "admin-password").read_text().strip()
    response = await client.post(
        "/api/v1/auth/login", json={"username": "admin", "password": password}
    )
    if response.status_code != httpx.codes.OK:
        raise DemoError(
            f"login as admin with the password in {data / 'admin-password'} was answered with "
            f"{response.status_code}; if it has been changed, write the new one there"
        )
    return str(response.json()["access_token"])


async def _until_found(client: httpx.AsyncClient, study: list[FileDataset]) -> None:
    """Ask QIDO-RS until all instances are there."""
    uid = study[0].StudyInstanceUID
    deadline = monotonic() + _FOUND_SECONDS
    while True:
        response = await client.get(
            f"/dicom-web/studies/{uid}/instances",
            params={"limit": len(study)},
            headers={"Accept": "application/dicom+json"},
        )
        if response.status_code == httpx.codes.OK and len(response.json()) >= len(study):
            return
        if monotonic() > deadline:
            raise DemoError(f"study {uid} was not found within {_FOUND_SECONDS:g} s")
        await asyncio.sleep(0.2)


def _save(directory: Path, made: list[list[FileDataset]]) -> None:
    for study in made:
        for instance in study:
            name = f"{instance.Modality}-{instance.InstanceNumber:04d}.dcm"
            directory.mkdir(parents=True, exist_ok=True)
            instance.save_as(directory / name, enforce_file_format=True)


def _explain(
    console: Console, state: StackState, data: Path, made: list[list[FileDataset]]
) -> None:
    show = functools.partial(console.print, markup=False, highlight=False, soft_wrap=True)
    web = f"{state.base_url}/dicom-web"
    show("\nThese studies are there now:")
    for study in made:
        first = study[0]
        show(f"  {first.Modality:3} {len(study):3} objects  {web}/studies/{first.StudyInstanceUID}")
    password = shlex.quote(str(data / "admin-password"))
    first = made[0][0]
    here = f"{web}/studies/{first.StudyInstanceUID}"
    curl = "curl -s"
    if state.authority is not None:
        curl += f" --cacert {shlex.quote(state.authority)}"
    show("\nPaste these to find and to fetch them:")
    show(
        f"  TOKEN=$({curl} {state.base_url}/api/v1/auth/login -H 'Content-Type: application/json'"
        f' -d "{{\\"username\\":\\"admin\\",\\"password\\":\\"$(cat {password})\\"}}"'
        " | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"access_token\"])')"
    )
    show(
        f"  {curl} -H \"Authorization: Bearer $TOKEN\" '{web}/studies?PatientID=DEMO-*'  # QIDO-RS"
    )
    show(f"  {curl} -H \"Authorization: Bearer $TOKEN\" '{here}/metadata'  # WADO-RS, header")
    show(
        f'  {curl} -H "Authorization: Bearer $TOKEN"'
        " -H 'Accept: multipart/related; type=\"application/dicom\"'"
        f" '{here}' -o study.multipart  # WADO-RS, all objects"
    )
