"""Points in time, sizes, command lines, and references to secrets."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from pipelines.commands.words import with_hyphens, with_underscores
from pipelines.logs import asked_format, cleaned
from pipelines.options import duration, parse_options, size
from pipelines.parser import job_parser
from tests.fuzz.inputs import damaged, json_values, pieces
from tests.fuzz.target import target
from transforms.cos.credentials import Credentials, FileCredentials, parse_credentials
from transforms.errors import ConfigurationError
from transforms.pulsar import wire
from transforms.pulsar.connection import PulsarConnection, read_token
from transforms.pulsar.points import Point, parse_end, parse_start
from transforms.pulsar.positions import Position

POINTS = (
    "earliest",
    "latest",
    "subscription",
    "now",
    ":",
    "-",
    "T",
    "Z",
    "+08:00",
    "2026-11-22",
    "09:45:00",
    ".5",
    " ",
)


@target(pieces(*POINTS))
def starts_and_ends(text: str) -> None:
    for read in (parse_start, parse_end):
        with contextlib.suppress(ConfigurationError):
            point = read(text)
            assert isinstance(point, Point)
            assert str(point)
            if point.message is not None and point.behind is not None:
                assert point.message < point.behind


@target(st.datetimes(timezones=st.timezones()), st.sampled_from("T ~_"))
def dates(moment: Any, between: str) -> None:
    text = moment.isoformat(between)
    with contextlib.suppress(ConfigurationError):
        assert parse_start(text).time == parse_end(text).time


@target(st.builds(Position, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1)))
def positions_as_text(position: Position) -> None:
    assert parse_start(str(position)).message == position
    assert parse_end(str(position)).behind == position.next_message()


@target(pieces("KB", "MB", "GiB", "kib", " ", "B", ".", "-"), st.sampled_from([1, 64_000_000]))
def sizes(text: str, least: int) -> None:
    with contextlib.suppress(ConfigurationError):
        assert size("--x", text, least=least) >= least


@target(pieces("s", "m", "h", "d", " ", ".", "-"))
def durations(text: str) -> None:
    with contextlib.suppress(ConfigurationError):
        assert 1 <= duration("--x", text, least=1, most=86_400) <= 86_400


OPTIONS = sorted(name for action in job_parser()._actions for name in action.option_strings)
VALUES = [
    "pulsar://127.0.0.1:6650", "orders", "cos://backup-1250000000/x/", "file:///tmp/x/", "ap-guangzhou", "env:HOME",
    "avro", "jsonl", "value", "zstd:9", "5m", "500MB", "0", "-1", "2026-11-22T09:45:00Z", "1:2", "1:2:3", "latest",
    "a=b", "DEBUG", "{topic}/", "UTC", "after-upload", "never", "fail", "AES256", "kms:", "STANDARD", "", "--",
    "json", "now", "file:/",
]  # fmt: skip
words = st.one_of(
    st.builds("{}={}".format, st.sampled_from(OPTIONS), st.one_of(st.sampled_from(VALUES), pieces(*VALUES, most=3))),
    st.sampled_from(OPTIONS),
    st.sampled_from(VALUES),
    st.text(max_size=6),
    st.sampled_from(["\udc80", "a\0b", "--runner=FlinkRunner", "--streaming", "--parallelism=x", "--bogus", "-x"]),
)
RIGHT = [
    f"--service_url={VALUES[0]}",
    "--topic=orders",
    f"--destination={VALUES[2]}",
    "--cos_region=ap-guangzhou",
]


@target(st.lists(words, max_size=8), st.booleans())
def command_lines(argv: list[str], mostly_right: bool) -> None:
    argv = [with_underscores(word) for word in ([*RIGHT, *argv] if mostly_right else argv)]
    assert asked_format(argv) in ("text", "json")
    if {"-h", "--help"} & {word.partition("=")[0] for word in argv}:
        return
    try:
        config = parse_options(argv)
    except ConfigurationError as error:
        assert error.problems
        assert all(problem.strip() for problem in error.problems)
    else:
        assert repr(config)


@target(st.text(max_size=200))
def lines_of_a_log(text: str) -> None:
    once = cleaned(text)
    assert cleaned(once) == once
    assert isinstance(with_hyphens(text), str)


references = pieces("env:", "file:", "HOME", "/dev/null", "cvm-role:", "\0", "/", "eyJ", ".", "..", "~")


@target(references)
def references_to_secrets(text: str) -> None:
    for read in (read_token, parse_credentials):
        with contextlib.suppress(ConfigurationError):
            read(text)


key_files = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(st.sampled_from(["COS_SECRET_ID", "COS_SECRET_KEY", "COS_TOKEN", "x"]), json_values).map(
        lambda values: json.dumps(values).encode()
    ),
    pieces("COS_SECRET_ID=", "COS_SECRET_KEY=", "\n", "export ", "{", '"', "#", "﻿", "a").map(
        lambda text: text.encode(errors="surrogatepass")
    ),
    st.sampled_from([b'{"a":' * 100_000, b"{" + b"[" * 100_000]),
)


@target(damaged(key_files))
def credentials_files(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        with contextlib.suppress(ConfigurationError):
            assert isinstance(FileCredentials(Path(file.name)).get(), Credentials)
        with contextlib.suppress(ConfigurationError):
            assert read_token(f"file:{file.name}").strip()


@target(
    pieces("pulsar://", "pulsar+ssl://", "http://", "127.0.0.1", ":6650", ",", "[", "]", "::1", "@", "/", "\0"),
    references,
)
def addresses(url: str, path: str) -> None:
    for each in PulsarConnection(url, admin_url=url, token=path or None, tls_cert=path or None).problems():
        assert each
    with contextlib.suppress(ConfigurationError):
        scheme, hosts = wire._parse(url)
        assert scheme in ("pulsar", "pulsar+ssl")
        assert hosts
