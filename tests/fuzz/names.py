"""Names of objects, of topics and of destinations."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.inputs import pieces, topics
from tests.fuzz.target import target
from transforms.cos.destination import open_store, parse_destination
from transforms.errors import ConfigurationError, DestinationError
from transforms.files.naming import Layout, StoredRun, parse_name, parse_part
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.request import topic_names
from transforms.pulsar.windows import MAX_TIME

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
