"""What is told to printers of different kinds (PRN-02, PRN-03, PRN-07)."""

import ssl
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from darkroom_common.messages.commands import PrintFilm
from darkroom_common.messages.events import StudyCompleted
from darkroom_common.messages.requests import AskPrinter
from darkroom_common.messages.resources import put
from darkroom_common.resources.declared import PRINT_RULES
from darkroom_common.specs.printers import PrintRuleSpec
from tests.integration.print.desk import PrintDesk
from tests.integration.print.pictures import a_series, an_image, samples
from tests.integration.print.printers import scripted
from tests.support.certificates import Authority
from tests.support.waiting import until


@pytest.mark.req("PRN-07")
async def test_a_printer_with_only_the_meta_class(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(1))
    with scripted(meta_only=True, colour=False) as printer:
        await desk.printer(printer.port, profile="meta-only")
        lut = {"shape": "LIN OD"}
        job = await desk.until(await desk.print(images, presentation_lut=lut), "DONE", "FAILED")
        assert job["state"] == "DONE", job["reason"]
        plain = await desk.until(await desk.print(images), "DONE", "FAILED")
    assert plain["state"] == "DONE"
    assert "get printer" not in printer.calls
    assert printer.luts == []
    burned, without = (
        samples(film.images[1].BasicGrayscaleImageSequence[0]) for film in printer.films
    )
    assert not np.array_equal(burned, without)  # what the printer cannot do is burned in


@pytest.mark.req("PRN-07")
async def test_one_film_box_a_session_and_print_by_session(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(3))
    with scripted() as printer:
        await desk.printer(printer.port, profile="single-film-session")
        job = await desk.until(await desk.print(images), "DONE", "FAILED")
    assert (job["state"], job["films_done"]) == ("DONE", 3), job["reason"]
    assert len(printer.films) == len(printer.sessions) == 3


@pytest.mark.req("PRN-07")
async def test_a_printer_of_one_image_box_gets_one_bitmap(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(4))
    with scripted() as printer:
        await desk.printer(printer.port, profile="one-box")
        job = await desk.until(await desk.print(images, layout="2x2"), "DONE", "FAILED")
    assert job["state"] == "DONE", job["reason"]
    (film,) = printer.films
    assert film.film_box.ImageDisplayFormat == "STANDARD\\1,1"
    assert samples(film.images[1].BasicGrayscaleImageSequence[0]).shape == (850, 700)


@pytest.mark.req("PRN-01")
async def test_colour_is_printed_by_the_colour_meta_class(desk: PrintDesk) -> None:
    rows, columns = 40, 60
    pixels = np.zeros((rows, columns, 3), "u1")
    pixels[:, :20, 0] = 255
    pixels[:, 20:40, 1] = 255
    pixels[:, 40:, 2] = 255
    red_green_blue = an_image(
        rows=rows,
        columns=columns,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        PixelData=pixels.tobytes(),
    )
    images = await desk.store(red_green_blue)
    with scripted() as printer:
        await desk.printer(printer.port, profile="colour-paper")
        job = await desk.until(await desk.print(images, film_size="A4"), "DONE", "FAILED")
    assert job["state"] == "DONE", job["reason"]
    item = printer.films[0].images[1].BasicColorImageSequence[0]
    assert (item.PhotometricInterpretation, item.PlanarConfiguration) == ("RGB", 1)
    shown = samples(item)
    middle = shown[shown.shape[0] // 2]
    assert {tuple(int(v) for v in middle[round(len(middle) * at)]) for at in (0.2, 0.5, 0.8)} == {
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
    }


@pytest.mark.req("PRN-02")
@pytest.mark.req("PRN-03")
async def test_densities_and_annotations_are_as_asked(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(1))
    with scripted() as printer:
        await desk.printer(printer.port, annotation_format="LABEL", annotation_boxes=2)
        order = {
            "min_density": 25,
            "max_density": 290,
            "border_density": "WHITE",
            "copies": 2,
            "annotations": [{"position": 1, "text": "Thorax"}, {"position": 3, "text": "lost"}],
        }
        job = await desk.until(await desk.print(images, **order), "DONE", "FAILED")
    assert job["state"] == "DONE", job["reason"]
    box = printer.films[0].film_box
    assert (box.MinDensity, box.MaxDensity, box.BorderDensity) == (25, 290, "WHITE")
    assert box.AnnotationDisplayFormatID == "LABEL"
    assert [str(note.TextString) for note in printer.notes.values()] == ["Thorax"]
    assert job["warnings"] == ["annotation 3: it has 2 annotation boxes"]
    assert printer.sessions[0].NumberOfCopies == 2
    refused = await desk.until(await desk.print(images, film_size="A3"), "FAILED")
    assert refused["reason"].startswith("film_size: the printer has")


@pytest.mark.req("PRN-05")
async def test_a_rule_prints_a_complete_study_once(desk: PrintDesk) -> None:
    series = a_series(3, Modality="CR")
    await desk.store(*series)
    study = str(series[0].StudyInstanceUID)
    with scripted() as printer:
        await desk.printer(printer.port)
        rule = PrintRuleSpec.model_validate(
            {"printer": "FILM", "modalities": ["CR"], "film": {"layout": "2x2"}}
        )
        assert (await desk.ask(put(PRINT_RULES, "films", rule))).outcome == "created"
        for revision in (1, 2):
            await desk.publish(
                StudyCompleted(
                    study_instance_uid=study,
                    revision=revision,
                    series=1,
                    instances=3,
                    modalities=("CR",),
                )
            )
        rows = await until(lambda: desk.prepared.fetch("SELECT * FROM print.job"), limit=30)
        job = await desk.until(rows[0]["id"], "DONE", "FAILED")
    assert (job["state"], job["rule"], job["films"]) == ("DONE", "films", 1), job["reason"]
    assert len(printer.films) == 1


async def test_a_rule_makes_as_many_jobs_as_a_study_of_many_frames_needs(desk: PrintDesk) -> None:
    (image,) = a_series(1, Modality="US")
    image.NumberOfFrames = 4500
    await desk.store(image)
    await desk.printer(1, enabled=False)
    film = {"layout": "2x2", "frames": "all", "every": 2}
    rule = PrintRuleSpec.model_validate({"printer": "FILM", "modalities": ["US"], "film": film})
    assert (await desk.ask(put(PRINT_RULES, "films", rule))).outcome == "created"
    study = str(image.StudyInstanceUID)
    event = StudyCompleted(
        study_instance_uid=study, revision=1, series=1, instances=1, modalities=("US",)
    )
    await desk.publish(event)

    async def both() -> list[asyncpg.Record] | None:
        found = await desk.prepared.fetch("SELECT * FROM print.job")
        return found if len(found) == 2 else None

    rows = await until(both, limit=30)
    orders = [desk.seal.open(row["sealed"], purpose=PrintFilm.TYPE)["images"] for row in rows]
    frames = sorted([one["frame"] for one in images] for images in orders)
    assert frames == [list(range(1, 4000, 2)), list(range(4001, 4500, 2))]


@pytest.mark.req("PRN-05", "MET-06")
async def test_two_patients_of_one_study_uid_are_never_on_one_film(desk: PrintDesk) -> None:
    first, other = a_series(3, Modality="CR"), a_series(2, Modality="CR", PatientID="ELSE")
    last = a_series(1, Modality="CR")
    for image in other:
        image.StudyInstanceUID = first[0].StudyInstanceUID
    await desk.store(*first, *other, *last)
    await desk.printer(1, enabled=False)
    rule = PrintRuleSpec.model_validate({"printer": "FILM", "film": {"layout": "2x2"}})
    assert (await desk.ask(put(PRINT_RULES, "films", rule))).outcome == "created"
    events = [
        StudyCompleted(
            study_instance_uid=str(image.StudyInstanceUID),
            revision=revision,
            series=1,
            instances=3,
            modalities=("CR",),
        )
        for image, revision in ((first[0], 1), (first[0], 1), (first[0], 2), (last[0], 1))
    ]
    for event in events:
        await desk.publish(event)
    expected = {frozenset(str(one.SOPInstanceUID) for one in some) for some in (first, other, last)}

    async def handled() -> bool:
        rows = await desk.prepared.fetch(
            "SELECT FROM print.inbox WHERE message_id = ANY($1)", [one.id for one in events]
        )
        return len(rows) == len(events)

    await until(handled, limit=30)
    rows = await desk.prepared.fetch("SELECT sop_instance_uids FROM print.job")
    found = [frozenset(row["sop_instance_uids"]) for row in rows]
    assert len(found) == len(set(found))
    assert set(found) == expected


@pytest.mark.req("PRN-04")
async def test_a_printer_is_asked_for_its_status(desk: PrintDesk) -> None:
    with scripted() as printer:
        printer.printer = ("WARNING", "SUPPLY LOW")
        await desk.printer(printer.port)
        reply = await desk.ask(AskPrinter(name="FILM"))
        assert (reply.body["ok"], reply.body["info"]) == (True, "SUPPLY LOW")
    reply = await desk.ask(AskPrinter(name="FILM"))
    assert reply.body["ok"] is False
    assert reply.body["reason"].startswith("ConnectionRefused")
    assert (await desk.ask(AskPrinter(name="NONE"))).outcome == "not-found"


async def test_a_printer_of_an_authority_without_key_usage(desk: PrintDesk, tmp_path: Path) -> None:
    hospital = Authority(tmp_path, strict=False)
    pair = hospital.sign("printer")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    trust = {"enabled": True, "ca": hospital.file.read_text(), "server_name": "localhost"}
    with scripted(tls=context) as printer:
        await desk.printer(printer.port, tls=trust)
        reply = await desk.ask(AskPrinter(name="FILM"))
        assert reply.body["reason"].startswith("CertificateNotStrict")
        await desk.printer(printer.port, tls=trust | {"strict": False})
        assert (await desk.ask(AskPrinter(name="FILM"))).body["ok"]
