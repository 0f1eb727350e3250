"""What `darkroom status` makes of what processes say."""

import io
import json

from rich.console import Console

from darkroom_local.commands.overview import as_json, overview, samples_of
from darkroom_local.commands.status import drawn, queue_table
from darkroom_local.stack.state import StackState
from tests.unit.local.test_view import a_process

SAID = """
# TYPE darkroom_queue_depth gauge
darkroom_queue_depth{queue="transmit.route"} 7
darkroom_queue_depth{queue="metadata.index"} 0
# TYPE darkroom_queue_waiting_seconds gauge
darkroom_queue_waiting_seconds{queue="transmit.route"} 12
# TYPE darkroom_consumer_paused gauge
darkroom_consumer_paused{queue="metadata.index"} 1
# TYPE darkroom_dead_letters gauge
darkroom_dead_letters{queue="print.jobs"} 2
darkroom_dead_letters{queue="print.rules"} 0
# TYPE darkroom_jobs_now gauge
darkroom_jobs_now{kind="send",lane="PACS",state="RETRYING"} 3
darkroom_jobs_now{kind="send",lane="PACS",state="SENDING"} 0
# TYPE darkroom_storage_free_bytes gauge
darkroom_storage_free_bytes{volume="store"} 1e9
darkroom_storage_free_bytes{volume="spool"} 9e9
# TYPE darkroom_storage_total_bytes gauge
darkroom_storage_total_bytes{volume="store"} 1e10
darkroom_storage_total_bytes{volume="spool"} 1e10
# TYPE darkroom_spool_oldest_seconds gauge
darkroom_spool_oldest_seconds 400
# TYPE darkroom_transmit_breaker gauge
darkroom_transmit_breaker{destination="PACS",state="open"} 1
darkroom_transmit_breaker{destination="PACS",state="closed"} 0
# TYPE darkroom_licence_state gauge
darkroom_licence_state{state="expired"} 1
darkroom_licence_state{state="valid"} 0
"""
OF_ANOTHER = """
# TYPE darkroom_queue_depth gauge
darkroom_queue_depth{queue="transmit.route"} 5
"""


def test_what_several_say_alike_counts_once_and_what_is_wrong_is_named() -> None:
    processes = [a_process(), a_process(name="api", ready=True)]
    now = overview(processes, [*samples_of(SAID), *samples_of(OF_ANOTHER)])
    assert now.queues["transmit.route"].depth == 7
    assert not now.ready
    assert now.warnings == [
        "metadata is not ready",
        "2 dead letters of print.jobs: darkroom dead-letters",
        "metadata.index is paused: nearly all of it fails",
        "10% of the volume of store is free",
        "an object has waited in the spool for 400 s",
        "PACS is given up for a while (open)",
        "the licence is expired: darkroom licence",
    ]
    told = json.loads(json.dumps(as_json(now)))
    assert told["jobs"] == [{"kind": "send", "lane": "PACS", "state": "RETRYING", "number": 3}]
    assert told["dead_letters"] == {"print.jobs": 2}
    assert told["ready"] is False


def test_bars_are_full_when_all_that_has_waited_is_done() -> None:
    state = StackState(1, 0.0, "DARKROOM", 11112, 8080)
    now = overview([a_process(ready=True)], samples_of(SAID))
    text = io.StringIO()
    Console(file=text, width=120).print(drawn(state, now, {"metadata.index": 9}))
    said = text.getvalue()
    assert "transmit.route" in said
    assert "metadata.index" in said  # it had something to do since somebody looks
    assert "11112" in said
    assert "! PACS is given up" in said
    bars = io.StringIO()
    Console(file=bars, width=120).print(queue_table(now.queues, {"metadata.index": 9}))
    lines = {line.split()[0]: line for line in bars.getvalue().splitlines()[1:]}
    assert lines["metadata.index"].count("━") == 24


def test_nothing_said_is_nothing_to_warn_of() -> None:
    now = overview([a_process(ready=True)], [])
    assert now.ready
    assert now.warnings == []
    assert not overview([], []).ready
