"""`python -m tests.support.composed`: what compose.yaml runs, tried from outside.

An image goes in by DICOM over TLS, is found and comes out again by HTTPS, and is printed on a
printer over TLS; an order comes by HL7. Meanwhile tcpdump listens on every interface of this
machine. Each container is looked at from the kernel's side; each port is asked for old TLS and for
none; then all certificates are renewed. Needs root, docker, tcpdump, and HL7 switched on:

    export DARKROOM_DICOM_PLAIN=false DARKROOM_HL7_PORT=2575 DARKROOM_HL7_PEERS='["172.16.0.0/12"]'
"""

import argparse
import json
import os
import shutil
import socket
import ssl
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from pydicom.uid import ExplicitVRLittleEndian

from darkroom_ingest.orders.blocks import block
from darkroom_local.engines.ports import LOOPBACK
from tests.integration.print.printers import scripted
from tests.support.builders import CT, a_data_set, encode, new_uid
from tests.support.certificates import Authority
from tests.support.containers import (
    SECONDS,
    SERVED,
    Project,
    contained,
    heard,
    renewed,
    soon,
    strict,
)
from tests.support.deployed import ROOT, SERVICES
from tests.support.dicom_peer import Association, Rejected
from tests.unit.ingest.orders.builders import order


@dataclass
class Trial:
    """What a department does, with invented texts that nobody else may see."""

    project: Project
    work: Path
    uid: str = field(default_factory=new_uid)
    study: str = field(default_factory=new_uid)

    def __post_init__(self) -> None:
        self.mark = f"{int(self.study[-9:]):09d}"
        self.name = f"Uncaptured{self.mark}^Anna"
        self.patient, self.accession = f"PAT{self.mark}", f"ACC{self.mark}"
        self.password = (self.project.secrets / "admin-password").read_text().strip()

    def texts(self) -> list[str]:
        """Everything that may not be read on the way."""
        read = self.project.secrets
        passwords = [
            *json.loads((read / "amqp-passwords").read_text()).values(),
            *json.loads((read / "role-passwords").read_text()).values(),
            (read / "postgres-password").read_text().strip(),
        ]
        return [
            self.uid,
            self.study,
            self.name,
            self.patient,
            self.accession,
            self.password,
            *passwords,
        ]

    def run(self, api: httpx.Client) -> None:
        """Do all of it."""
        login = api.post(
            "/api/v1/auth/login", json={"username": "admin", "password": self.password}
        )
        assert login.status_code == 200, login.text
        api.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
        sender = api.post("/api/v1/senders", json={"name": "COMPOSED", "host_rule": "any"})
        assert sender.status_code in (201, 409), sender.text
        pixels = np.arange(64 * 64, dtype="<u2") % 4096
        image = a_data_set(
            SOPInstanceUID=self.uid,
            StudyInstanceUID=self.study,
            PatientName=self.name,
            PatientID=self.patient,
        )
        image.AccessionNumber, image.Rows, image.Columns = self.accession, 64, 64
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
        image.WindowCenter, image.WindowWidth, image.PixelData = 2048, 4096, pixels.tobytes()
        data_set = encode(image)
        soon("the image is taken", partial(self._store, data_set), 60)
        print("sent by C-STORE over TLS: 0x0000")
        query = f"/dicom-web/studies/{self.study}/series"
        (series,) = soon("it is found", lambda: self._json(api, query))
        uid = series["0020000E"]["Value"][0]
        part10 = api.get(
            f"{query}/{uid}/instances/{self.uid}",
            headers={"Accept": 'multipart/related; type="application/dicom"'},
        )
        assert part10.status_code == 200, part10.text
        assert data_set in part10.content
        print("found by QIDO-RS, and retrieved by WADO-RS as it was sent")
        self._print(api)
        self._order(api)

    @staticmethod
    def _json(api: httpx.Client, path: str) -> Any:
        answer = api.get(path, headers={"Accept": "application/json"})
        return answer.json() if answer.status_code == 200 else None

    def _store(self, data_set: bytes) -> bool:
        contexts = {1: (CT, str(ExplicitVRLittleEndian))}
        try:
            with Association(2762, contexts, calling="COMPOSED", tls=self.project.client()) as one:
                assert one.store(1, CT, self.uid, data_set) == 0
        except Rejected:  # listed a moment ago
            return False
        return True

    def _print(self, api: httpx.Client) -> None:
        authority = Authority(self.work)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair = authority.sign("printer")
        context.load_cert_chain(pair.certificate, pair.key)
        with scripted(host="", tls=context) as printer:
            told = {
                "name": f"FILM{self.mark}",
                "ae_title": "FILM",
                "host": self.project.gateway(),
                "port": printer.port,
                "dpi": 40,
                "tls": {
                    "enabled": True,
                    "ca": authority.file.read_text(),
                    "server_name": "localhost",
                },
            }
            made = api.post("/api/v1/printers", json=told)
            assert made.status_code == 201, made.text
            asked = {
                "printer": told["name"],
                "study_instance_uid": self.study,
                "header": "{PatientName}",
            }
            job = api.post("/api/v1/print/jobs", json=asked)
            assert job.status_code == 202, job.text
            path = f"/api/v1/print/jobs/{job.json()['job_id']}"

            def ended() -> str:
                state = str((self._json(api, path) or {}).get("state"))
                return state if state in ("DONE", "FAILED", "UNKNOWN") else ""

            state = soon("it is printed", ended)
            assert state == "DONE", self._json(api, path)
            (film,) = printer.films
            (box,) = film.images.values()
            (sent,) = box.BasicGrayscaleImageSequence
            assert len(np.unique(np.frombuffer(sent.PixelData, "u1"))) > 50
            print(f"printed over TLS: one film of {sent.Rows} x {sent.Columns} pixels, job {state}")

    def _order(self, api: httpx.Client) -> None:
        patient = f"PID|1||{self.patient}^^^HOSP^MR||{self.name}||19800229|F"
        message = order(accession=f"HL7{self.mark}", pid=patient, message=self.mark)
        with (
            socket.create_connection((LOOPBACK, 2575), timeout=SECONDS) as plain,
            self.project.client().wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            tls.sendall(block(message.encode()))
            answer = b""
            while not answer.endswith(b"\x1c\x0d"):
                part = tls.recv(4096)
                assert part, answer
                answer += part
        assert b"MSA|AA" in answer, answer

        def entered() -> bool:
            answer = api.get("/api/v1/worklist", params={"page_size": 100})
            return answer.status_code == 200 and f"HL7{self.mark}" in answer.text

        soon("the order is an entry of the worklist", entered, 30)
        print("an order by HL7 over TLS: MSA|AA, and in the worklist")


def main() -> None:
    """Try it."""
    parser = argparse.ArgumentParser(description="Try what compose.yaml runs.")
    parser.add_argument("--secrets", type=Path, default=ROOT / "secrets")
    parser.add_argument("--project", default=ROOT.name)
    parser.add_argument("--without", default="", help="services that do not run, divided by commas")
    told = parser.parse_args()
    project = Project(told.project, told.secrets)
    project.look()
    expected = set(SERVED) - set(filter(None, told.without.split(",")))
    assert set(project.containers) == expected, set(project.containers) ^ expected
    assert set(SERVICES) <= expected
    contained(project)
    ports = [(name, port) for name in sorted(expected) for port in SERVED[name]]
    work = Path(tempfile.mkdtemp(prefix="darkroom-composed-"))
    try:
        trial = Trial(project, work)
        url = f"https://localhost:{os.environ.get('DARKROOM_HTTP_PORT', '8080')}"
        with (
            httpx.Client(base_url=url, verify=project.client(), timeout=SECONDS) as api,
            heard(work / "wire.pcap", *trial.texts()),
        ):
            trial.run(api)
        for one in ports:
            strict(project, *one)
        print(f"{len(ports)} ports: TLS 1.2 and 1.3, none before, nothing plain")
        renewed(project, ports)
        with httpx.Client(base_url=url, verify=project.client(), timeout=SECONDS) as api:
            Trial(project, work).run(api)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
