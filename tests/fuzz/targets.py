"""What reads things from outside, each with inputs that are nearly right, wrong and absurd.

A target may raise what its contract names, and nothing else.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import fastavro
import orjson
from fastavro.read import LOGICAL_READERS
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cli import with_hyphens, with_underscores
from pipelines.logs import asked_format, cleaned
from pipelines.options import duration, parse_options, size
from pipelines.parser import job_parser
from tests.transforms.files.client_messages import ClientMessage, batch_of, messages, wire_texts
from tests.transforms.files.values import FixedSchemas, json_rows
from tests.transforms.pulsar.protobuf_fields import assert_read_back
from transforms.cos.credentials import Credentials, FileCredentials, parse_credentials
from transforms.cos.destination import open_store, parse_destination
from transforms.errors import ConfigurationError, DestinationError
from transforms.files.avro_primitives import MisfitError
from transforms.files.content import Content, content_of
from transforms.files.formats import make_format
from transforms.files.naming import Layout, StoredRun, parse_name, parse_part
from transforms.files.records import Records, SealMark, decode_element, encode_element
from transforms.files.roll import OpenFile, PartitionFiles
from transforms.files.state import decode_state, encode_state
from transforms.pulsar import ends, entries, wire
from transforms.pulsar.connection import PulsarConnection, read_token
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.points import Point, parse_end, parse_start
from transforms.pulsar.positions import Position
from transforms.pulsar.protobuf import Fields, ProtocolError, encode
from transforms.pulsar.resolve import topic_names
from transforms.pulsar.restriction import PartitionRange, PartitionRangeCoder, ReadRange, ReadRangeCoder
from transforms.pulsar.schemas import TYPE_NAMES, TopicSchema
from transforms.pulsar.windows import MAX_TIME, WindowState


@dataclass
class Target:
    """A function, and what it is called with."""

    function: Callable[..., None]
    inputs: tuple[st.SearchStrategy[Any], ...]
    calls: int = field(default=0)

    def test(self) -> Callable[[], None]:
        """A new test of hypothesis; ``calls`` counts on."""

        def counted(values: tuple[Any, ...]) -> None:
            self.calls += 1
            self.function(*values)

        counted.__name__ = counted.__qualname__ = self.function.__name__
        return given(st.tuples(*self.inputs))(counted)


TARGETS: dict[str, Target] = {}


def target(*inputs: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def add(function: Callable[..., None]) -> Callable[..., None]:
        TARGETS[function.__name__] = Target(function, inputs)
        return function

    return add


def pieces(*words: str, most: int = 6) -> st.SearchStrategy[str]:
    """Texts of these words, of numbers and of anything."""
    numbers = st.one_of(st.integers(0, 70), st.integers(0, 2**70), st.sampled_from(["٣", "²", "00", "+1", "-1", "1e3"]))
    part = st.one_of(st.sampled_from(words), st.sampled_from(words), numbers.map(str), st.text(max_size=3))
    return st.lists(part, max_size=most).map("".join)


@st.composite
def damaged(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that were right, with some changed, and cut or grown at the end."""
    content = bytearray(draw(contents))
    for _ in range(draw(st.integers(0, 4))):
        if content:
            content[draw(st.integers(0, len(content) - 1))] = draw(
                st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 34, 91, 123])
            )
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content) + draw(
        st.binary(max_size=4)
    )


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
long_ids = st.integers(-(2**63), 2**63 - 1)
positions = st.builds(Position, long_ids, long_ids, st.integers(0, 10**6))
topics = st.builds(
    "persistent://{}/{}/{}".format, wire_texts.filter(bool).map(repr), st.just("n"), pieces("a", "/", "%")
)


# Points in time and in topics, as a person writes them.

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


# Names.

TEMPLATE = (
    "{topic}",
    "{namespace}",
    "{cluster}",
    "{tenant}",
    "/",
    "..",
    ".",
    "%",
    "%Y",
    "%m",
    "%%",
    "{",
    "}",
    "_",
    "x",
    "é",
)
#: Zones that there are, and texts that must not be taken for paths.
ZONES = st.one_of(
    st.sampled_from(["UTC", "Asia/Shanghai", "Pacific/Kiritimati", "../UTC", "/etc/passwd", "", "posix", "Asia", "\0"]),
    pieces("Asia", "/", "UTC", "..", "\\"),
)
windows = st.integers(0, MAX_TIME // 1000).map(lambda second: second * 1000)


@target(pieces(*TEMPLATE), ZONES, pieces("orders", "%Y", "..", "{topic}", "_"), windows)
def templates(template: str, zone: str, name: str, window: int) -> None:
    with contextlib.suppress(ConfigurationError):
        layout = Layout("p/", template, zone)
        partition = TopicPartition(f"persistent://c/n/{name or 'x'}", 1)
        assert list(layout.topic_problems([partition.topic], on_files=True)) is not None
        folders = layout.folder(partition, window).split("/")
        assert folders[0] == "p"
        assert folders[-1] == ""
        assert not {"", ".", ".."} & set(folders[1:-1]), template


STAMPS = (
    "20261122T094500Z",
    "20261399T999999Z",
    "99999999T000000Z",
    "-300s",
    "-p0003",
    "-",
    "1.2.3",
    ".avro",
    "v000003",
)
names = st.one_of(
    pieces(*STAMPS, ".", "vnone", ".jsonl", ".gz", most=12),
    st.builds(
        "{}T{}Z-{}s-p{}-{}.{}.{}-{}.{}.{}-{}.avro".format,
        st.from_regex(r"\d{8}", fullmatch=True),
        st.from_regex(r"\d{6}", fullmatch=True),
        *[st.from_regex(r"\d{1,30}", fullmatch=True)] * 9,
    ),
    st.builds(
        "{}T{}Z-{}s-p{}-{}.{}.{}-{}-{}.part{}".format,
        st.from_regex(r"\d{8}", fullmatch=True),
        st.from_regex(r"\d{6}", fullmatch=True),
        *[st.from_regex(r"\d{1,30}", fullmatch=True)] * 5,
        st.sampled_from(["main", "quarantine", "v1", "vnone"]),
        st.sampled_from(["avro", "jsonl"]),
        st.from_regex(r"\d{1,8}", fullmatch=True),
    ),
)


@target(names)
def names_of_objects(name: str) -> None:
    found = parse_name(name)
    if found is not None:
        assert parse_name(str(found)) == found
    part = parse_part(name)
    if part is not None:
        assert parse_part(str(part)) == part


@target(st.one_of(topics, pieces("persistent://", "non-persistent://", "a", "/", "-partition-", "..", ":")))
def topic_names_and_keys(text: str) -> None:
    try:
        (topic,) = topic_names([text])
    except ConfigurationError:
        return
    partition = TopicPartition.parse(topic)
    assert partition.name == topic
    layout = Layout("p/")
    key = layout.file(partition, "", 0, StoredRun(Position(1, 1), Position(1, 2), 2), "avro")
    assert len(key.split("/")) == 7
    assert parse_name(key.rpartition("/")[2]) is not None


URLS = ("cos://", "file://", "backup-1250000000", "/", "..", "%2e%2e", "@", "?", "#", "x", "\n", "%00", ":", "//", "é")


@target(
    pieces(*URLS), st.one_of(st.none(), pieces("http://", "127.0.0.1", ":", "@", "[", "]", "/")), pieces("ap-", "x")
)
def destinations(url: str, endpoint: str | None, region: str) -> None:
    with contextlib.suppress(ConfigurationError):
        destination = parse_destination(url, endpoint=endpoint, region=region or None)
        assert destination.prefix == "" or destination.prefix.endswith("/")
        assert ".." not in destination.prefix.split("/")


@target(st.text(max_size=12), pieces("/", "..", ".", "x", "\0", "\\", ".partial-h-1-00000000-" + "0" * 32))
def keys_of_a_folder(text: str, key: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inside, outside = Path(folder, "in"), Path(folder, "out")
        outside.mkdir()
        store = open_store(parse_destination(f"file://{inside}/"))
        with contextlib.suppress(DestinationError):
            store.put(key, text.encode(errors="replace"), {})
            assert list(store.list_keys("")) == [key]
        assert sorted(os.listdir(folder)) in (["in", "out"], ["out"])
        assert os.listdir(outside) == []


# The command line.

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


# Secrets by reference.

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


# The broker's protocol.

protobuf_fields = st.dictionaries(
    st.integers(1, 40), st.one_of(st.integers(0, 2**64 - 1), st.text(max_size=6), st.binary(max_size=12)), max_size=6
)
protobufs = st.recursive(
    protobuf_fields.map(encode),
    lambda inner: st.dictionaries(st.integers(1, 40), inner, max_size=3).map(encode),
    max_leaves=4,
)


@target(protobuf_fields)
def protobuf_written_and_read(fields: dict[int, Any]) -> None:
    assert_read_back(fields)


@target(st.one_of(damaged(protobufs), st.binary(max_size=40)))
def protobuf_from_anyone(content: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        fields = Fields(content)
        for number in range(1, 12):
            assert fields.number(number) >= 0
            assert isinstance(fields.text(number), str)
            ends.entry_of(fields, number)


frames = st.builds(
    lambda kind, fields, tail: (
        (command := encode({1: kind, kind: encode(fields)}))
        and (4 + len(command) + len(tail)).to_bytes(4, "big") + len(command).to_bytes(4, "big") + command + tail
    ),
    st.sampled_from([int(kind) for kind in wire.Kind]),
    protobuf_fields,
    st.binary(max_size=8),
)


@target(st.one_of(damaged(st.lists(frames, max_size=3).map(b"".join)), st.just(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
def frames_from_a_broker(content: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(content)
        theirs.shutdown(socket.SHUT_WR)
        connection = wire.Connection(ours, timeout=5)
        with contextlib.suppress(OSError, ProtocolError, wire.ServerRefusal):
            connection.request(wire.Kind.CONNECT, {1: "x"})
            connection.message()


@target(st.builds(
    lambda before, checksum, metadata, payload: (
        before + checksum + len(metadata).to_bytes(4, "big") + metadata + payload
    ),
    st.sampled_from([b"", b"\x0e\x02\0\0\0\x02\x08\x01", b"\x0e\x02\xff\xff\xff\xff"]),
    st.sampled_from([b"", b"\x0e\x01abcd"]),
    damaged(protobufs),
    st.binary(max_size=8),
).flatmap(lambda content: damaged(st.just(content))))  # fmt: skip
def entries_as_stored(content: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        entry = entries._entry(Position(1, 2), content)
        assert entry.messages >= 1
        assert entry.chunks >= 1


# What waits in a runner's state.


@st.composite
def records(draw: st.DrawFn) -> Records:
    rows = draw(
        st.lists(st.tuples(long_ids, long_ids, st.integers(-1, 9), long_ids, st.binary(max_size=5)), min_size=1)
    )
    ids, times, data = [row[:3] for row in rows], [row[3] for row in rows], [row[4] for row in rows]
    lane, header = draw(st.text(max_size=5)), draw(st.binary(max_size=9))
    return Records.of(draw(long_ids), lane, header, ids, times, [len(each) for each in data], b"".join(data))


elements = st.one_of(records(), st.builds(SealMark, long_ids, st.builds(Position, long_ids, long_ids, long_ids)))


@target(elements)
def elements_written_and_read(element: Any) -> None:
    assert decode_element(encode_element(element)) == element


@target(damaged(elements.map(encode_element)))
def elements_damaged(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert encode_element(decode_element(content)) == content


counts = st.integers(0, 2**63 - 1)
open_files = st.builds(
    OpenFile, counts, st.text(max_size=5), st.binary(max_size=9), positions, positions, counts, counts, counts, counts,
    counts, st.binary(max_size=9), counts, counts, counts, st.lists(st.text(max_size=5), max_size=3).map(tuple),
)  # fmt: skip
states = st.builds(
    PartitionFiles,
    st.lists(open_files, max_size=3).map(lambda files: {(file.window, file.lane): file for file in files}),
    counts, counts, counts, counts, st.one_of(st.none(), positions), st.one_of(st.none(), positions),
)  # fmt: skip


@target(states)
def states_written_and_read(state: PartitionFiles) -> None:
    assert decode_state(encode_state(state)) == state


@target(st.one_of(damaged(states.map(encode_state)), json_values.map(lambda value: json.dumps(value).encode())))
def states_damaged(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode_state(content)


partitions = st.builds(TopicPartition, topics, st.integers(-1, 2**31 - 1))
window_states = st.builds(WindowState, counts, counts, st.lists(counts, max_size=4).map(tuple))


@target(
    st.builds(PartitionRange, partitions, positions, positions),
    st.builds(ReadRange, positions, positions, st.one_of(st.none(), positions), window_states),
)
def restrictions_written_and_read(one: PartitionRange, other: ReadRange) -> None:
    assert PartitionRangeCoder().decode(PartitionRangeCoder().encode(one)) == one
    assert ReadRangeCoder().decode(ReadRangeCoder().encode(other)) == other


# Payloads under the schemas of topics, and what readers make of the files.

NAMES = ("value", "Person", "a.b.C", "PulsarMessage", "tdmq.backup.Encryption", "", "1x", "é")
avro_schemas = st.recursive(
    st.sampled_from([
        "null", "boolean", "int", "long", "float", "double", "bytes", "string", "Person", "nonsense",
        {"type": "fixed", "name": "F", "size": 3}, {"type": "fixed", "name": "F", "size": -1},
        {"type": "enum", "name": "E", "symbols": ["A", "B"]}, {"type": "long", "logicalType": "date"},
        {"type": "bytes", "logicalType": "decimal", "precision": 4},
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": "x"},
        {"type": "string", "logicalType": "uuid"}, {"type": "record"}, {}, [], None, 7,
    ]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.fixed_dictionaries({"type": st.just("map"), "values": inner}),
        st.builds(
            lambda name, kinds, default: {
                "type": "record",
                "name": name,
                "fields": [{"name": f"f{at}", "type": kind, **default} for at, kind in enumerate(kinds)],
            },
            st.sampled_from(NAMES),
            st.lists(inner, max_size=3),
            st.one_of(st.just({}), json_values.map(lambda value: {"default": value})),
        ),
    ),
    max_leaves=6,
)  # fmt: skip
definitions = st.one_of(avro_schemas.map(lambda schema: json.dumps(schema).encode()), st.binary(max_size=20))
kinds = st.one_of(st.sampled_from(["AVRO", "JSON"]), st.sampled_from([*TYPE_NAMES.values(), "type 99"]))
key_values = st.builds(
    lambda one, other: b"".join(len(each).to_bytes(4, "big") + each for each in (one, other)), definitions, definitions
)
properties = st.dictionaries(
    st.sampled_from(["key.schema.type", "value.schema.type", "kv.encoding.type", "key.schema.name"]),
    st.one_of(kinds, st.sampled_from(["INLINE", "SEPARATED", ""])),
)
schemas = st.one_of(
    st.builds(TopicSchema, kinds, definitions, st.none()),
    st.builds(TopicSchema, st.just("KEY_VALUE"), damaged(key_values), st.one_of(st.none(), properties)),
)
payloads = st.one_of(
    st.binary(max_size=40),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"", b"[" * 3000, b'{"a":' * 3000, b"\xff" * 12, b"\x80" * 12, b"1e999", b"NaN", b"\x02" * 30]),
)


@target(schemas, payloads)
def payloads_under_any_schema(schema: TopicSchema, payload: bytes) -> None:
    content = content_of(schema)
    if isinstance(content, str):
        assert content
        return
    assert isinstance(content, Content)
    batch = batch_of(ClientMessage(payload=payload, version=0), ClientMessage(payload=None, version=0))
    for name in ("avro", "jsonl"):
        file_format, make_encoder = make_format(name, "null" if name == "avro" else "none", "value")
        for encoded in make_encoder(FixedSchemas({0: schema})).encode(batch):
            assert sum(encoded.lengths) == len(encoded.data)
            if name == "jsonl":
                json_rows(encoded)
                continue
            whole = encoded.header + file_format.block(encoded.data, len(encoded.lengths))
            assert len(list(fastavro.reader(io.BytesIO(whole)))) == len(encoded.lengths)


@target(avro_schemas, payloads)
def values_that_do_not_fit(schema: Any, payload: bytes) -> None:
    for kind in ("AVRO", "JSON"):
        content = content_of(TopicSchema(kind, json.dumps(schema).encode()))
        if isinstance(content, Content):
            part = content.fields[0].part
            with contextlib.suppress(MisfitError):
                part.to_avro(payload)
            with contextlib.suppress(MisfitError):
                part.to_json("value", payload)


@target(st.lists(messages, min_size=1, max_size=4), st.sampled_from(["avro", "jsonl", "json"]))
def messages_of_any_kind(made: list[ClientMessage], form: str) -> None:
    name, payload = ("jsonl", "json") if form == "json" else (form, "bytes")
    file_format, make_encoder = make_format(name, "null" if name == "avro" else "none", payload)
    (encoded,) = make_encoder().encode(batch_of(*made))
    whole = encoded.header + file_format.block(encoded.data, len(encoded.lengths))
    if name == "avro":
        # Times beyond the year 9999 are stored as they are, and are no dates to fastavro.
        with mock.patch.dict(LOGICAL_READERS):
            LOGICAL_READERS.pop("long-timestamp-millis")
            rows = list(fastavro.reader(io.BytesIO(whole)))
    else:
        rows = list(map(orjson.loads, whole.splitlines()))
    assert len(rows) == len(made)
