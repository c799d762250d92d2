"""The options of a restore: read and validated here, once; frozen from then on."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pipelines import runner_options
from pipelines.options import (
    CLUSTER_RUNNERS,
    LOCAL_RUNNER,
    duration,
    not_offered,
    size,
    unknown_options,
    unreadable_words,
    useless_tls,
    whole,
)
from pipelines.restore_parser import restore_parser
from pipelines.summary import check_summary_file
from transforms.cos.destination import Destination, parse_destination
from transforms.errors import ConfigurationError
from transforms.files.naming import template_problems
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.points import Point, parse_end, parse_moment, parse_start
from transforms.pulsar.request import topic_names
from transforms.restore.routing import KeyHash
from transforms.restore.selection import Selection

_LONGEST_RETRY = 24 * 3600
_MOST_PARTITIONS = 100_000
_MOST_MESSAGES = 100_000_000

T = TypeVar("T")


@dataclass(frozen=True)
class RestoreConfig:
    """A restore, as asked for. Holds references to secrets, never secrets."""

    backup: Destination
    connection: PulsarConnection
    selection: Selection
    topic: str | None
    file_format: str | None
    path_template: str | None
    target_topic: str
    create_topic: int | None
    into_source: bool
    append: bool
    routing: Literal["auto", "partition", "key"]
    key_hash: KeyHash
    origin: bool
    with_schemas: bool
    skip_unrestorable: bool
    rate: float | None
    rate_bytes: float | None
    dry_run: bool
    summary_file: str | None
    log_level: str
    log_format: str
    runner: str
    beam_args: tuple[str, ...]

    @property
    def on_cluster(self) -> bool:
        """Whether others than this process do the work."""
        return self.runner != LOCAL_RUNNER

    @property
    def streaming(self) -> bool:
        """A restore has an end."""
        return False


def parse_restore(argv: Sequence[str]) -> RestoreConfig:
    """Read and check the command line. Raises ConfigurationError with all that is wrong, a sentence each.

    Prints help and raises SystemExit for ``--help``.
    """
    problems = unreadable_words(argv)
    if problems:
        raise ConfigurationError(*problems)
    options, rest = restore_parser().parse_known_args(argv)

    def attempt(read: Callable[..., T], *args: Any, **keywords: Any) -> T | None:
        try:
            return read(*args, **keywords)
        except ConfigurationError as error:
            problems.extend(error.problems)
            return None

    def given(read: Callable[..., T], name: str, **keywords: Any) -> T | None:
        """Read an option that may be left out."""
        text = getattr(options, name)
        return None if text is None else attempt(read, f"--{name}", text, **keywords)

    problems += attempt(unknown_options, restore_parser(), argv, rest, options.runner) or []
    problems += not_offered(restore_parser(), options)
    problems += _impossible(options, rest)
    retry_deadline = attempt(duration, "--retry_deadline", options.retry_deadline, least=1, most=_LONGEST_RETRY)
    backup = attempt(_backup, options, retry_deadline or 0)
    topic = given(_topic, "topic")
    target = given(_topic, "target_topic")
    connection = PulsarConnection(
        service_url=options.service_url or "pulsar://",
        admin_url=options.admin_url,
        token=options.token,
        tls_trust_certs=options.tls_trust_certs,
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        listener_name=options.listener_name,
    )
    problems += connection.problems()
    start, end = attempt(_start, options.start), attempt(parse_end, options.end)
    window_start = given(parse_moment, "window_start")
    window_end = given(parse_moment, "window_end")
    problems += _nothing_between(options, start, end, window_start, window_end)
    indexes = [attempt(whole, "--partition", text, least=0, most=_MOST_PARTITIONS) for text in options.partition or ()]
    create = given(whole, "create_topic", least=0, most=_MOST_PARTITIONS)
    rate = given(whole, "rate", least=1, most=_MOST_MESSAGES)
    rate_bytes = given(size, "rate_bytes", least=1)
    if options.path_template is not None:
        problems += template_problems(options.path_template)
    if options.summary_file is not None:
        attempt(check_summary_file, options.summary_file)
    if problems or not (backup and start and end and target):
        raise ConfigurationError(*problems)
    selection = Selection(
        start=start,
        end=end,
        partitions=frozenset(each for each in indexes if each is not None) if indexes else None,
        keys=frozenset(options.key) if options.key else None,
        window_start=window_start,
        window_end=window_end,
    )
    return RestoreConfig(
        backup=backup,
        connection=connection,
        selection=selection,
        topic=topic,
        file_format=options.format,
        path_template=options.path_template,
        target_topic=target,
        create_topic=create,
        into_source=options.into_source,
        append=options.append,
        routing=options.routing,
        key_hash=options.key_hash,
        origin=not options.no_origin,
        with_schemas=options.schemas == "recorded",
        skip_unrestorable=options.on_unrestorable == "skip",
        rate=rate,
        rate_bytes=rate_bytes,
        dry_run=options.dry_run,
        summary_file=options.summary_file,
        log_level=options.log_level,
        log_format=options.log_format,
        runner=options.runner,
        beam_args=tuple(rest),
    )


def _backup(options: argparse.Namespace, retry_deadline: int) -> Destination:
    if not options.backup:
        raise ConfigurationError("--backup is missing: cos://BUCKET-APPID/PREFIX/ or file:///FOLDER/.")
    try:
        return parse_destination(
            options.backup,
            region=options.cos_region,
            endpoint=options.cos_endpoint,
            credentials=options.cos_credentials,
            retry_deadline=retry_deadline,
        )
    except ConfigurationError as error:
        raise ConfigurationError(*(each.replace("--destination", "--backup") for each in error.problems)) from None


def _topic(option: str, text: str) -> str:
    try:
        (name,) = topic_names([text])
    except ConfigurationError as error:
        raise ConfigurationError(*(each.replace("--topic=", f"{option}=") for each in error.problems)) from None
    if TopicPartition.parse(name).index >= 0:
        raise ConfigurationError(
            f"{option}={text}: is one partition. Give the topic; --partition chooses one that is to be restored."
        )
    return name


def _start(text: str) -> Point:
    if text in ("latest", "subscription"):
        raise ConfigurationError(f"--start={text}: a backup has none. Give earliest, a time, or a message id.")
    return parse_start(text)


def _nothing_between(
    options: argparse.Namespace, start: Point | None, end: Point | None, first: int | None, last: int | None
) -> list[str]:
    found = []
    if start and end:
        by_time = start.time is not None and end.time is not None and start.time >= end.time
        by_id = start.message is not None and end.behind is not None and start.message >= end.behind
        if by_time or by_id:
            found.append(f"--start={options.start} is not before --end={options.end}: there is nothing between them.")
        if (start.message is not None or end.behind is not None) and len(options.partition or ()) != 1:
            found.append(
                "--start or --end is a message id, which names a place in one partition: give that one as --partition."
            )
    if first is not None and last is not None and first >= last:
        found.append(
            f"--window_start={options.window_start} is not before --window_end={options.window_end}: no window starts "
            "between them."
        )
    return found


def _impossible(options: argparse.Namespace, rest: Sequence[str]) -> list[str]:
    """Sentences about options that are missing, empty, or do not go together."""
    found = []
    if not options.service_url:
        found.append("--service_url is missing: the broker's address, such as pulsar://127.0.0.1:6650.")
    if options.target_topic is None:
        found.append("--target_topic is missing: the topic into which messages are sent.")
    if options.format not in (None, "avro", "jsonl"):
        found.append(f"--format={options.format} is unknown: choose one of avro, jsonl.")
    if options.create_topic is not None and options.admin_url is None:
        found.append("--create_topic needs --admin_url: topics are created by admin REST only.")
    if options.runner not in (LOCAL_RUNNER, *CLUSTER_RUNNERS):
        found.append(f"--runner={options.runner}: choose one of {', '.join((LOCAL_RUNNER, *CLUSTER_RUNNERS))}.")
    elif options.runner in CLUSTER_RUNNERS:
        found += runner_options.problems(rest, streaming=False)
    found += [
        f"--{name}: is empty. Give a value, or leave the option out."
        for name in ("listener_name", "summary_file", "topic", "target_topic")
        if getattr(options, name) is not None and not getattr(options, name).strip()
    ]
    if any("--streaming" in word.partition("=")[0] for word in rest):
        found.append("--streaming: a restore has an end. Leave it out.")
    return found + useless_tls(options)
