"""Other systems in the console: found, fetched, scheduled; printers; what is held and released."""

import re
from pathlib import Path

from tests.integration.api.conftest import running_api
from tests.integration.console.desk import Desk, sitting
from tests.integration.transmit.nodes import STORE_SYNTAXES, archive_node, worklist_node
from tests.integration.transmit.test_remote_query import an_item
from tests.support.builders import a_data_set, new_uid
from tests.support.database import Prepared
from tests.support.services import Services
from tests.support.waiting import until

_OTHERS = "/others"
_IN_DOUBT = """
    INSERT INTO print.job (id, printer, layout, sop_instance_uids, copies, state, reason,
        requested_by)
    VALUES (md5('doubt'), 'laser', '1x1', '{1.2}', 1, 'UNKNOWN', '', 'x')
"""
_PRINTER = {"name": "laser", "host": "127.0.0.1", "port": "1", "ae_title": "LASER"}


async def test_priors_are_found_and_fetched(services: Services, tmp_path: Path) -> None:
    study, prior = new_uid(), new_uid()
    there = a_data_set(
        StudyInstanceUID=prior,
        PatientName="<b>Planted</b>^Ada",
        PatientID="PL-1",
        StudyDescription="<i>Thorax</i>",
        ModalitiesInStudy="CT",
    )
    services.extra |= {"INGEST_DICOM_PORT": str(services.dicom_port)}
    async with running_api(services) as api:
        await services.start("ingest", "metadata", "transmit")
        await api.seed.add(a_data_set(StudyInstanceUID=study, PatientID="PL-1"))
        people = await sitting(api)
        doctor = people["radiologist"]
        ours = ("DARKROOM", services.dicom_port)
        items = [an_item(1, PatientName="<u>Next</u>^One")]
        with (
            archive_node(tmp_path, [(there, STORE_SYNTAXES[0])], move_to=ours) as archive,
            worklist_node(tmp_path, items) as ris,
        ):
            for name, port in (("ARCHIVE", archive), ("RIS", ris)):
                node = {"name": name, "kind": "dimse", "ae_title": name, "host": "127.0.0.1"}
                await people["admin"].press(
                    "/transmission/destinations", {**node, "port": str(port)}
                )
            page = await doctor.page(_OTHERS, study=study)
            assert 'value="PL-1"' in page
            assert f'href="/others?study={study}"' in await doctor.page(f"/study/{study}")
            await doctor.press(f"{_OTHERS}/find", {"remote": "ARCHIVE"}, 422)
            asked = {"remote": "ARCHIVE", "PatientID": "PL-1", "study": study}
            said = await doctor.press(f"{_OTHERS}/find", asked, 200)
            assert "<b>Planted</b>, Ada" in said
            assert "Not here" in said
            wanted = {"remote": "ARCHIVE", "study": prior, "method": "get"}
            assert "is fetched from ARCHIVE" in await doctor.press(f"{_OTHERS}/fetch", wanted)
            await until(lambda: _fetched(doctor, prior), "the prior is fetched", limit=60)
            await until(lambda: doctor.page(f"/study/{prior}"), retry=(AssertionError,))
            assert "Is here" in await doctor.press(f"{_OTHERS}/find", asked, 200)
            said = await doctor.press(f"{_OTHERS}/worklist", {"remote": "RIS"}, 200)
            assert "<u>Next</u>, One" in said
            assert "2026-03-01 10:15" in said
        assert "No procedure step" in await doctor.words(f"{_OTHERS}/steps")
        await people["technician"].press(f"{_OTHERS}/fetch", wanted, 403)
        assert "/retry" not in await people["technician"].page(f"{_OTHERS}/retrieves")
        assert 'href="/others"' not in await people["viewer"].page("/worklist")


async def _fetched(doctor: Desk, study: str) -> bool:
    return f'href="/study/{study}"' in await doctor.page(f"{_OTHERS}/retrieves")


async def test_printers_are_kept_and_held_and_print_studies(services: Services) -> None:
    study = new_uid()
    async with running_api(services) as api:
        await api.seed.add(a_data_set(StudyInstanceUID=study))
        await services.start("print")
        people = await sitting(api)
        admin, technician = people["medical_admin"], people["technician"]
        base = "/film/printers"
        assert "There is no printer" in await admin.words(base)
        await admin.press(base, {**_PRINTER, "port": "many"}, 422)
        assert "is there" in await admin.press(base, {**_PRINTER, "profile": "generic"})
        assert "does not answer" in await technician.press(f"{base}/laser/ask")
        held = {"version": "1", "enabled": "no"}
        assert "wait until" in await admin.press(f"{base}/laser/switch", held)
        assert "Wait: it is held" in await admin.words(base)
        await admin.press(f"{base}/laser/switch", {**held, "enabled": "yes"}, 412)
        gone_on = {"version": "2", "enabled": "yes"}
        assert "printed again" in await admin.press(f"{base}/laser/switch", gone_on)
        changed = {**_PRINTER, "port": "2", "profile": "generic", "version": "3"}
        assert "is changed" in await admin.press(f"{base}/laser", changed)
        assert re.search("127.0.0.1:2", await technician.words(base))
        await technician.press(f"{base}/laser/switch", gone_on, 403)
        assert "Hold" not in await technician.words(base)
        (seen, *_) = re.findall('name="version" value="([^"]+)"', await admin.page(base))
        assert "is removed" in await admin.press(f"{base}/laser/remove")
        await admin.press(base, {**_PRINTER, "profile": "generic"})
        await admin.press(f"{base}/laser/switch", {**held, "version": seen}, 412)
        (seen, *_) = re.findall('name="version" value="([^"]+)"', await admin.page(base))
        assert "wait until" in await admin.press(f"{base}/laser/switch", {**held, "version": seen})
        order = {"printer": "laser", "layout": "STANDARD\\2,2", "study": study}
        assert "1 study on the way to laser" in await technician.press("/worklist/print", order)
        said = await technician.press("/worklist/print", {**order, "study": [study, "1.2.3"]})
        assert "1 study on the way to laser. 1 study could not be: There are no images" in said
        await technician.press("/worklist/print", {**order, "study": "1.2.3"}, 404)
        await technician.press("/worklist/print", {**order, "printer": ""}, 422)
        assert "to-print" in await technician.page("/worklist")
        assert "to-print" not in await people["viewer"].page("/worklist")
        await people["viewer"].press("/worklist/print", order, 403)
        assert "On laser" in await technician.words(f"/where/{study}")
        await Prepared(services.superuser_url).fetch(_IN_DOUBT)
        page = await technician.page("/film/queue")
        for said in ("Is the film in the receive magazine?", "Yes, it is there", "print it again"):
            assert said in page
        (job,) = re.findall("/film/jobs/([0-9a-f]+)/confirm", page)
        assert "The film is there" in await technician.press(f"/film/jobs/{job}/confirm")
