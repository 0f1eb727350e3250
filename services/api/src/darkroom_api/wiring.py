"""How the api is put together."""

import asyncio
import gc
import socket
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final

from limits import parse

from darkroom_api.accounts.accounts import Accounts
from darkroom_api.accounts.guard import Guard
from darkroom_api.accounts.passwords import Passwords
from darkroom_api.accounts.tokens import AccessTokens
from darkroom_api.accounts.totp import SecondFactor
from darkroom_api.app import VIEWS, create_app
from darkroom_api.atna.forwarding import Forwarding, TlsWire, tls_context
from darkroom_api.audit.anchor import AnchorFile
from darkroom_api.audit.chain import Chain, Witness
from darkroom_api.audit.entries import AuditKeys
from darkroom_api.audit.expiry import Expiry
from darkroom_api.audit.log import AuditLog
from darkroom_api.audit.recorder import ReadRecorder, Recorder
from darkroom_api.audit.reported import Reported
from darkroom_api.audit.verification import Verification
from darkroom_api.dead_letters.keeping import DeadLetters
from darkroom_api.desk.measures import Measures
from darkroom_api.dicomweb import metadata
from darkroom_api.dicomweb.retrieving import parsing
from darkroom_api.dicomweb.storing.handover import Handover
from darkroom_api.dicomweb.workitems.news import ReportNews
from darkroom_api.edge import flags
from darkroom_api.edge.edge import Edge
from darkroom_api.events.hub import Hub
from darkroom_api.exports.selection import selection
from darkroom_api.http import deadline
from darkroom_api.http.handlers import refusal
from darkroom_api.http.middleware import RequestScope
from darkroom_api.http.parts import Parts
from darkroom_api.jobs.accepted import AcceptedCommands
from darkroom_api.licence.standing import Standings
from darkroom_api.oidc.provider import open_provider
from darkroom_api.own_jobs import open_own_jobs
from darkroom_api.preparation import Preparation
from darkroom_api.rates.classes import Class
from darkroom_api.rates.flow import Flow
from darkroom_api.rates.limits import RateLimits
from darkroom_api.rates.storage import PostgresStorage
from darkroom_api.rendering import rendering
from darkroom_api.rendering.cache import Cache, memory_of
from darkroom_api.settings import ApiSettings
from darkroom_api.studies.examinations import Examinations
from darkroom_api.studies.turns import Turns
from darkroom_api.validation import validating
from darkroom_api.worklist.dose_reports import DoseReports
from darkroom_api.worklist.following import StepsFollowed
from darkroom_common.amqp.rabbitmq import open_broker
from darkroom_common.clock import SYSTEM_CLOCK
from darkroom_common.dimse.tls import TlsServer
from darkroom_common.errors import ConfigurationError
from darkroom_common.http.limits import Limits
from darkroom_common.http.server import HttpServer, Leaving, listen
from darkroom_common.index.compatibility import check_index
from darkroom_common.index.objects import frame_places
from darkroom_common.index.reader import IndexReader
from darkroom_common.links.inherited import is_held
from darkroom_common.objects.store import open_store
from darkroom_common.postgres.outbox import Outbox
from darkroom_common.postgres.phi import BlindIndex, PhiKeys, decode_key
from darkroom_common.postgres.pool import Database, open_database
from darkroom_common.seal import Seal
from darkroom_common.service import Service
from darkroom_common.settings_in_force import tell_settings
from darkroom_common.siblings import Several, Word
from darkroom_common.stow.handover import Proof
from darkroom_common.topology import API_AUDIT, API_LICENCE, API_REFUSALS, API_STEPS
from darkroom_common.uids import Uids
from darkroom_common.workers.pool import open_workers

SEARCHES_OF_A_USER: Final = 2
READY_SECONDS: Final = 30.0
"""After which it says itself what is not well."""


def rate_limits(database: Database, settings: ApiSettings) -> RateLimits:
    """Return what counts requests, with the limits of the settings."""
    limits = {
        Class.DEFAULT: settings.limit_default,
        Class.EXPORTS: settings.limit_exports,
        Class.BULK: settings.limit_bulk,
        Class.ANONYMOUS: settings.limit_anonymous,
        Class.LOGIN: settings.limit_login,
    }
    return RateLimits(
        PostgresStorage(database),
        {kind: parse(text) for kind, text in limits.items()},
        SYSTEM_CLOCK,
    )


async def run(service: Service, settings: ApiSettings) -> None:
    """Answer requests until stopped; then finish those that are open."""
    flags.say_what_is_off(settings)
    store = open_store(settings.store_url)
    keys = PhiKeys.parse(settings.phi_keys.get_secret_value())
    blind = BlindIndex(
        decode_key(settings.blind_index_key.get_secret_value(), setting="BLIND_INDEX_KEY")
    )
    audit_keys = AuditKeys(
        PhiKeys.parse(settings.audit_keys.get_secret_value(), setting="AUDIT_KEYS")
    )
    pseudonym_key = decode_key(settings.pseudonym_key.get_secret_value(), setting="PSEUDONYM_KEY")
    rendered, kept_metadata = _caches(service, settings)
    tls = open_tls(service, settings)
    inner = None if settings.inner_tls is None else settings.inner_tls.client()
    share = _whole if service.sibling is None else service.sibling.share
    proof = Proof(pseudonym_key, SYSTEM_CLOCK)
    jwt_key = decode_key(settings.jwt_key.get_secret_value(), setting="JWT_KEY")
    async with (
        open_database(
            settings.postgres_url.get_secret_value(),
            service="api",
            size=settings.database_connections,
            seconds=deadline.SECONDS,
        ) as database,
        open_broker(settings.amqp_url.get_secret_value(), service="api") as broker,
        open_provider(settings, Seal(keys), SYSTEM_CLOCK) as provider,
    ):
        audit = AuditLog(audit_keys, Seal(keys), SYSTEM_CLOCK)
        reads = ReadRecorder(database, audit)
        anchor = None if settings.audit_anchor is None else AnchorFile(settings.audit_anchor)
        chain = Chain(database, audit_keys, SYSTEM_CLOCK, anchor, handed=lambda: audit.handed)
        retention = timedelta(days=settings.audit_retention_days)
        expiry = Expiry(database, audit_keys, audit, SYSTEM_CLOCK, retention)
        outbox, commands = Outbox("api"), AcceptedCommands(database, VIEWS)
        accounts = Accounts(database, Passwords(), SecondFactor(Seal(keys), SYSTEM_CLOCK))
        tokens = AccessTokens(jwt_key, SYSTEM_CLOCK, settings.jwt_algorithm)
        rates = rate_limits(database, settings)
        flow = Flow(rates, share(settings.limit_at_once), parse(settings.limit_dicomweb_bytes))
        dead_letters = DeadLetters(database, broker)
        tidies = (accounts.forget_expired, rates.storage.forget_ended, dead_letters.forget_ended)
        hub = Hub(database, settings.event_listeners, settings.event_listeners_of_a_user)
        report_news = ReportNews(database)
        preparation = Preparation(database, accounts, settings.admin_password, tidies)
        service.health.add("postgres", database.check)
        service.health.add("rabbitmq", broker.check, needed=False)  # reading works without
        service.health.add("store", store.check)
        service.health.add("schema", preparation.check)
        service.health.add("index", lambda: check_index(database))
        reader = IndexReader(database, keys=keys, blind=blind)
        async with (
            open_workers(
                parsing.MODULE,
                str(parsing.MEMORY),
                settings.store_url,
                processes=settings.parse_processes,
                longest=parsing.LONGEST,
            ) as workers,
            open_workers(
                rendering.MODULE,
                str(settings.render_memory),
                settings.store_url,
                processes=share(settings.render_processes),
            ) as renderers,
            open_workers(
                validating.MODULE,
                str(validating.MEMORY),
                settings.store_url,
                processes=validating.PROCESSES,
                longest=validating.LONGEST,
            ) as validators,
            open_own_jobs(
                settings,
                outbox=outbox,
                select=selection(reader, Examinations(keys, blind), database),
                exams=Examinations(keys, blind),
                audit=audit,
            ) as own,
        ):
            parts = Parts(
                settings=settings,
                health=service.health,
                reader=reader,
                store=store,
                accounts=accounts,
                tokens=tokens,
                guard=Guard(tokens, accounts, SYSTEM_CLOCK, _word(service)),
                broker=broker,
                database=database,
                outbox=outbox,
                seal=Seal(keys),
                keys=keys,
                blind=blind,
                audit=audit,
                recorder=Recorder(database, audit),
                reads=reads,
                verification=Verification(database, audit_keys, Seal(keys), anchor),
                handover=Handover(
                    settings.ingest_stow_host, settings.ingest_stow_port, proof, inner
                ),
                parsing=(
                    finding := parsing.Parsing(
                        store,
                        workers,
                        partial(frame_places, database),
                        processes=settings.parse_processes,
                    )
                ),
                rendering=rendering.Rendering(
                    renderers,
                    rendered,
                    processes=share(settings.render_processes),
                    places=finding.places,
                ),
                kept_metadata=kept_metadata,
                validating=validating.Validating(validators),
                # Half of the pool is for all else: signing in, jobs, the objects of a viewer.
                searches=Turns(max(1, settings.database_connections // 2), SEARCHES_OF_A_USER),
                rates=rates,
                flow=flow,
                open_door=flags.OpenDoor(),
                dead_letters=dead_letters,
                own=own,
                hub=hub,
                report_news=report_news,
                provider=provider,
                uids=Uids(settings.uid_root or "", SYSTEM_CLOCK),
            )
            server = HttpServer(
                "api",
                RequestScope(create_app(parts), Edge.of(settings)),
                limits=Limits(
                    connections=share(settings.http_connections),
                    connections_per_address=share(settings.http_connections_per_address),
                ),
                unlimited=settings.trusted_proxies,
                refusal=refusal,
            )
            server.leaving = Leaving(
                lambda: service.is_handed_over, service.told_to_end, service.hand_over_seconds
            )
            standings = Standings(database, own.mail, settings.mail_operators)
            # What stays for good is no longer looked through: that stopped answers for 70 ms.
            gc.collect()
            gc.freeze()
            async with asyncio.TaskGroup() as tasks:
                # Outside of `background`: after SIGTERM it finishes what is open.
                serving = tasks.create_task(_serve(server, service, settings, tls))
                async with service.background(
                    tell_settings(service.name, settings, broker),
                    preparation.run(),
                    preparation.then(partial(outbox.run, database, broker)),
                    preparation.then(partial(broker.consume, API_REFUSALS, commands.refuse)),
                    preparation.then(commands.tidy),
                    preparation.then(flow.run),
                    preparation.then(reads.run),
                    preparation.then(dead_letters.collect),
                    preparation.then(dead_letters.run),
                    preparation.then(Measures(database, broker, parts.measured).run),
                    preparation.then(chain.run),
                    preparation.then(Witness(database, audit).run),
                    preparation.then(
                        partial(broker.consume, API_AUDIT, Reported(database, audit).take)
                    ),
                    *_following_steps(parts, preparation),
                    preparation.then(expiry.run),
                    preparation.then(partial(broker.consume, API_LICENCE, standings.handle)),
                    preparation.then(own.run),
                    preparation.then(own.tidy),
                    preparation.then(partial(own.notice, broker)),
                    preparation.then(partial(own.recording.run, broker)),
                    preparation.then(hub.run),
                    preparation.then(report_news.run),
                    *(preparation.then(one.run) for one in forwarding(settings, database, keys)),
                ):
                    await service.run_until_stopped()
                    if service.is_handed_over:  # what requests leave to be done is done as ever
                        await asyncio.wait({serving})
            await reads.settle()


def several(settings: ApiSettings) -> Several:
    """Return in how many processes it runs, and what they share."""
    memories = tuple(map(memory_of, (settings.render_cache_bytes, metadata.KEPT)))
    return Several(settings.http_processes, settings.http_host, settings.http_port, memories)


def _caches(service: Service, settings: ApiSettings) -> tuple[Cache, Cache]:
    """Return what keeps rendered images, and what keeps metadata."""
    memories = () if service.sibling is None else service.sibling.memories
    return (
        Cache("rendered", settings.render_cache_bytes, *memories[:1]),
        Cache("metadata", metadata.KEPT, *memories[1:]),
    )


def _following_steps(parts: Parts, preparation: Preparation) -> Iterator[Coroutine[Any, Any, None]]:
    """Yield what takes what modalities tell of their steps, and what makes dose reports of it."""
    reports, minutes = None, parts.settings.dose_report_minutes
    if minutes is not None:
        reports = DoseReports(
            parts.database,
            parts.reader,
            parts.seal,
            parts.rendering,
            parts.handover,
            parts.audit,
            parts.uids,
            SYSTEM_CLOCK,
            timedelta(minutes=minutes),
        )
        preparation.tidies.append(reports.forget)
        yield preparation.then(reports.run)
    exams = Examinations(parts.keys, parts.blind)
    take = StepsFollowed(parts.database, exams, reports).take
    yield preparation.then(partial(parts.broker.consume, API_STEPS, take))


def _whole(of_all: int) -> int:
    return of_all


async def _serve(
    server: HttpServer, service: Service, settings: ApiSettings, tls: TlsServer | None
) -> None:
    """Serve until stopped; not before all is ready, where another may be serving the port."""
    if is_held(settings.http_port):
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                await service.ready()
    listener = _listener(service, settings)
    await server.serve(listener, service.stopping, grace=settings.drain_seconds, tls=tls)


def _listener(service: Service, settings: ApiSettings) -> socket.socket:
    """Return where requests come in.

    Raises:
        ConfigurationError: the port is taken.
    """
    if service.sibling is None:
        return listen(settings.http_host, settings.http_port)
    return service.sibling.listener


def open_tls(service: Service, settings: ApiSettings) -> TlsServer | None:
    """Return what HTTPS needs, or None where a proxy has it.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    if settings.http_tls is None:
        return None
    tls = TlsServer(settings.http_tls)
    if tls.context is None:
        raise ConfigurationError(f"HTTP_TLS: {tls.trouble}")
    service.health.add("https", tls.check, needed=False)  # the older one is still good
    return tls


def _word(service: Service) -> Word:
    sibling = service.sibling
    return Word() if sibling is None else Word(sibling.memory, sibling.number)


def forwarding(settings: ApiSettings, database: Database, keys: PhiKeys) -> list[Forwarding]:
    """Return what sends the audit log to a repository, if there is one.

    Raises:
        ConfigurationError: a certificate cannot be used.
    """
    if settings.atna_repository is None:
        return []
    host, _, port = settings.atna_repository.partition(":")
    context = tls_context(
        settings.atna_ca, settings.atna_certificate, settings.atna_key, strict=settings.tls_strict
    )
    wire = TlsWire(host, int(port), context)
    where, name = settings.atna_repository, settings.atna_source
    return [Forwarding(database, Seal(keys), wire, repository=where, name=name)]
