"""``tdmq-backup verify``: a thin face on ``pipelines.verify``."""

# Only what runs imports what takes long to load, so that help and completion come at once.
# ruff: noqa: PLC0415

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.commands.runs import StoreUrl, opened
from pipelines.commands.shown import told
from pipelines.commands.where import (
    CosCredentials,
    CosEndpoint,
    CosRegion,
    in_words_of_commands,
    opened_backup,
)

if TYPE_CHECKING:
    from pipelines.options import BackupConfig
    from transforms.pulsar.connection import PulsarConnection

_MOST_WORKERS = 256


def verify(
    url: Annotated[
        str | None,
        typer.Argument(metavar="URL", help="Where the backup is: cos://BUCKET-APPID/PREFIX/ or file:///FOLDER/."),
    ] = None,
    rule: Annotated[
        str | None, typer.Option("--rule", metavar="NAME", help="In the place of URL: the backup that this rule makes.")
    ] = None,
    topic: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this topic, as --topic of the backup; repeatable.")
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every object, and hold its messages against all.")] = False,
    no_heads: Annotated[
        bool, typer.Option("--no-heads", help="Do not ask the store for the CRC64 and metadata of each object.")
    ] = False,
    no_manifests: Annotated[
        bool, typer.Option("--no-manifests", help="The backup was made with --manifest=off: do not miss manifests.")
    ] = False,
    accept_gaps: Annotated[
        bool, typer.Option("--accept-gaps", help="What the broker had deleted before it could be read is no finding.")
    ] = False,
    against_topic: Annotated[
        bool, typer.Option("--against-topic", help="Compare with what the broker holds, message id by message id.")
    ] = False,
    service_url: Annotated[
        str | None, typer.Option(metavar="URL", help="With --against-topic: the broker's address.")
    ] = None,
    admin_url: Annotated[str | None, typer.Option(metavar="URL", help="Its admin REST address.")] = None,
    token: Annotated[
        str | None, typer.Option(metavar="REF", help="Role key by reference: env:NAME or file:PATH.")
    ] = None,
    tls_trust_certs: Annotated[str | None, typer.Option(metavar="PATH", help="Certificates that are trusted.")] = None,
    tls_cert: Annotated[str | None, typer.Option(metavar="PATH", help="Our certificate, for mutual TLS.")] = None,
    tls_key: Annotated[str | None, typer.Option(metavar="PATH", help="Its key.")] = None,
    listener_name: Annotated[str | None, typer.Option(metavar="NAME", help="The broker's advertised listener.")] = None,
    path_template: Annotated[
        str | None, typer.Option(metavar="PATH", help="As the backup had it, where no run record says.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="NAME", help="As the backup had it, where no run record says.")
    ] = None,
    window_by: Annotated[
        Literal["publish_time", "event_time"] | None,
        typer.Option(help="As the backup had it; without it and a run record, either will do."),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, max=_MOST_WORKERS, help="Requests to the store at once.")
    ] = 16,
    show: Annotated[int, typer.Option(metavar="N", min=1, help="So many findings of each kind are shown.")] = 20,
    show_all: Annotated[bool, typer.Option("--all", help="Show all of them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    cos_region: CosRegion = None,
    cos_endpoint: CosEndpoint = None,
    cos_credentials: CosCredentials = "env",
    store: StoreUrl = None,
) -> None:
    """Prove a backup: that it holds every message that its runs have read, once, whole and in its place.

    It only reads. Exit codes: 0 all is proved, 6 something is not, 2 configuration, 3 authentication or permission,
    4 source, 5 destination, 130 interrupted, 143 terminated.

    \b
    tdmq-backup verify cos://backup-1250000000/pulsar/ --cos-region ap-guangzhou
    tdmq-backup verify file:///tmp/backup/ --deep
    tdmq-backup verify file:///tmp/backup/ --against-topic --service-url pulsar://127.0.0.1:6650
    tdmq-backup verify --rule orders --against-topic
    """  # noqa: D301 - it is a backspace that keeps lines apart
    from pipelines import logs, signals

    signals.listen()
    signals.stands(lambda: "while verifying. It only reads; run it again for its result.")
    from pipelines.commands.verify_shown import print_verified, shown, verified_json
    from pipelines.terminal import console, give_out
    from pipelines.verify import NOT_PROVED, Progress, VerifyOptions, verify
    from transforms.errors import ConfigurationError

    logs.set_up("INFO", "text", client=False)
    with told():
        if (url is None) == (rule is None):
            raise ConfigurationError("Give the URL of the backup, or --rule with the rule that makes it.")
        named = bool(topic)
        if rule is not None:
            config = _config_of(rule, store, elsewhere=not against_topic)
            place, layout = config.destination, config.layout
            url, cos_region, cos_endpoint, cos_credentials = place.url, place.region, place.endpoint, place.credentials
            path_template, timezone = path_template or layout.template, timezone or layout.timezone
            topic, no_manifests = topic or list(config.request.topics), no_manifests or not config.manifest
            connection = config.connection if against_topic else None
        else:
            connection = _connection(
                against_topic, service_url, admin_url, token, tls_trust_certs, tls_cert, tls_key, listener_name
            )
        logs.set_up("INFO", "text", client=connection is not None)
        backup = opened_backup(url or "", cos_region, cos_endpoint, cos_credentials)
        options = VerifyOptions(
            topics=_full_names(topic or []),
            named=named,
            heads=not no_heads,
            deep=deep,
            manifests=not no_manifests,
            accept_gaps=accept_gaps,
            template=path_template,
            timezone=timezone,
            window_by=window_by,
            workers=workers,
            keep=None if show_all else show,
            against=connection,
        )
        progress = Progress()
        with in_words_of_commands(), shown(progress, console(stderr=True)):
            found = verify(backup.store, backup.prefix, options, progress)
    code = 0 if found.proved else NOT_PROVED

    def write() -> None:
        if as_json:
            print(verified_json(found, backup.destination.url, options))
        else:
            print_verified(found, backup.destination.url, options, console(piped_width=160))

    with signals.unbroken(code):
        code = give_out(write, done="the backup was verified") or code
        sys.stderr.flush()
    raise typer.Exit(code)


def _config_of(rule: str, store: str | None, *, elsewhere: bool) -> BackupConfig:
    """The job that a rule is; ``elsewhere`` says that its token is not needed here."""
    from pipelines.rules.arguments import check_rule

    return check_rule(opened(store).get(rule).rule, elsewhere=elsewhere)


def _full_names(topics: list[str]) -> tuple[str, ...]:
    if not topics:
        return ()  # without the client, which takes a moment to load
    from transforms.pulsar.client import full_topic_name
    from transforms.pulsar.messages import TopicPartition

    return tuple(TopicPartition.parse(full_topic_name(topic)).topic for topic in topics)


def _connection(
    against_topic: bool,
    service_url: str | None,
    admin_url: str | None,
    token: str | None,
    tls_trust_certs: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    listener_name: str | None,
) -> PulsarConnection | None:
    from transforms.errors import ConfigurationError
    from transforms.pulsar.connection import PulsarConnection

    if not against_topic:
        if service_url or admin_url or token:
            raise ConfigurationError("--service-url, --admin-url and --token are for --against-topic: add it.")
        return None
    if not service_url:
        raise ConfigurationError("--against-topic needs --service-url: the broker with which to compare.")
    connection = PulsarConnection(service_url, admin_url, token, tls_trust_certs, tls_cert, tls_key, listener_name)
    with in_words_of_commands():
        problems = connection.problems()
        if problems:
            raise ConfigurationError(*problems)
    return connection
