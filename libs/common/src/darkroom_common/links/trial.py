"""`python -m darkroom_common.links.trial`: sends an image as a modality does, and finds it.

`helm test` runs it. It signs in, lists itself as a sender unless it is one, sends one object of an
invented patient and waits until it is found. The object is another for each `TRIAL_OF`, so that
what an earlier release has found proves nothing; sent again, it is the same one.
"""

import http.client
import json
import ssl
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr
from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset

from darkroom_common.clock import monotonic
from darkroom_common.dimse.requestor import Association, Peer, PeerFault, associate, tls_context
from darkroom_common.dimse.tls import TlsClient
from darkroom_common.dimse.wire.association_items import Proposal
from darkroom_common.dimse.wire.command import CommandField, Element, encode_command
from darkroom_common.errors import ConfigurationError, DarkroomError
from darkroom_common.output import complain, say
from darkroom_common.settings import SettingsBase
from darkroom_common.specs.destinations import Tls
from darkroom_common.telemetry.logs import configure_logs

_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_SPACE: Final = uuid.UUID("9f0c3c1e-6d3c-4b49-9a55-0f4f6c7b2f10")
_ANSWER_SECONDS: Final = 20.0
_PAUSE: Final = 0.5


class TrialSettings(SettingsBase):
    """What the trial is told."""

    api_url: str = Field(description="http[s]://host:port")
    trial_username: str = Field(default="admin", description="who signs in")
    admin_password: SecretStr = Field(description="with which password")
    dicom_host: str = "localhost"
    dicom_port: int = Field(default=11112, ge=1, le=65535)
    trial_tls: bool = Field(default=False, description="that port is of DICOM over TLS")
    trial_name: str = Field(default="", description="whom its certificate names; empty: the host")
    tls_ca: Path | None = Field(default=None, description="PEM file of authorities of both")
    ae_title: str = Field(default="DARKROOM", min_length=1, max_length=16)
    trial_ae_title: str = Field(default="DARKROOM-TRIAL", min_length=1, max_length=16)
    trial_of: str = Field(default="", description="release and revision")
    trial_seconds: float = Field(default=60, gt=0, description="until it must have been found")


class TrialFailed(DarkroomError):
    """The installation does not do what it is for; the text says at which step, and why."""


@dataclass
class Api:
    """The api, signed in to."""

    url: str
    ca: Path | None
    token: str = field(default="", repr=False)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return status and JSON of an answer.

        Raises:
            TrialFailed: there is none.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError("API_URL is not http[s]://host:port")
        connection = (
            http.client.HTTPConnection(parts.hostname, parts.port, timeout=_ANSWER_SECONDS)
            if parts.scheme == "http"
            else http.client.HTTPSConnection(
                parts.hostname,
                parts.port,
                timeout=_ANSWER_SECONDS,
                context=ssl.create_default_context(cafile=self.ca),
            )
        )
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        with closing(connection):
            try:
                sent = None if body is None else json.dumps(body)
                connection.request(method, path, sent, headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise TrialFailed(f"the api at {self.url}: {type(error).__name__}") from error
        try:
            return answer.status, json.loads(content) if content else None
        except ValueError:
            return answer.status, None

    def sign_in(self, username: str, password: str) -> None:
        """Get a token.

        Raises:
            TrialFailed: none is given.
        """
        given = {"username": username, "password": password}
        status, answer = self.ask("POST", "/api/v1/auth/login", given)
        if status != http.client.OK:
            raise TrialFailed(
                f"signing in as {username} is answered with {status}: name a user without a second"
                " factor, who may write senders and read studies, and the password"
            )
        self.token = str(answer["access_token"])


def an_object(uid: str, study: str, series: str) -> bytes:
    """Return a data set of an invented patient in explicit VR, little endian."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = _SECONDARY_CAPTURE, uid
    made.StudyInstanceUID, made.SeriesInstanceUID = study, series
    made.PatientName, made.PatientID, made.PatientBirthDate = "Trial^Darkroom", "DARKROOM-TRIAL", ""
    made.PatientSex = made.AccessionNumber = made.StudyTime = made.ReferringPhysicianName = ""
    made.Modality, made.ConversionType, made.StudyID = "OT", "SYN", "TRIAL"
    made.StudyDate, made.StudyDescription = "20260101", "Trial of an installation"
    made.SeriesNumber = made.InstanceNumber = "1"
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows = made.Columns = 8
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.PixelData = bytes(range(64))
    file = BytesIO()
    buffer = DicomIO(file)
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, made)
    return file.getvalue()


def _ask_to_store(association: Association, uid: str, data_set: bytes) -> int:
    context = association.accepted.get((_SECONDARY_CAPTURE, _EXPLICIT))
    if context is None:
        raise TrialFailed("ingest does not take secondary captures")
    message_id = association.next_message_id()
    command = encode_command(
        CommandField.C_STORE,
        {
            Element.AFFECTED_SOP_CLASS: _SECONDARY_CAPTURE,
            Element.MESSAGE_ID: message_id,
            Element.PRIORITY: 0,
            Element.AFFECTED_SOP_INSTANCE: uid,
        },
        data_set=True,
    )
    association.ask(context, command, data_set)
    return association.response(message_id).command.status


def store(peer: Peer, uid: str, data_set: bytes) -> None:
    """Send an object.

    Raises:
        TrialFailed: it is not taken.
    """
    try:
        association = associate(peer, [Proposal(_SECONDARY_CAPTURE, (_EXPLICIT,))])
        try:
            status = _ask_to_store(association, uid, data_set)
        except BaseException:
            association.abort()
            raise
        association.release()
    except PeerFault as fault:
        raise TrialFailed(f"sending to {peer.host}:{peer.port}: {fault}") from fault
    if status:
        raise TrialFailed(f"the object was answered with 0x{status:04X}")


def list_sender(api: Api, title: str) -> None:
    """See that we may send.

    Raises:
        TrialFailed: it cannot be seen to.
    """
    status, _ = api.ask("GET", f"/api/v1/senders/{quote(title, safe='')}")
    if status == http.client.NOT_FOUND:
        only = {"sop_class_rule": "only", "sop_class_uids": [_SECONDARY_CAPTURE]}
        sender = {"name": title, "host_rule": "any", **only}
        status, _ = api.ask("POST", "/api/v1/senders", sender)
    if status not in (http.client.OK, http.client.CREATED, http.client.CONFLICT):
        raise TrialFailed(f"listing {title} as a sender is answered with {status}")


def _until(what: str, seconds: float, done: Callable[[], bool]) -> None:
    deadline = monotonic() + seconds
    while not done():
        if monotonic() > deadline:
            raise TrialFailed(f"{what}: not within {seconds:g} s")
        threading.Event().wait(_PAUSE)


def attempt(settings: TrialSettings) -> None:
    """Send and find.

    Raises:
        TrialFailed: one of both does not work.
    """
    uid, study, series = (
        f"2.25.{uuid.uuid5(_SPACE, f'{settings.trial_of}/{level}').int}"
        for level in ("instance", "study", "series")
    )
    api = Api(settings.api_url, settings.tls_ca)
    api.sign_in(settings.trial_username, settings.admin_password.get_secret_value())
    list_sender(api, settings.trial_ae_title)
    files = TlsClient(settings.tls_ca)
    peer = Peer(
        settings.dicom_host,
        settings.dicom_port,
        settings.ae_title,
        settings.trial_ae_title,
        tls=tls_context(files, Tls(enabled=True, strict=False)) if settings.trial_tls else None,
        server_name=settings.trial_name or settings.dicom_host,
    )
    data_set = an_object(uid, study, series)

    def stored() -> bool:
        """A sender that was listed just now is known to every process a moment later."""
        try:
            store(peer, uid, data_set)
        except TrialFailed as failure:
            if "RejectedPermanent" in str(failure):
                return False
            raise
        return True

    _until("sending: this calling AE title is rejected", settings.trial_seconds, stored)
    say(f"sent {uid} to {peer.host}:{peer.port}")

    def found() -> bool:
        status, answer = api.ask("GET", f"/dicom-web/instances?SOPInstanceUID={uid}")
        return status == http.client.OK and len(answer) == 1

    _until("finding it by QIDO-RS", settings.trial_seconds, found)
    say("found it by QIDO-RS")


def main() -> int:
    """Be the command; return the exit code."""
    try:
        settings = TrialSettings.load()
        configure_logs(service="trial", level="WARNING", style="json", stream=sys.stderr)
        attempt(settings)
    except DarkroomError as error:
        complain(f"trial: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
