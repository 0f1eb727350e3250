"""One trace from the association that brought an image to its delivery and to its film (OBS-02)."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from darkroom_common.messages.base import Message, Request, new_message_id
from darkroom_common.messages.commands import PrintFilm, SendObjects
from darkroom_common.messages.resources import put
from darkroom_common.resources.declared import DESTINATIONS, PRINT_RULES, PRINTERS, RULES
from darkroom_common.specs.destinations import DestinationSpec
from darkroom_common.specs.printers import PrinterSpec, PrintRuleSpec
from darkroom_common.specs.rules import RuleSpec
from darkroom_local.engines.ports import LOOPBACK
from tests.integration.print.desk import open_desk
from tests.integration.print.pictures import a_series
from tests.integration.print.printers import scripted
from tests.support.builders import encode
from tests.support.dicom_peer import send
from tests.support.scripted_peer import ScriptedPeer
from tests.support.services import Services, prepare_database
from tests.support.waiting import until


@dataclass
class Collector:
    """What an OTLP/HTTP collector has been sent: (service, name, trace id, linked trace ids)."""

    port: int = 0
    spans: list[tuple[str, str, bytes, list[bytes]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        """Keep the spans of a request."""
        self.bodies.append(body)
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {one.key: one.value.string_value for one in of_resource.resource.attributes}
            self.spans += [
                (named["service.name"], span.name, span.trace_id, [x.trace_id for x in span.links])
                for scope in of_resource.scope_spans
                for span in scope.spans
            ]

    async def until(self, service: str, name: str, trace: bytes, *, linked: bool = False) -> None:
        """Wait for a span of a trace, or for one of another that links to it."""
        try:
            await until(
                lambda: [
                    one
                    for one in list(self.spans)
                    if (service, name) == one[:2]
                    and linked == (trace != one[2])
                    and (trace in one[3] or not linked)
                ],
                limit=40,
            )
        except TimeoutError:
            raise AssertionError(
                f"{service} {name}: {sorted({x[:2] for x in self.spans})}"
            ) from None


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector."""
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.req("OBS-02")
async def test_one_trace_runs_from_the_association_to_delivery_and_film(services: Services) -> None:
    await prepare_database(services.superuser_url, "metadata", "transmit", "print")
    (image,) = a_series(1)
    uid = str(image.SOPInstanceUID)
    with collecting() as collector, ScriptedPeer() as peer, scripted() as printer:
        services.extra["OTLP_ENDPOINT"] = f"http://{LOOPBACK}:{collector.port}"
        async with open_desk(services) as desk:
            await services.start("metadata", "transmit", "print", "ingest")
            to_printer = {"host": LOOPBACK, "port": printer.port, "ae_title": "FILM", "dpi": 40}
            to_peer = {"host": LOOPBACK, "port": peer.port, "ae_title": "PACS"}
            asked: list[Request] = [
                put(DESTINATIONS, "PACS", DestinationSpec.model_validate(to_peer)),
                put(PRINTERS, "FILM", PrinterSpec.model_validate(to_printer)),
                put(RULES, "all", RuleSpec(destinations=("PACS",))),
                put(PRINT_RULES, "all", PrintRuleSpec(printer="FILM", film={})),
            ]
            for request in asked:
                assert (await desk.ask(request)).outcome == "created"
            assert await asyncio.to_thread(send, services.dicom_port, [(uid, encode(image))]) == {
                uid: 0
            }
            found = await until(
                lambda: [one for one in collector.spans if one[1] == "C-STORE"], limit=20
            )
            trace = found[0][2]
            await collector.until("darkroom-transmit", "C-STORE SCU PACS", trace)
            await collector.until("darkroom-print", "print", trace)
            by_hand: list[Message] = [
                SendObjects(job_id=new_message_id(), destination="PACS", sop_instance_uids=(uid,)),
                PrintFilm(
                    job_id=new_message_id(),
                    printer="FILM",
                    layout="single",
                    sop_instance_uids=(uid,),
                ),
            ]
            for message in by_hand:
                await desk.publish(message)
            await collector.until("darkroom-transmit", "C-STORE SCU PACS", trace, linked=True)
            await collector.until("darkroom-print", "print", trace, linked=True)
    assert len(printer.films) == 2
