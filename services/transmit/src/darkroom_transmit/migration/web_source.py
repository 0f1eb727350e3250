"""An archive that speaks DICOMweb: QIDO-RS and WADO-RS (PS3.18 sections 10.4 and 10.6)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import orjson

from darkroom_common.dicom.part10 import HEAD_LIMIT, FileMeta, decode_head
from darkroom_common.dicom.walk import Unreadable
from darkroom_common.dimse.requestor import PeerFault, tls_context
from darkroom_common.dimse.tls import TlsClient
from darkroom_common.stow.media import parse_media_type
from darkroom_common.stow.multipart import MalformedMultipart, Multipart, PartBegins
from darkroom_transmit.destinations.destination import Destination
from darkroom_transmit.migration.dimse_source import day_of
from darkroom_transmit.migration.source import Asked, Found, Listed, Receipt, Tell, Times, Wanted
from darkroom_transmit.migration.taking import PIECE, Taker
from darkroom_transmit.retrieval.dimse import Handle
from darkroom_transmit.sending.stow import extensions_of, fault_of, http_faults

PAGE: Final = 500
ANSWER_LIMIT: Final = 64 << 20
_JSON: Final = "application/dicom+json"
_OBJECT: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_DATE, _COUNT, _MODALITIES = "00080020", "00201208", "00080061"
_PATIENT, _STUDY, _SERIES, _CLASS, _INSTANCE = (
    *("00100020", "0020000D", "0020000E", "00080016", "00080018"),
)
_INCLUDED: Final = f"{_DATE},{_COUNT},{_MODALITIES},{_PATIENT},{_STUDY}"
_PREFIX_ENDS: Final = 132
_GONE: Final = frozenset({404, 410})


def open_client(destination: Destination, tls: TlsClient) -> httpx.Client:
    """Return a client for the service of a destination.

    Raises:
        PeerFault: it is no DICOMweb destination, or certificates cannot be used.
    """
    spec = destination.spec
    if spec.url is None:
        raise PeerFault("Misconfigured", transient=False)
    auth = None
    headers = {}
    if spec.auth.kind == "basic":
        auth = httpx.BasicAuth(spec.auth.username, destination.secret)
    elif spec.auth.kind == "bearer":
        headers["Authorization"] = f"Bearer {destination.secret}"
    return httpx.Client(
        base_url=f"{spec.url.rstrip('/')}/",
        auth=auth,
        headers=headers,
        verify=tls_context(tls, spec.tls),
        timeout=httpx.Timeout(spec.answer_seconds, connect=spec.connect_seconds),
        follow_redirects=False,  # a login is for the server that was named
        trust_env=False,
    )


@dataclass(frozen=True)
class WebSource:
    """See `Archive`."""

    client: httpx.Client
    destination: Destination
    taker: Callable[[Handle], Taker]
    by_us: bool = True

    def studies(self, times: Times | None) -> tuple[list[Found], bool]:
        """See `Archive`."""
        asked = {"includefield": _INCLUDED}
        if times is not None:
            asked["StudyDate"] = f"{times.first:%Y%m%d}-{times.last:%Y%m%d}"
            if times.hours:
                asked["StudyTime"] = "-".join(times.hours)
        found = [_study(one) for one in self._search("studies", asked)]
        return [one for one in found if one.study_instance_uid], False

    def of_patient(self, patient_id: str) -> list[Found]:
        """See `Archive`."""
        asked = {"includefield": _INCLUDED, "PatientID": patient_id}
        found = (_study(one) for one in self._search("studies", asked))
        return [one for one in found if one.patient_id == patient_id.strip()]

    def contents(self, study: str) -> list[Listed]:
        """See `Archive`."""
        asked = {"includefield": f"{_CLASS},{_INSTANCE},{_SERIES}"}
        found = self._search(f"studies/{study}/instances", asked)
        tags = (_SERIES, _CLASS, _INSTANCE)
        listed = (Listed(*(_text(one, tag) for tag in tags)) for one in found)
        return [one for one in listed if one.sop_instance_uid]

    def _search(self, path: str, asked: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield all matches, page by page, as long as a page brings what was not seen."""
        seen: set[str] = set()
        while True:
            page = self._page(path, {**asked, "limit": str(PAGE), "offset": str(len(seen))})
            new = {uid: one for one in page if (uid := _text(one, _INSTANCE) or _text(one, _STUDY))}
            fresh = {uid: one for uid, one in new.items() if uid not in seen}
            yield from fresh.values()
            seen |= fresh.keys()
            if not fresh:
                return

    def _page(self, path: str, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        body = bytearray()
        extensions = extensions_of(self.destination)
        headers = {"Accept": _JSON}
        with (
            http_faults(),
            self.client.stream(
                "GET", path, params=dict(asked), headers=headers, extensions=extensions
            ) as response,
        ):
            if response.status_code == httpx.codes.NO_CONTENT:
                return []
            if response.status_code != httpx.codes.OK:
                raise fault_of(response.status_code)
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > ANSWER_LIMIT:
                    raise PeerFault("AnswerTooLong")
        try:
            found = orjson.loads(bytes(body))
        except orjson.JSONDecodeError as error:
            raise PeerFault("MalformedIdentifier") from error
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise PeerFault("MalformedIdentifier")
        return found

    def fetch(self, asked: Asked, tell: Tell, handle: Handle) -> None:
        """See `Archive`: instance by instance, so that each is known by itself."""
        taker = self.taker(handle)
        try:
            for one in asked.wanted:
                if handle.stop.is_set():
                    break
                self._instance(asked.study, one, tell, taker)
            taker.check()
        finally:
            taker.close()

    def _instance(self, study: str, one: Wanted, tell: Tell, taker: Taker) -> None:
        def told(_: str, digest: bytes, size: int, status: int) -> None:
            tell(Receipt(one.id, digest, size, status))

        taker.told = told
        path = f"studies/{study}/series/{one.series_instance_uid}/instances/{one.sop_instance_uid}"
        extensions = extensions_of(self.destination)
        with (
            http_faults(),
            self.client.stream(
                "GET", path, headers={"Accept": _OBJECT}, extensions=extensions
            ) as response,
        ):
            if response.status_code in _GONE:
                return  # it is missing, and tried again
            if response.status_code != httpx.codes.OK:
                fault = fault_of(response.status_code)
                if fault.transient:
                    raise fault
                tell(Receipt(one.id, None, 0, 0, fault.reason))
                return
            try:
                _pass_on(response, taker)
            except (Unreadable, MalformedMultipart) as error:
                tell(Receipt(one.id, None, 0, 0, f"NotReadable: {error.code}"))


class _Part:
    """The DICOM file of a part: its head is read, what follows goes to ingest."""

    def __init__(self, taker: Taker) -> None:
        self._taker = taker
        self._head = bytearray()
        self.begun = self.ended = False

    def feed(self, data: memoryview) -> None:
        if self.begun:
            self._taker.write([data])
            return
        self._head += data
        try:
            meta, offset = decode_head(bytes(self._head))
        except Unreadable as error:
            if error.code == "truncated" and len(self._head) < HEAD_LIMIT:
                return
            if error.code == "no-prefix" and len(self._head) < _PREFIX_ENDS:
                return
            raise
        self._begin(meta, bytes(self._head[offset:]))

    def _begin(self, meta: FileMeta, rest: bytes) -> None:
        self.begun = True
        self._taker.object(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid)
        self._taker.write([memoryview(rest)])

    def end(self) -> None:
        if not self.begun:
            raise Unreadable("truncated", len(self._head))
        self._taker.end()
        self.ended = True


def _pass_on(response: httpx.Response, taker: Taker) -> None:
    """Give the first part of an answer to ingest; one that is cut is not given whole."""
    media = parse_media_type(response.headers.get("content-type", ""))
    part = _Part(taker)
    try:
        if media is not None and media.kind == "application/dicom":
            for chunk in response.iter_bytes(PIECE):
                part.feed(memoryview(chunk))
        else:
            _first_part(response, Multipart("" if media is None else media.get("boundary")), part)
        part.end()
    finally:
        if part.begun and not part.ended:
            taker.abandon()


def _first_part(response: httpx.Response, parts: Multipart, part: _Part) -> None:
    number = 0
    for chunk in response.iter_bytes(PIECE):
        for event in parts.feed(chunk):
            if isinstance(event, PartBegins):
                number += 1
            elif isinstance(event, memoryview) and number == 1:
                part.feed(event)
    parts.finish()


def _text(one: Mapping[str, Any], tag: str) -> str:
    element = one.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    first = values[0] if isinstance(values, list) and values else None
    return "" if first is None else str(first).strip()


def _study(one: Mapping[str, Any]) -> Found:
    told = _text(one, _COUNT)
    element = one.get(_MODALITIES)
    modalities = element.get("Value") or [] if isinstance(element, dict) else []
    return Found(
        study_instance_uid=_text(one, _STUDY),
        study_date=day_of(_text(one, _DATE)),
        told=int(told) if told.isdecimal() else None,
        modalities=frozenset(str(value) for value in modalities if value),
        patient_id=_text(one, _PATIENT),
    )
