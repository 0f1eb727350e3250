"""Files that are chosen, also within a ZIP, are stored; what is none is named with a reason."""

import base64
import io
import zipfile

import pytest
from playwright.async_api import FilePayload, expect
from pydicom.dataset import Dataset

from tests.conftest import PostgresServer, RabbitServer
from tests.integration.api.accounts.people import add_user
from tests.integration.api.storing.stowing import stowing
from tests.integration.console.conftest import a_browser, serious, walking
from tests.integration.console.test_screens import PRINTER
from tests.support.builders import a_data_set, encode
from tests.support.stow import a_file
from tests.support.uploads import COLOUR, a_pdf, saved

_LETTER = (
    "letter.txt\tIt is neither a DICOM file nor a picture, PDF, clinical document (CDA) or"
    " binary model (STL)."
)
_FOLDER = """async (files) => {
  const entry = (name, bytes) => ({isFile: true, name, file: (yes) => yes(
    new File([Uint8Array.from(atob(bytes), (one) => one.charCodeAt(0))], name))});
  const folder = (name, inside) => ({isFile: false, name, createReader: () => {
    const parts = [inside, []];
    return {readEntries: (yes) => yes(parts.shift())};
  }});
  const inner = folder('IMAGES', Object.entries(files).map(([name, bytes]) => entry(name, bytes)));
  const dropped = new Event('drop', {bubbles: true, cancelable: true});
  dropped.dataTransfer = {items: [{webkitGetAsEntry: () => folder('CD', [inner])}]};
  document.getElementById('drop').dispatchEvent(dropped);
}"""
"""Drops a folder: a browser lets no script make one that is real."""


async def test_files_and_a_zip_are_stored(
    postgres_server: PostgresServer, rabbitmq_server: RabbitServer
) -> None:
    stored = [a_data_set(PatientID=f"UP{number}") for number in range(4)]
    in_folder = a_data_set(PatientID="UP9")
    async with stowing(postgres_server, rabbitmq_server) as made, a_browser() as browser:
        await add_user(made.api, "technician", "technician")
        async with walking(browser, made.api) as walk:
            await walk.sign_in("technician")
            await walk.open("/upload")
            await walk.page.locator("#files").set_input_files(
                [
                    a_choice("one.dcm", a_file(stored[0])),
                    a_choice("medium.zip", a_zip(stored[1:])),
                    a_choice("letter.txt", b"Dear colleague"),
                    a_choice("cut.zip", b"PK\x03\x04" + bytes(40)),
                ]
            )
            said = walk.page.locator("#sum")
            await expect(said).to_have_text(
                "4 of 6 stored, 2 not. 3 other files of the medium passed over."
            )
            rows = walk.page.locator("#refused tbody tr")
            told = sorted(await rows.all_inner_texts())
            assert told == ["cut.zip\tThe ZIP file is cut off.", _LETTER]
            await walk.page.reload()
            dropped = {"I9": base64.b64encode(a_file(in_folder)).decode()}
            await walk.page.evaluate(_FOLDER, dropped)
            await expect(said).to_have_text("1 of 1 stored.")
        for one in (*stored, in_folder):
            assert await made.kept(str(one.SOPInstanceUID)) == encode(one)


@pytest.mark.req("IOD-07")
async def test_a_picture_and_a_pdf_become_part_of_a_study(
    postgres_server: PostgresServer, rabbitmq_server: RabbitServer
) -> None:
    one = a_data_set(PatientID="PIC1", PatientName="Okafor^Adaeze", AccessionNumber="ACC-P")
    async with stowing(postgres_server, rabbitmq_server) as made, a_browser() as browser:
        await add_user(made.api, "technician", "technician")
        await made.store([a_file(one)])
        await made.kept(str(one.SOPInstanceUID))
        entry = {
            "patient_name": "Okafor^Ngozi",
            "patient_id": "PIC2",
            "scheduled_at": "2026-11-27T09:00:00",
            "modality": "XC",
        }
        scheduled = (await made.api.client.post("/api/v1/worklist", json=entry)).json()
        await made.services.start("print")
        printer = await made.api.client.post("/api/v1/printers", json=PRINTER)
        assert printer.status_code == 201, printer.text
        async with walking(browser, made.api) as walk:
            page = walk.page
            await walk.sign_in("technician")
            await walk.open("/upload")
            await page.locator("#files").set_input_files(
                [
                    a_choice("wound.jpg", saved(COLOUR, "JPEG")),
                    a_choice("wound 2.png", saved(COLOUR, "PNG")),
                    a_choice("letter.pdf", a_pdf()),
                    a_choice("cut.png", saved(COLOUR, "PNG")[:200]),
                ]
            )
            await expect(
                page.get_by_role("heading", name="4 pictures and PDFs wait")
            ).to_be_visible()
            keep = page.get_by_role("button", name="Store them there")
            await expect(keep).to_be_disabled()
            await page.get_by_label("Whose are they?").fill("okafor")
            await expect(page.get_by_role("radio")).to_have_count(2)
            await page.get_by_role("radio", name="Adaeze").check()
            await walk.picture("upload-pictures")
            assert await serious(page) == []
            await keep.click()
            await expect(page.locator("#sum")).to_have_text("3 of 4 stored, 1 not.")
            assert await page.locator("#refused tbody tr").all_inner_texts() == [
                "cut.png\tThe picture is damaged."
            ]
            await page.get_by_role("link", name="Open the study").click()
            await expect(page.get_by_role("heading", name="3 series, 4 images")).to_be_visible()
            await page.get_by_role("link", name="Add a picture or PDF").click()
            await expect(page.get_by_role("radio", name="Adaeze")).to_be_checked()
            await walk.open(f"/film?study={one.StudyInstanceUID}")
            await page.get_by_role("button", name="Image 7", exact=True).click()
            await page.get_by_label("Window centre").fill("40")
            await page.get_by_label("Window width").fill("400")
            await page.get_by_role("button", name="Keep as presentation state").click()
            await page.wait_for_url(f"**/study/{one.StudyInstanceUID}")
            await expect(page.get_by_role("heading", name="4 series, 5 images")).to_be_visible()
            await walk.open(f"/upload?entry={scheduled['id']}")
            await page.locator("#files").set_input_files([a_choice("a.jpg", saved(COLOUR, "JPEG"))])
            await expect(page.get_by_role("radio", name="Ngozi")).to_be_checked()
            await keep.click()
            await expect(page.locator("#sum")).to_have_text("1 of 1 stored.")
            await page.get_by_role("link", name="Open the study").click()
            await expect(page.get_by_role("heading", name="Okafor, Ngozi")).to_be_visible()


def a_choice(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def a_zip(data_sets: list[Dataset]) -> bytes:
    """A medium: one object deflated, the others as they are, and what belongs to no object."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("DICOMDIR", bytes(128) + b"DICM" + bytes(60))
        archive.writestr("VIEWER/SETUP.EXE", b"MZ" + bytes(200))
        archive.writestr("VIEWER/LOGO.PNG", b"\x89PNG" + bytes(200))
        for number, one in enumerate(data_sets):
            kind = zipfile.ZIP_STORED if number else zipfile.ZIP_DEFLATED
            archive.writestr(f"IMAGES/I{number}", a_file(one), compress_type=kind)
    return made.getvalue()
