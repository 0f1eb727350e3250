"""Files that are chosen, also within a ZIP, are stored; what is none is named with a reason."""

import io
import zipfile

from playwright.async_api import FilePayload, expect
from pydicom.dataset import Dataset

from tests.conftest import PostgresServer, RabbitServer
from tests.integration.api.accounts.people import add_user
from tests.integration.api.storing.stowing import stowing
from tests.integration.console.conftest import a_browser, walking
from tests.support.builders import a_data_set, encode
from tests.support.stow import a_file


async def test_files_and_a_zip_are_stored(
    postgres_server: PostgresServer, rabbitmq_server: RabbitServer
) -> None:
    stored = [a_data_set(PatientID=f"UP{number}") for number in range(4)]
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
            await expect(said).to_have_text("5 of 7 stored, 2 not.")  # DICOMDIR has no object
            rows = walk.page.locator("#refused tbody tr")
            told = sorted(await rows.all_inner_texts())
            assert told == ["cut.zip\tThe ZIP file is cut off.", "letter.txt\tIt is no DICOM file."]
        for one in stored:
            assert await made.kept(str(one.SOPInstanceUID)) == encode(one)


def a_choice(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def a_zip(data_sets: list[Dataset]) -> bytes:
    """A medium: one object deflated, the others as they are, and what belongs to no object."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("DICOMDIR", bytes(200))
        for number, one in enumerate(data_sets):
            kind = zipfile.ZIP_STORED if number else zipfile.ZIP_DEFLATED
            archive.writestr(f"IMAGES/I{number}", a_file(one), compress_type=kind)
    return made.getvalue()
