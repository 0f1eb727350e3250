"""The core: the modules that the guarantee rests on, and the tests that belong to each."""

from typing import Final

_COMMON: Final = "libs/common/src/darkroom_common"
_JOBS: Final = (
    "tests/unit/common/test_job_statements.py",
    "tests/integration/common/jobs/test_two_owners.py",
    "tests/integration/common/jobs/test_conformance.py",
    "tests/integration/common/jobs/test_replica.py",
    "tests/integration/common/jobs/test_most.py",
    "tests/integration/common/jobs/test_bound.py",
)
_BROKER: Final = (
    "tests/unit/common/test_order.py",
    "tests/unit/common/test_lost_cancellation.py",
    "tests/unit/common/test_decisions.py",
    "tests/integration/common/test_rabbitmq.py",
)
_POSTGRES: Final = (
    "tests/unit/common/test_outbox.py",
    "tests/integration/common/test_postgres.py",
    "tests/integration/common/jobs/test_two_owners.py",
)
_RECEIVING: Final = (
    "tests/unit/common/test_order.py",
    "tests/unit/common/test_spool.py",
    "tests/unit/ingest/test_relay.py",
    "tests/unit/ingest/test_quarantine.py",
    "tests/unit/ingest/test_digest.py",
    "tests/unit/ingest/test_odd_objects.py",
    "tests/unit/ingest/test_reports.py",
    "tests/unit/ingest/test_receiver.py",
)
_WALK: Final = "tests/unit/common/test_walk.py"
_WALKING: Final = (  # those of the walk that take no time
    "tests/unit/common/test_walk_edges.py",
    f"{_WALK}::test_identity_in_each_encoding",
    f"{_WALK}::test_every_cut_of_a_data_set_is_told",
    f"{_WALK}::test_encapsulated_pixels_with_what_looks_like_a_delimiter",
    f"{_WALK}::test_unknown_vr_is_long_and_no_vr_is_implicit",
    f"{_WALK}::test_what_cannot_be_is_told_by_its_code",
    "tests/unit/common/test_odd_vrs.py",
)
_INDEX: Final = (
    "tests/unit/metadata/test_extract.py",
    "tests/unit/metadata/test_index_writes.py",
    "tests/integration/metadata/test_indexer.py",
)
_SENDING: Final = (
    "tests/unit/transmit/test_decisions.py",
    "tests/unit/transmit/test_delivery.py",
    "tests/unit/transmit/test_destination.py",
    "tests/unit/transmit/test_scu.py",
    "tests/unit/transmit/test_pool.py",
    "tests/integration/transmit/test_recorded.py",
)
_PRINTING: Final = (
    "tests/unit/print/test_fitting.py",
    "tests/unit/print/test_layout.py",
    "tests/unit/print/test_compose.py",
    "tests/unit/print/test_density.py",
    "tests/unit/print/test_preview.py",
    "tests/integration/print/film/test_composer.py",
)

CORE: Final[dict[str, tuple[str, ...]]] = {
    f"{_COMMON}/amqp/consumer.py": _BROKER,
    f"{_COMMON}/amqp/publisher.py": _BROKER,
    f"{_COMMON}/amqp/retry.py": _BROKER,
    f"{_COMMON}/amqp/gate.py": _BROKER,
    f"{_COMMON}/objects/spool.py": _RECEIVING,
    f"{_COMMON}/objects/directory.py": _RECEIVING,
    f"{_COMMON}/objects/receipt.py": _RECEIVING,
    f"{_COMMON}/postgres/outbox.py": _POSTGRES,
    f"{_COMMON}/postgres/inbox.py": _POSTGRES,
    f"{_COMMON}/jobs/statements.py": _JOBS,
    f"{_COMMON}/jobs/table.py": _JOBS,
    f"{_COMMON}/jobs/lease.py": _JOBS,
    f"{_COMMON}/jobs/runner.py": _JOBS,
    f"{_COMMON}/jobs/intake.py": ("tests/integration/common/jobs/test_intake.py",),
    f"{_COMMON}/dicom/walk.py": (*_WALKING, "tests/unit/common/test_stored.py"),
    f"{_COMMON}/dicom/identity.py": (*_WALKING, "tests/unit/common/test_decisions.py"),
    f"{_COMMON}/dimse/negotiation.py": ("tests/unit/common/dimse/test_negotiation.py",),
    f"{_COMMON}/dimse/wire/pdu.py": (
        "tests/unit/common/dimse/test_pdu.py",
        "tests/unit/common/dimse/test_messages.py",
    ),
    f"{_COMMON}/index/query.py": (
        "tests/unit/api/test_api_query.py",
        "tests/unit/common/test_indexed_tags.py",
        "tests/unit/common/test_answer.py",
    ),
    "services/ingest/src/darkroom_ingest/senders/admission.py": (
        "tests/unit/ingest/test_admission.py",
    ),
    "services/ingest/src/darkroom_ingest/receiving/acceptance.py": (
        "tests/unit/common/test_decisions.py",
        *_RECEIVING,
    ),
    "services/ingest/src/darkroom_ingest/receiving/receive.py": _RECEIVING,
    "services/ingest/src/darkroom_ingest/relaying/relay.py": _RECEIVING,
    "services/metadata/src/darkroom_metadata/indexing/indexer.py": _INDEX,
    "services/metadata/src/darkroom_metadata/indexing/repository.py": _INDEX,
    "services/metadata/src/darkroom_metadata/indexing/filing.py": _INDEX,
    "services/metadata/src/darkroom_metadata/studies/lifecycle.py": _INDEX,
    "services/transmit/src/darkroom_transmit/sending/breaker.py": _SENDING[:1],
    "services/transmit/src/darkroom_transmit/sending/outcome.py": _SENDING,
    "services/transmit/src/darkroom_transmit/sending/pool.py": _SENDING,
    "services/transmit/src/darkroom_transmit/sending/repository.py": _SENDING,
    "services/transmit/src/darkroom_transmit/routing/decision.py": _SENDING[:1],
    "services/print/src/darkroom_print/composing/density.py": _PRINTING[2:4],
    "services/print/src/darkroom_print/composing/compose.py": _PRINTING[:6],
    "services/print/src/darkroom_print/printing/repository.py": _JOBS[2:3],
    "services/print/src/darkroom_print/printing/printing.py": (
        "tests/unit/print/test_printing.py",
    ),
    "services/transmit/src/darkroom_transmit/sending/delivery.py": _SENDING[:3],
    "services/transmit/src/darkroom_transmit/sending/results.py": _SENDING[:3],
    f"{_COMMON}/films/image_boxes.py": _PRINTING[:5],
    "services/api/src/darkroom_api/accounts/tokens.py": ("tests/unit/api/test_api_tokens.py",),
    "services/api/src/darkroom_api/accounts/permissions.py": (
        "tests/unit/api/test_api_rights.py",
        "tests/unit/api/test_api_permissions.py",
    ),
    "services/api/src/darkroom_api/rates/window.py": ("tests/unit/api/test_api_rates.py",),
    "services/api/src/darkroom_api/rates/classes.py": ("tests/unit/api/test_api_rates.py",),
    "services/api/src/darkroom_api/dicomweb/searching/parameters.py": (
        "tests/unit/api/test_api_query.py",
    ),
    "services/api/src/darkroom_api/dicomweb/accept.py": (
        "tests/unit/api/test_api_dicomweb.py",
        "tests/unit/api/test_negotiation.py",
    ),
}
