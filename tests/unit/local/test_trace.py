"""`darkroom trace`: from spans of several services to one page."""

from pathlib import Path

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from typer.testing import CliRunner

from darkroom_common.telemetry import trace_file
from darkroom_common.telemetry.trace_file import TraceFile
from darkroom_common.telemetry.traces import STUDY
from darkroom_local.commands.cli import app


def tracer(directory: Path, service: str) -> api.Tracer:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(TraceFile(directory, service)))
    return provider.get_tracer(service)


@pytest.mark.req("OBS-02")
def test_a_trace_is_shown_over_all_services_with_what_is_linked_to_it(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    ingest, transmit, metadata = (tracer(traces, n) for n in ("ingest", "transmit", "metadata"))
    with ingest.start_as_current_span("C-STORE") as first:
        context = first.get_span_context()
        with transmit.start_as_current_span("C-STORE SCU PACS", attributes={"n": 7}) as sent:
            sent.set_status(api.StatusCode.ERROR, "PeerFault")
    with metadata.start_as_current_span("metadata.index", links=[api.Link(context)]):
        pass
    with ingest.start_as_current_span("another"):
        pass
    (traces / "print.jsonl").write_text('{"half of a li')
    wanted = format(context.trace_id, "032x")
    shown = CliRunner().invoke(app, ["trace", wanted, "--data", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert lines[0] == f"trace {wanted}"
    assert "ingest: C-STORE  +0.0 ms" in lines[1]
    assert "transmit: C-STORE SCU PACS" in lines[2]
    assert lines[2].endswith("n=7  failed: PeerFault")
    assert lines[2].index("transmit") > lines[1].index("ingest")  # below it
    assert "metadata: metadata.index" in lines[3]
    assert lines[3].endswith("(of several traces)")
    assert "another" not in shown.output
    listed = CliRunner().invoke(app, ["trace", "--data", str(tmp_path)]).output
    assert [line.split()[-1] for line in listed.splitlines()] == [
        "C-STORE",
        "metadata.index",
        "another",
    ]
    assert CliRunner().invoke(app, ["trace", "0" * 32, "--data", str(tmp_path)]).exit_code == 1


def test_a_study_is_shown_from_its_order_to_its_film(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    ingest, metadata, app_tracer = (tracer(traces, n) for n in ("ingest", "metadata", "api"))
    about = {STUDY: ("1.2.3",)}
    with ingest.start_as_current_span("hl7 message", attributes=about):
        pass
    for number in range(3):
        with ingest.start_as_current_span("C-STORE", attributes=about) as stored:
            with metadata.start_as_current_span("metadata.index"):
                pass
            if number == 2:
                stored.set_status(api.StatusCode.ERROR, "OSError")
    with ingest.start_as_current_span("C-STORE", attributes={STUDY: ("1.2.3.4",)}):
        pass
    with app_tracer.start_as_current_span("POST", attributes={STUDY: ("1.2.4", "1.2.3")}):
        pass
    ask = ["trace", "--study", "1.2.3", "--data", str(tmp_path)]
    shown = CliRunner().invoke(app, ask)
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert lines[0] == "study 1.2.3"
    assert "ingest: hl7 message" in lines[1]
    assert "ingest: C-STORE  3 times in 0.0 s  1 failed" in lines[2]
    assert lines[3].endswith("metadata: metadata.index  3 times")
    assert "api: POST" in lines[4]
    assert len(lines) == 5
    assert CliRunner().invoke(app, [*ask[:2], "9.9", *ask[3:]]).exit_code == 1


def test_files_of_traces_do_not_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_file, "MOST_BYTES", 2000)
    spans = tracer(tmp_path, "ingest")
    for _ in range(100):
        with spans.start_as_current_span("C-STORE"):
            pass
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) <= {"ingest.jsonl", "ingest.old.jsonl"}
    assert sum(sizes.values()) < 6000
