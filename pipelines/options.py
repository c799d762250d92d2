"""The options of the job: read and validated here, once; frozen from then on. ``parser.py`` declares them."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import runner_options
from pipelines.parser import Parser, job_parser
from pipelines.summary import check_summary_file
from transforms.cos.destination import Destination, parse_destination
from transforms.errors import ConfigurationError
from transforms.files.format import FileFormat
from transforms.files.formats import EncoderFactory, make_format
from transforms.files.naming import Layout
from transforms.files.roll import Limits
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.patterns import TopicPattern
from transforms.pulsar.points import parse_end, parse_start
from transforms.pulsar.request import Request, topic_names
from transforms.pulsar.windows import WindowRule

_SIZES = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_LONGEST_WINDOW = 24 * 3600
_LONGEST_RETRY = 24 * 3600
_LEAST_MEMORY = 64 * 10**6
_MOST_MESSAGES = 1_000_000
_MOST_WORKERS = 1_000

LOCAL_RUNNER = "DirectRunner"
CLUSTER_RUNNERS = ("FlinkRunner", "PortableRunner")

T = TypeVar("T")


@dataclass(frozen=True)
class BackupConfig:
    """A backup run, as asked for. Holds references to secrets, never secrets."""

    request: Request
    destination: Destination
    layout: Layout
    windows: WindowRule
    limits: Limits
    file_format: FileFormat
    make_encoder: EncoderFactory
    acknowledge: bool
    memory_budget: int
    summary_file: str | None
    log_level: str
    log_format: str
    check: bool
    runner: str
    streaming: bool
    manifest: bool
    """Whether manifests and a run record are written."""
    discovery_interval: int
    """Seconds between two looks for partitions that were added."""
    beam_args: tuple[str, ...]
    local_workers: int | None = None
    """Processes on this machine, at most; None: as many as there are cores."""
    rule: str | None = None
    """Name of the rule whose run it is."""

    @property
    def on_cluster(self) -> bool:
        """Whether others than this process do the work."""
        return self.runner != LOCAL_RUNNER

    @property
    def connection(self) -> PulsarConnection:
        """How the broker is reached."""
        return self.request.connection


def parse_options(argv: Sequence[str]) -> BackupConfig:
    """Read and check the command line. Raises ConfigurationError with all that is wrong, a sentence each.

    Prints help and raises SystemExit for ``--help``.
    """
    problems = unreadable_words(argv)
    if problems:
        raise ConfigurationError(*problems)
    options, rest = job_parser().parse_known_args(argv)

    def attempt(read: Callable[..., T], *args: Any, **keywords: Any) -> T | None:
        try:
            return read(*args, **keywords)
        except ConfigurationError as error:
            problems.extend(error.problems)
            return None

    problems += attempt(unknown_options, job_parser(), argv, rest, options.runner) or []
    problems += not_offered(job_parser(), options)
    if not options.topic and options.topic_pattern is None:
        problems.append("--topic is missing: name at least one topic; the option may be given several times.")
    pattern = attempt(TopicPattern.parse, options.topic_pattern) if options.topic_pattern is not None else None
    topics = attempt(topic_names, options.topic or ()) or ()
    if not options.service_url:
        problems.append("--service_url is missing: the broker's address, such as pulsar://127.0.0.1:6650.")
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
    problems += _impossible(options, rest)
    start = attempt(parse_start, options.start)
    end = attempt(parse_end, options.end)
    if start and start.word == "subscription" and not options.subscription:
        problems.append("--start=subscription needs --subscription: the one whose place is meant.")
    if start and end and start.time is not None and end.time is not None and start.time >= end.time:
        problems.append(f"--start={options.start} is not before --end={options.end}: there is nothing between them.")
    if start and end and start.message and end.behind and len(topics) == 1 and start.message >= end.behind:
        problems.append(f"--start={options.start} is behind --end={options.end}: there is nothing between them.")
    workers = attempt(_workers, options.local_workers)
    granularity = attempt(duration, "--granularity", options.granularity, least=1, most=_LONGEST_WINDOW)
    disorder = attempt(duration, "--allowed_disorder", options.allowed_disorder, least=0, most=_LONGEST_WINDOW)
    memory = attempt(size, "--memory_budget", options.memory_budget, least=_LEAST_MEMORY)
    file_bytes = attempt(size, "--max_file_bytes", options.max_file_bytes, least=1)
    file_messages = attempt(whole, "--max_file_messages", options.max_file_messages, least=1, most=_MOST_MESSAGES - 1)
    formats = attempt(make_format, options.format, options.codec, options.payload)
    discovery_interval = attempt(duration, "--discovery_interval", options.discovery_interval, least=1, most=24 * 3600)
    retry_deadline = attempt(duration, "--retry_deadline", options.retry_deadline, least=1, most=_LONGEST_RETRY)
    if not options.destination:
        problems.append("--destination is missing: cos://BUCKET-APPID/PREFIX/ or file:///FOLDER/.")
    destination = attempt(
        parse_destination,
        options.destination or "file:///",
        region=options.cos_region,
        endpoint=options.cos_endpoint,
        credentials=options.cos_credentials,
        storage_class=options.storage_class,
        sse=options.server_side_encryption,
        acl=options.acl,
        tags=attempt(_pairs, "--tag", options.tag or ()),
        metadata=attempt(_pairs, "--metadata", options.metadata or ()),
        retry_deadline=retry_deadline or 0,
    )
    layout = attempt(
        Layout,
        prefix=destination.prefix if destination else "",
        template=options.path_template,
        timezone=options.timezone,
        granularity=granularity or 1,
    )
    if layout and topics and destination:
        names = {TopicPartition.parse(topic).topic for topic in topics}
        problems += layout.topic_problems(sorted(names), on_files=destination.folder is not None)
    if options.summary_file is not None:
        attempt(check_summary_file, options.summary_file)
    if problems or not (
        start and end and destination and layout and formats and granularity and memory and file_bytes and file_messages
    ):
        raise ConfigurationError(*problems)
    request = Request(
        connection=connection,
        topics=topics,
        start=start,
        end=end,
        subscription=options.subscription,
        allowed_disorder=(disorder or 0) * 1000,
        continue_trimmed=options.on_trimmed == "continue",
        compacted=options.read_compacted,
        pattern=pattern,
    )
    return BackupConfig(
        request=request,
        destination=destination,
        layout=layout,
        windows=WindowRule(granularity * 1000, (disorder or 0) * 1000, options.window_by == "event_time"),
        limits=Limits(file_messages, file_bytes),
        file_format=formats[0],
        make_encoder=formats[1],
        acknowledge=bool(options.subscription) and options.acknowledge != "never",
        memory_budget=memory,
        summary_file=options.summary_file,
        log_level=options.log_level,
        log_format=options.log_format,
        check=options.check,
        runner=options.runner,
        streaming=options.streaming,
        manifest=options.manifest == "on",
        discovery_interval=discovery_interval or 0,
        beam_args=tuple(rest),
        local_workers=workers,
    )


def not_offered(parser: Parser, options: argparse.Namespace) -> list[str]:
    """Sentences about values that are none of those that an option offers."""
    found = []
    for action in parser._actions:
        value = getattr(options, action.dest, None)
        if action.choices and value is not None and value not in action.choices:
            found.append(f"--{action.dest}={value}: choose one of {', '.join(action.choices)}.")
    return found


def _impossible(options: argparse.Namespace, rest: Sequence[str]) -> list[str]:
    """Sentences about options that do not go together, or not with this version."""
    found = []
    if options.runner not in (LOCAL_RUNNER, *CLUSTER_RUNNERS):
        found.append(f"--runner={options.runner}: choose one of {', '.join((LOCAL_RUNNER, *CLUSTER_RUNNERS))}.")
    elif options.streaming and options.runner == LOCAL_RUNNER:
        found.append(
            "--streaming: needs a runner that keeps state and makes checkpoints, which DirectRunner does not. Add "
            "--runner=FlinkRunner, or leave it out."
        )
    if options.streaming and options.end != "now":
        found.append(f"--end={options.end}: a stream has no end. Leave out --end, or --streaming.")
    if options.streaming and options.read_compacted:
        found.append("--read_compacted: what is compacted changes while a stream goes on. Leave out one of the two.")
    if options.streaming and options.summary_file is not None and not options.check:
        found.append("--summary_file: a stream has no result. Leave it out; Flink's counters tell how far it is.")
    if options.runner in CLUSTER_RUNNERS and options.local_workers is not None:
        found.append(
            f"--local_workers={options.local_workers}: is of runs on this machine. Leave it out; on a cluster "
            "--parallelism=N says how many subtasks share the partitions."
        )
    if options.runner in CLUSTER_RUNNERS:
        found += runner_options.problems(rest, streaming=options.streaming)
    if options.acknowledge == "after-upload" and not options.subscription:
        found.append("--acknowledge=after-upload needs --subscription: the one that is to be moved.")
    if options.read_compacted and options.subscription and options.acknowledge != "never":
        found.append(
            "--read_compacted leaves out all but the last message of a key, and what is not stored may not be "
            "acknowledged. Add --acknowledge=never, or leave out --subscription."
        )
    for name in ("subscription", "listener_name", "summary_file"):
        if getattr(options, name) is not None and not getattr(options, name).strip():
            found.append(f"--{name}: is empty. Give a value, or leave the option out.")
    return found + useless_tls(options)


def useless_tls(options: argparse.Namespace) -> list[str]:
    """Sentences about TLS files where no address is one of TLS."""
    if any((url or "").startswith(("pulsar+ssl://", "https://")) for url in (options.service_url, options.admin_url)):
        return []
    return [
        f"--{name}: is of use with pulsar+ssl:// or https:// only. Write --service_url so, or leave it out."
        for name in ("tls_trust_certs", "tls_cert", "tls_key")
        if getattr(options, name) is not None
    ]


def size(option: str, text: str, *, least: int) -> int:
    """Bytes: a number, alone or with B, KB, MB, GB (powers of 1000), KiB, MiB, GiB (powers of 1024)."""
    found = re.fullmatch(r"(\d{1,15})\s*([a-zA-Z]*)", text)
    unit = _SIZES.get(found[2].upper()) if found else None
    if found is None or unit is None:
        raise ConfigurationError(f"{option}={text}: not a size. Write it as 500MB or 256MiB.")
    value = int(found[1]) * unit
    if value < least:
        raise ConfigurationError(f"{option}={text}: must be at least {least} bytes.")
    return value


def whole(option: str, text: str, *, least: int, most: int) -> int:
    """A whole number."""
    if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise ConfigurationError(f"{option}={text}: must be a whole number from {least} to {most}.")
    return int(text)


def duration(option: str, text: str, *, least: int, most: int) -> int:
    """Seconds: a whole number with s, m or h."""
    found = re.fullmatch(r"(\d{1,9})([smh])", text)
    if found is None:
        raise ConfigurationError(f"{option}={text}: not a duration. Write it as 90s, 5m or 1h.")
    value = int(found[1]) * _SECONDS[found[2]]
    if not least <= value <= most:
        raise ConfigurationError(f"{option}={text}: must be from {least}s to {most // 3600}h.")
    return value


def _workers(text: str | None) -> int | None:
    return None if text is None else whole("--local_workers", text, least=1, most=_MOST_WORKERS)


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` texts as a mapping."""
    pairs = dict(text.partition("=")[::2] for text in texts if "=" in text)
    wrong = [text for text in texts if "=" not in text]
    if wrong:
        raise ConfigurationError(*(f"{option}={text}: write it as KEY=VALUE." for text in wrong))
    return pairs


def unreadable_words(argv: Sequence[str]) -> list[str]:
    """Sentences about words that are no text: Python carries bytes that are not UTF-8 as characters that are none."""
    wrong = [place for place, word in enumerate(argv, 1) if re.search("[\ud800-\udfff\0]", word)]
    return [f"word {place} of the command line is not UTF-8, or holds a zero byte." for place in wrong]


def unknown_options(parser: Parser, argv: Sequence[str], rest: Sequence[str], runner: str) -> list[str]:
    """Sentences about options that neither we nor Beam know. A runner's job server may know more, so Flink's pass."""
    if runner != LOCAL_RUNNER:
        return []
    theirs = Parser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for group in PipelineOptions.__subclasses__():
        if "_add_argparse_args" in vars(group):
            group._add_argparse_args(theirs)
    unknown = theirs.parse_known_args(list(rest))[1]
    known = [name for action in parser._actions for name in action.option_strings]
    problems = []
    for before, word in zip(["", *unknown], unknown, strict=False):
        name = word.partition("=")[0]
        if word.startswith("-"):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else "--help lists the options."
            problems.append(f"{name}: no such option. {hint}")
        elif not before.startswith("-"):
            # Not quoted, here as little as where it is the value of a mistyped option: it may be a secret.
            problems.append(
                f"word {argv.index(word) + 1} of the command line belongs to no option. Quote values that hold blanks."
            )
    return problems
