"""The core: the modules that the guarantee rests on, and the tests that belong to each."""

from typing import Final

_COMMON: Final = "libs/common/src/darkroom_common"
_INGEST: Final = "services/ingest/src/darkroom_ingest"
_METADATA: Final = "services/metadata/src/darkroom_metadata"
_TRANSMIT: Final = "services/transmit/src/darkroom_transmit"
_PRINT: Final = "services/print/src/darkroom_print"
_API: Final = "services/api/src/darkroom_api"
_LICENSING: Final = "services/licensing/src/darkroom_licensing"
_LOCAL: Final = "infra/local/src/darkroom_local"
_UNIT: Final = "tests/unit"
_JOBS: Final = (
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
    "tests/unit/metadata/test_reading.py",
    "tests/unit/metadata/test_index_writes.py",
    "tests/integration/metadata/test_indexer.py",
)
_SENDING: Final = (
    "tests/unit/transmit/test_decisions.py",
    "tests/unit/transmit/test_delivery.py",
    "tests/unit/transmit/test_faults_of_a_batch.py",
    "tests/unit/transmit/test_results.py",
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
    f"{_COMMON}/objects/spool.py": _RECEIVING[:4],
    f"{_COMMON}/objects/directory.py": _RECEIVING[:2],
    f"{_COMMON}/objects/receipt.py": ("tests/unit/common/test_receipt.py", *_RECEIVING[1:2]),
    f"{_COMMON}/postgres/outbox.py": _POSTGRES,
    f"{_COMMON}/postgres/inbox.py": _POSTGRES,
    f"{_COMMON}/jobs/statements.py": _JOBS,
    f"{_COMMON}/jobs/table.py": _JOBS,
    f"{_COMMON}/jobs/lease.py": ("tests/unit/common/test_leases.py", *_JOBS[:2]),
    f"{_COMMON}/jobs/runner.py": ("tests/integration/common/jobs/test_runner.py",),
    f"{_COMMON}/jobs/intake.py": ("tests/integration/common/jobs/test_intake.py",),
    f"{_COMMON}/dicom/walk.py": (*_WALKING, "tests/unit/common/test_stored.py"),
    f"{_COMMON}/dicom/identity.py": (
        *_WALKING,
        "tests/unit/common/test_decisions.py",
        "tests/unit/ingest/test_quarantine.py",
    ),
    f"{_COMMON}/dimse/negotiation.py": ("tests/unit/common/dimse/test_negotiation.py",),
    f"{_COMMON}/dimse/wire/pdu.py": (
        "tests/unit/common/dimse/test_pdu.py",
        "tests/unit/common/dimse/test_messages.py",
    ),
    f"{_COMMON}/index/query.py": (
        "tests/unit/common/test_query.py",
        "tests/unit/api/test_api_query.py",
        "tests/unit/api/test_api_narrow.py",
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
    "services/ingest/src/darkroom_ingest/receiving/receive.py": (
        _RECEIVING[7],
        *_RECEIVING[:2],
        *_RECEIVING[4:6],
    ),
    "services/ingest/src/darkroom_ingest/relaying/relay.py": _RECEIVING[2:3],
    "services/metadata/src/darkroom_metadata/indexing/indexer.py": _INDEX,
    "services/metadata/src/darkroom_metadata/indexing/repository.py": _INDEX,
    "services/metadata/src/darkroom_metadata/indexing/filing.py": _INDEX,
    "services/metadata/src/darkroom_metadata/studies/lifecycle.py": (
        "tests/unit/metadata/test_lifecycle.py",
        _INDEX[-1],
    ),
    "services/transmit/src/darkroom_transmit/sending/breaker.py": _SENDING[:1],
    "services/transmit/src/darkroom_transmit/sending/outcome.py": _SENDING,
    "services/transmit/src/darkroom_transmit/sending/pool.py": _SENDING,
    "services/transmit/src/darkroom_transmit/sending/repository.py": (
        "tests/integration/common/jobs/test_sends.py",
        _SENDING[-1],
    ),
    "services/transmit/src/darkroom_transmit/routing/decision.py": _SENDING[:1],
    "services/print/src/darkroom_print/composing/density.py": _PRINTING[2:4],
    "services/print/src/darkroom_print/composing/compose.py": _PRINTING[:6],
    "services/print/src/darkroom_print/printing/repository.py": (
        *_JOBS[1:3],
        "tests/integration/common/jobs/test_films.py",
    ),
    "services/print/src/darkroom_print/printing/printing.py": (
        "tests/unit/print/test_printing.py",
        "tests/unit/print/test_print_runs.py",
    ),
    "services/transmit/src/darkroom_transmit/sending/delivery.py": _SENDING[:4],
    "services/transmit/src/darkroom_transmit/sending/results.py": _SENDING[1:4],
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
        "tests/unit/api/test_api_narrow.py",
    ),
    "services/api/src/darkroom_api/dicomweb/accept.py": (
        "tests/unit/api/test_api_dicomweb.py",
        "tests/unit/api/test_negotiation.py",
    ),
}


def _of(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{_UNIT}/{folder}/test_{name}.py" for name in names)


CORE.update(
    {
        f"{_COMMON}/jobs/attempt.py": _of("common", "attempt", "leases"),
        f"{_COMMON}/jobs/kind.py": _of("common", "attempt"),
        f"{_COMMON}/jobs/lanes.py": _of("common", "job_lanes"),
        f"{_COMMON}/backoff.py": _of("transmit", "decisions"),
        f"{_TRANSMIT}/sending/job.py": _of("transmit", "job", "delivery"),
        f"{_TRANSMIT}/sending/lane.py": _of("transmit", "lane", "delivery", "job"),
        f"{_TRANSMIT}/sending/suspicion.py": _of("transmit", "faults_of_a_batch", "isolating"),
        f"{_TRANSMIT}/sending/sender.py": _of("transmit", "sender", "delivery"),
        f"{_TRANSMIT}/sending/scu.py": _of("transmit", "scu", "even"),
        f"{_COMMON}/dimse/users/store.py": (
            *_of("transmit", "scu", "even"),
            *_of("common/dimse", "store_user"),
        ),
        f"{_TRANSMIT}/sending/throttle.py": _of("transmit", "scu"),
        f"{_PRINT}/printing/lane.py": _of("print", "press", "print_runs"),
        f"{_PRINT}/printing/print_status.py": _of("print", "press"),
        f"{_PRINT}/planning/plan.py": _of("print", "fitting", "press"),
        f"{_PRINT}/composing/bitmap.py": _of("print", "press", "print_runs"),
        f"{_PRINT}/composing/scaling.py": _of("print", "compose"),
        f"{_COMMON}/objects/quarantine.py": (
            *_of("common", "durable"),
            *_of("ingest", "quarantine"),
        ),
        f"{_COMMON}/objects/store.py": (
            *_of("common", "kept_forms", "durable", "object_store", "store"),
            *_of("ingest", "relay"),
        ),
        f"{_COMMON}/objects/sealed.py": _of("common", "sealed_objects"),
        f"{_COMMON}/objects/keys.py": _of("common", "decisions"),
        f"{_COMMON}/seal.py": _of("common", "seal", "kept_forms"),
        f"{_COMMON}/postgres/migrate.py": (
            *_of("common", "decisions"),
            "tests/integration/common/test_migrating.py",
        ),
        f"{_COMMON}/postgres/phi.py": (
            *_of("common", "kept_forms", "sealed_objects", "settings", "indexed_tags"),
            *_of("api", "api_query"),
        ),
        f"{_COMMON}/dicom/part10.py": _of(
            "common", "kept_forms", "receipt", "walk_edges", "correction"
        ),
        f"{_COMMON}/dicom/inflate.py": _of("common", "inflate"),
        f"{_COMMON}/dicom/correction.py": _of("common", "correction"),
        f"{_COMMON}/messages/batch.py": _of("common", "batch"),
        f"{_COMMON}/amqp/frames.py": _of("common", "frames", "kept_forms"),
        f"{_COMMON}/dimse/wire/command.py": _of("common/dimse", "command", "messages"),
        f"{_COMMON}/dimse/wire/messages.py": _of("common/dimse", "messages"),
        f"{_COMMON}/dimse/wire/association_items.py": (
            *_of("common/dimse", "negotiation"),
            *_of("common", "kept_forms"),
        ),
        f"{_COMMON}/stow/multipart.py": (
            *_of("common/stow", "multipart"),
            *_of("ingest/stow", "entrance"),
        ),
        f"{_INGEST}/receiving/digest.py": _of("ingest", "digest"),
        f"{_INGEST}/door/reports.py": _of("ingest", "reports"),
        f"{_INGEST}/senders/roster.py": _of("ingest", "admission"),
        f"{_INGEST}/answering/identifier.py": _of("ingest", "identifier"),
        f"{_INGEST}/stow/entrance.py": _of("ingest/stow", "entrance"),
        f"{_METADATA}/verification/judgement.py": _of("metadata", "verification_decisions"),
        f"{_METADATA}/indexing/extract.py": _of("metadata", "extract"),
        f"{_METADATA}/indexing/reading.py": _of("metadata", "index_writes", "reading"),
        f"{_METADATA}/indexing/rows.py": _INDEX[2:],
        f"{_API}/accounts/guard.py": (
            *_of("api", "guard"),
            "tests/integration/api/accounts/test_holds.py",
        ),
        f"{_API}/accounts/policy.py": _of("api", "api_password_policy"),
        f"{_API}/accounts/passwords.py": _of("api", "api_passwords"),
        f"{_API}/accounts/totp.py": (
            *_of("api", "api_totp"),
            "tests/integration/api/accounts/test_codes.py",
        ),
        f"{_API}/accounts/client.py": _of("api", "api_client"),
        f"{_API}/audit/entries.py": _of("api", "audit_entries"),
        f"{_API}/studies/turns.py": _of("api", "api_turns"),
        f"{_LICENSING}/decision.py": _of("licensing", "kept_memory", "decision", "licence"),
        f"{_LICENSING}/licence.py": _of("licensing", "kept_memory", "licence"),
        f"{_LICENSING}/document.py": _of("licensing", "document", "decision"),
        f"{_TRANSMIT}/retrieval/decision.py": _of("transmit", "retrieval"),
        f"{_TRANSMIT}/retrieval/priors.py": _of("transmit", "priors"),
        f"{_TRANSMIT}/conversion/deidentify.py": _of("transmit", "pseudonyms", "deidentify"),
        f"{_COMMON}/index/matching/values.py": (
            *_of("api", "api_query"),
            *_of("common", "query", "indexed_tags"),
        ),
        f"{_COMMON}/index/matching/patterns.py": _of("api", "api_query", "api_narrow"),
        f"{_COMMON}/pixels/grayscale.py": (
            *_of("print", "grayscale"),
            *_of("common", "displayed_ranges"),
        ),
        f"{_COMMON}/pixels/window.py": _of("print", "grayscale"),
        f"{_COMMON}/pixels/frame.py": (
            *_of("print", "grayscale"),
            *_of("common", "displayed_ranges"),
        ),
        f"{_COMMON}/lull.py": _of("common", "lull"),
        f"{_COMMON}/http/wire.py": _of("common", "http_wire"),
        f"{_COMMON}/http/door.py": _of("common", "http_door"),
        f"{_COMMON}/dicom/text_elements.py": _of("common", "text_elements"),
        f"{_COMMON}/index/matching/windows.py": _of("common", "windows"),
        f"{_COMMON}/index/answer.py": _of("common", "answer"),
        f"{_INGEST}/orders/mapping.py": _of("ingest/orders", "mapping"),
        f"{_INGEST}/stow/described.py": _of("ingest/stow", "described"),
        f"{_INGEST}/workitems/rules.py": _of("ingest/workitems", "states"),
        f"{_INGEST}/answering/progress.py": _of("ingest", "progress"),
        f"{_INGEST}/answering/retrieving.py": _of("ingest", "retrievals"),
        f"{_INGEST}/answering/move.py": _of("ingest", "retrievals"),
        f"{_INGEST}/answering/find.py": _of("ingest", "finding"),
        f"{_INGEST}/answering/get.py": _of("ingest", "finding"),
        f"{_LOCAL}/stack/rolling.py": _of("local", "rolling"),
        f"{_LOCAL}/recovery/wal.py": _of("local", "wal"),
        f"{_LOCAL}/recovery/shipping.py": _of("local", "wal"),
        f"{_COMMON}/films/fitting.py": _of("print", "fitting"),
    }
)
