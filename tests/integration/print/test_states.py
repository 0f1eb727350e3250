"""Where a print job ends, whatever the printer does (PRN-04, PRN-05)."""

import os
import signal
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode

from tests.integration.print.desk import PrintDesk, open_desk
from tests.integration.print.pictures import a_series
from tests.integration.print.printers import scripted
from tests.support.services import Services
from tests.support.waiting import dawdle, nothing_more, until


@pytest.mark.req("PRN-01")
async def test_a_job_of_two_films_is_printed_once(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(6))
    with scripted() as printer:
        await desk.printer(printer.port)
        job = await desk.until(await desk.print(images, layout="STANDARD\\2,2"), "DONE", "FAILED")
    assert (job["state"], job["films"], job["films_done"]) == ("DONE", 2, 2), job["reason"]
    assert [sorted(film.images) for film in printer.films] == [[1, 2, 3, 4], [1, 2]]


@pytest.mark.req("PRN-04")
async def test_a_printer_that_fails_is_tried_again_and_told(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(1))
    with scripted() as printer:
        printer.printer = ("FAILURE", "SUPPLY EMPTY")
        await desk.printer(printer.port)
        job_id = await desk.print(images)
        waiting = await desk.until(job_id, "RETRYING")
        assert waiting["reason"] == "printer: FAILURE, SUPPLY EMPTY"
        printer.printer = ("WARNING", "FILM RECEIVER FULL")
        job = await desk.until(job_id, "DONE", "FAILED")
        rows = await desk.prepared.fetch("SELECT status, status_info FROM print.printer")
    assert job["state"] == "DONE"
    assert "printer: WARNING, FILM RECEIVER FULL" not in job["reason"]
    assert tuple(rows[0]) == ("WARNING", "")  # 18 characters are no CS: not shown
    assert len(printer.films) == 1


@pytest.mark.req("PRN-04")
@pytest.mark.parametrize(
    ("service", "status", "state", "words"),
    [
        ("create session", 0x0106, "FAILED", "film session: 0106"),
        ("create film", 0x0106, "FAILED", "film box: 0106"),
        ("set image", 0xC603, "FAILED", "the image is larger than its box"),
        ("act", 0xC600, "FAILED", "no film box"),
        ("act", 0xC602, "FAILED", "its print queue is full"),
    ],
)
async def test_a_refusal_ends_in_words(
    desk: PrintDesk, service: str, status: int, state: str, words: str
) -> None:
    images = await desk.store(*a_series(1))
    with scripted() as printer:
        printer.statuses[service] = status
        await desk.printer(printer.port)
        job = await desk.until(await desk.print(images), state)
    assert words in job["reason"]
    assert job["attempts"] == (3 if status == 0xC602 else 1)
    assert printer.films == []


@pytest.mark.req("PRN-04")
async def test_warnings_are_kept_and_the_film_counts(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(1))
    with scripted() as printer:
        printer.statuses |= {"set image": 0xB604, "act": 0xB603}
        await desk.printer(printer.port)
        job = await desk.until(await desk.print(images), "DONE", "FAILED")
    assert job["state"] == "DONE"
    assert job["warnings"] == [
        "image box 1: B604, the image is larger than its box: it was made smaller",
        "print: B603, the film is empty",
    ]


@pytest.mark.req("PRN-04")
@pytest.mark.parametrize("sequence", [0x21000500, 0x21200070], ids=["standard", "other"])
async def test_the_end_of_the_printers_own_job_is_waited_for(
    desk: PrintDesk, sequence: int
) -> None:
    images = await desk.store(*a_series(1))
    with scripted() as printer:
        printer.print_job_sequence = sequence
        printer.job_states = ["PENDING", "PRINTING", "DONE"]
        await desk.printer(printer.port, done_seconds=20)
        job = await desk.until(await desk.print(images), "DONE", "FAILED")
        assert (job["state"], job["warnings"]) == ("DONE", [])
        assert printer.calls.count("get job") == 3
        printer.job_states = ["FAILURE"]
        job = await desk.until(await desk.print(images), "DONE", "FAILED")
    assert job["state"] == "FAILED"
    assert job["reason"] == "film 1: the printer's job has failed, FILM JAM"


@pytest.mark.req("PRN-04")
async def test_an_event_before_the_response_is_taken(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(1))

    def report(event: Any) -> None:
        told = Dataset()
        told.PrinterStatusInfo = "FILM TRANS ERR"
        message = _report(told)
        event.assoc.dimse.send_msg(message, event.context.context_id)

    with scripted() as printer:
        printer.acting = report
        await desk.printer(printer.port)
        job = await desk.until(await desk.print(images), "DONE", "FAILED", "UNKNOWN")
        rows = await desk.prepared.fetch("SELECT status, status_info FROM print.printer")
    assert job["state"] == "DONE", job["reason"]
    assert job["warnings"] == ["printer: WARNING, FILM TRANS ERR"]
    assert tuple(rows[0]) == ("WARNING", "FILM TRANS ERR")


def _report(told: Any) -> Any:
    message = N_EVENT_REPORT()
    message.MessageID = 7
    message.AffectedSOPClassUID = "1.2.840.10008.5.1.1.16"
    message.AffectedSOPInstanceUID = "1.2.840.10008.5.1.1.17"
    message.EventTypeID = 2
    message.EventInformation = BytesIO(
        encode(told, is_implicit_vr=True, is_little_endian=True) or b""
    )
    return message


@pytest.mark.req("PRN-05")
async def test_a_printer_that_aborts_after_the_last_film_has_printed(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(1))
    with scripted() as printer:
        printer.deleting = lambda event: event.assoc.abort()
        await desk.printer(printer.port)
        job = await desk.until(await desk.print(images), "DONE", "FAILED", "RETRYING")
    assert (job["state"], job["attempts"]) == ("DONE", 1), job["reason"]
    assert len(printer.films) == 1


@pytest.mark.req("PRN-07")
async def test_nothing_is_deleted_where_that_hangs_though_a_film_is_refused(
    desk: PrintDesk,
) -> None:
    images = await desk.store(*a_series(1))
    with scripted() as printer:
        printer.statuses["create film"] = 0x0106
        await desk.printer(printer.port, quirks=["no-delete"])
        await desk.until(await desk.print(images), "FAILED")
    assert "create film" in printer.calls
    assert "delete" not in printer.calls


@pytest.mark.req("PRN-04")
async def test_a_printer_that_does_not_tell_its_status_prints(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(1))
    with scripted() as printer:
        printer.statuses["get printer"] = 0x0110
        await desk.printer(printer.port)
        job = await desk.until(await desk.print(images), "DONE", "FAILED")
    assert job["state"] == "DONE"
    assert len(job["warnings"]) == 1
    assert job["warnings"][0].startswith("printer status: 0110")


@pytest.mark.req("PRN-05")
async def test_a_slow_printer_is_waited_for_longer_than_a_lease(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(4))
    with scripted() as printer:
        printer.setting = lambda _: dawdle(1)
        printer.acting = lambda _: dawdle(3)
        await desk.printer(printer.port)
        job = await desk.until(await desk.print(images, layout="2x2"), "DONE", "FAILED", "UNKNOWN")
    assert (job["state"], job["attempts"], job["warnings"]) == ("DONE", 1, []), job["reason"]
    assert len(printer.films) == 1


@pytest.mark.req("PRN-05")
async def test_silence_before_the_order_to_print_is_tried_again(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(1))
    silent: list[int] = []

    def wait(_: Any) -> None:
        if not silent:
            silent.append(1)
            dawdle(4)

    with scripted() as printer:
        printer.setting = wait
        await desk.printer(printer.port, answer_seconds=1)
        job_id = await desk.print(images)
        assert (await desk.until(job_id, "RETRYING"))["reason"].startswith("AnswerTimeout")
        job = await desk.until(job_id, "DONE", "FAILED", "UNKNOWN")
    assert (job["state"], job["attempts"]) == ("DONE", 2), job["reason"]
    assert len(printer.films) == 1


@pytest.mark.req("PRN-05")
async def test_silence_after_the_order_to_print_is_unknown(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(1))
    with scripted() as printer:
        printer.acting = lambda _: dawdle(3)
        await desk.printer(printer.port, answer_seconds=1)
        job = await desk.until(await desk.print(images), "UNKNOWN", "DONE", "FAILED")
        assert job["state"] == "UNKNOWN"
        await nothing_more(4)
    assert len(printer.films) == 1


@pytest.mark.req("PRN-05")
@pytest.mark.parametrize(
    ("attribute", "state", "words", "films"),
    [(0x20100510, "FAILED", "not understood: AttributeError", 0), (0x21000500, "DONE", "", 1)],
)
async def test_answers_that_make_no_sense_lose_and_double_no_film(
    desk: PrintDesk, attribute: int, state: str, words: str, films: int
) -> None:
    images = await desk.store(*a_series(1))
    with scripted() as printer:
        printer.odd = (attribute,)
        await desk.printer(printer.port)
        job_id = await desk.print(images)
        job = await desk.until(job_id, "FAILED", "UNKNOWN", "DONE")
        assert (job["state"], job["attempts"]) == (state, 1 if films else 3)
        assert job["reason"].startswith(words)
        assert len(printer.films) == films
        if state == "FAILED":
            printer.odd = ()
            await desk.act(job_id, "retry")
            await desk.until(job_id, "DONE")
            assert len(printer.films) == 1
    assert "Planted" not in desk.services.running["print"].log.read_text()


@pytest.mark.req("PRN-05")
async def test_an_abort_in_mid_image_is_tried_again(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(4))
    aborted: list[int] = []

    def abort(event: Any) -> None:
        if not aborted:
            aborted.append(1)
            event.assoc.abort()

    with scripted() as printer:
        printer.setting = abort
        await desk.printer(printer.port)
        job = await desk.until(await desk.print(images, layout="2x2"), "DONE", "FAILED")
    assert (job["state"], job["attempts"]) == ("DONE", 2), job["reason"]
    assert len(printer.films) == 1


@pytest.mark.req("PRN-05")
async def test_an_abort_after_the_order_to_print_is_unknown(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(2))
    with scripted() as printer:
        printer.acting = lambda event: event.assoc.abort()
        await desk.printer(printer.port)
        job_id = await desk.print(images)
        job = await desk.until(job_id, "UNKNOWN")
        assert "film 1: no answer after the order to print" in job["reason"]
        await nothing_more(1.5)
        assert len(printer.films) == 1
        printer.acting = lambda _: None
        assert (await desk.act(job_id, "confirm")).body["state"] == "QUEUED"
        job = await desk.until(job_id, "DONE", "FAILED")
    assert (job["state"], job["films_done"]) == ("DONE", 2)
    assert len(printer.films) == 2


@pytest.mark.req("PRN-05")
async def test_kill_after_the_order_to_print_makes_no_second_film(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(1))
    with scripted() as printer:

        def kill(_: Any) -> None:
            process = desk.services.running["print"].process
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)
            dawdle(0.2)

        printer.acting = kill
        await desk.printer(printer.port)
        job_id = await desk.print(images)
        await until(lambda: printer.films, limit=30)
        printer.acting = lambda _: None
        await desk.services.running["print"].kill()
        await desk.services.start("print")
        job = await desk.until(job_id, "UNKNOWN", "DONE", "FAILED")
        assert job["state"] == "UNKNOWN"
        await nothing_more(3)
        assert len(printer.films) == 1
        assert (await desk.act(job_id, "retry")).body["state"] == "QUEUED"
        await desk.until(job_id, "DONE")
    assert len(printer.films) == 2  # an operator has said so


@pytest.mark.req("PRN-05")
async def test_kill_before_the_order_to_print_goes_on(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(1))
    killed: list[int] = []
    with scripted() as printer:

        def kill(_: Any) -> None:
            if not killed:
                killed.append(1)
                process = desk.services.running["print"].process
                assert process is not None
                os.kill(process.pid, signal.SIGKILL)
                dawdle(0.2)

        printer.setting = kill
        await desk.printer(printer.port)
        job_id = await desk.print(images)
        await until(lambda: killed, limit=30)
        await desk.services.running["print"].kill()
        await desk.services.start("print")
        job = await desk.until(job_id, "UNKNOWN", "DONE", "FAILED")
    assert (job["state"], job["attempts"]) == ("DONE", 2)
    assert len(printer.films) == 1


async def test_cancel_and_a_printer_that_is_away(desk: PrintDesk) -> None:
    images = await desk.store(*a_series(1))
    await desk.printer(1)
    job_id = await desk.print(images)
    waiting = await desk.until(job_id, "RETRYING")
    assert waiting["reason"].startswith("ConnectionRefused")
    assert (await desk.act(job_id, "cancel")).outcome == "done"
    assert (await desk.until(job_id, "CANCELLED"))["finished_at"] is not None
    assert (await desk.act(job_id, "confirm")).outcome == "conflict"


@pytest.mark.req("TRX-14")
async def test_a_printer_is_asked_on_a_schedule_and_shown_when_it_is_away(
    services: Services,
) -> None:
    async with open_desk(services) as desk:
        services.extra |= {"ECHO_SECONDS": "0.3"}
        await services.start("print")

        async def shows(*wanted: str) -> bool:
            (row,) = await desk.prepared.fetch(
                "SELECT echo_state, echo_reason, status FROM print.printer"
            )
            return bool(tuple(row) == wanted)

        with scripted() as printer:
            printer.printer = ("WARNING", "SUPPLY LOW")
            await desk.printer(printer.port)
            await until(lambda: shows("UP", "", "WARNING"))
        await until(lambda: shows("DOWN", "ConnectionRefused", "AWAY"))
