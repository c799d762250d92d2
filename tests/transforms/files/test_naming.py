from __future__ import annotations

import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.errors import ConfigurationError
from transforms.files.naming import (
    DEFAULT_PATH,
    Layout,
    PartName,
    StoredRun,
    parse_name,
    parse_part,
    safe_component,
    template_problems,
)
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.windows import MAX_TIME

MINUTE = 60_000
positions = st.builds(Position, *[st.integers(0, 2**63 - 1)] * 2, st.integers(0, 10**6 - 1))
#: 2026-11-22T09:45:00Z
WINDOW = 1_795_340_700_000


def test_the_name_is_that_of_the_design():
    layout = Layout(prefix="backup/")
    run = StoredRun(Position(12345, 42, 17), Position(12347, 3, 2), 5000)
    partition = TopicPartition("persistent://pulsar-x/ns/orders", 3)
    assert layout.file(partition, "", WINDOW, run, "avro") == (
        "backup/pulsar-x/ns/orders/dt=2026-11-22/hh=09/20261122T094500Z-300s-p0003-"
        "000000012345.000000000042.000017-000000012347.000000000003.000002-005000.avro"
    )
    assert layout.file(partition, "v000003", WINDOW, run, "avro").endswith("000002-v000003-005000.avro")
    quarantined = layout.file(partition, "quarantine", WINDOW, run, "avro")
    assert quarantined.startswith("backup/_quarantine/pulsar-x/ns/orders/")


def test_the_folder_is_in_the_asked_time_zone_and_the_name_in_utc():
    layout = Layout(timezone="Asia/Shanghai")
    run = StoredRun(Position(1, 1), Position(1, 1), 1)
    key = layout.file(TopicPartition("persistent://c/n/t"), "", WINDOW, run, "avro")
    assert "/hh=17/20261122T094500Z-" in key


@given(
    st.integers(0, 4 * 10**9).map(lambda seconds: seconds * 1000),
    st.integers(1, 86400),
    st.integers(0, 9999),
    positions,
    positions,
    st.integers(1, 10**7),
    st.sampled_from(["", "v000000", "v123456", "vnone"]),
    st.sampled_from(["avro", "jsonl", "jsonl.gz", "jsonl.zst"]),
)
def test_a_name_reads_back_as_it_was_written(window, granularity, partition, first, last, count, version, extension):
    layout = Layout(granularity=granularity)
    run = StoredRun(first, last, count)
    key = layout.file(TopicPartition("persistent://c/n/t", partition), version, window, run, extension)
    name = parse_name(key.rpartition("/")[2])
    assert name is not None
    assert (name.window, name.granularity, name.partition, name.run) == (window, granularity, partition, run)
    assert (name.version, name.extension, name.format) == (version, extension, extension.partition(".")[0])


ids = st.builds(Position, st.integers(0, 10**12 - 1), st.integers(0, 10**12 - 1), st.integers(0, 10**6 - 1))


@given(ids, ids)
def test_the_order_of_names_is_the_order_of_messages(one, other):
    layout, partition = Layout(), TopicPartition("persistent://c/n/t", 0)
    keys = [layout.file(partition, "", WINDOW, StoredRun(each, each, 1), "avro") for each in (one, other)]
    assert (keys[0] < keys[1]) == (one < other)


@pytest.mark.parametrize(
    "name",
    [
        "_manifest-1.json",
        "part.avro",
        "20261122T094500Z-300s-p0003-1.2-3.4-5.avro",
        "20261399T999999Z-300s-p0003-1.2.3-3.4.5-5.avro",
        "\u0662\u066061122T094500Z-300s-p0003-1.2.3-3.4.5-5.avro",
        "",
    ],
)
def test_other_objects_are_no_files_of_messages(name):
    assert parse_name(name) is None


#: What a topic may be called: Pulsar bars hardly anything. Names that are hard on keys come often.
local_names = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.text("aA._-%/ \\:2eE\x00é", min_size=1, max_size=8),
    st.sampled_from(
        [".", "..", "_spool", "_quarantine", "%2e%2e", "..%2f", "a.", "CON", "e\u0301", "\u00e9", "-partition-1"]
    ),
)
outer_names = st.one_of(
    st.text("abAB-=:._1", min_size=1, max_size=8), st.sampled_from([".", "..", "_spool", "_quarantine"])
)
topics = st.builds("persistent://{}/{}/{}".format, outer_names, outer_names, local_names)
partitions = st.one_of(st.builds(TopicPartition, topics, st.integers(0, 9)), topics.map(TopicPartition.parse))
lanes = st.sampled_from(["", "v000001", "quarantine"])
windows = st.integers(0, MAX_TIME // 300_000).map(lambda number: number * 300_000)
layouts = st.builds(
    Layout,
    prefix=st.sampled_from(["", "backup/"]),
    template=st.sampled_from([DEFAULT_PATH, "{cluster}/{namespace}/{topic}/", "%Y/{topic}/{namespace}-x/{tenant}/"]),
    timezone=st.sampled_from(["UTC", "Asia/Shanghai", "America/Los_Angeles"]),
    case_blind=st.booleans(),
)


def seen_by_a_case_blind_folder(key: str) -> str:
    """Two names that such a file system takes for one give the same."""
    return unicodedata.normalize("NFC", key).casefold()


@given(layouts, partitions, lanes, windows, ids, ids)
def test_whatever_a_topic_is_called_its_files_stay_below_the_prefix(layout, partition, lane, window, first, last):
    run = StoredRun(first, last, 7)
    for key in (
        layout.file(partition, lane, window, run, "avro"),
        layout.part(partition, lane, window, first, 3, "avro"),
    ):
        rest = key.removeprefix(layout.prefix)
        assert key == layout.prefix + rest
        folders = rest.split("/")
        assert rest.isascii() and rest.isprintable() and not set(rest) & set(' \\:*?"<>|')
        assert not [name for name in folders if name in ("", ".", "..") or name[0] == "." or name[-1] == "."]
        own = [name for name in folders if name.startswith("_")]
        assert own == ([] if rest[0] != "_" else folders[:1]) and set(own) <= {"_spool", "_quarantine"}
    parsed = parse_name(layout.file(partition, lane, window, run, "avro").rpartition("/")[2])
    assert (
        parsed is not None
        and parsed.run == run
        and (parsed.window, parsed.partition)
        == (
            window,
            max(partition.index, 0),
        )
    )


@given(layouts, partitions, partitions, lanes, lanes, windows, windows, ids, ids)
def test_different_files_have_different_keys_and_none_is_a_folder_of_another(
    layout, one, other, lane, other_lane, window, other_window, first, last
):
    run = StoredRun(min(first, last), max(first, last), 7)
    files = [(one, lane, window), (other, other_lane, other_window)]
    keys = [layout.file(partition, lane, window, run, "avro") for partition, lane, window in files]
    parts = [layout.part(partition, lane, window, first, 1, "jsonl") for partition, lane, window in files]
    if layout.case_blind:
        keys, parts = [[seen_by_a_case_blind_folder(key) for key in each] for each in (keys, parts)]
    told_apart = not list(layout.clashes([one, other]))
    if told_apart:
        assert (keys[0] == keys[1]) == (files[0] == files[1])
        assert (parts[0] == parts[1]) == (files[0] == files[1])
    assert told_apart or (one.topic == other.topic and {one.index, other.index} == {-1, 0})
    everything = {*keys, *parts}
    assert not [(key, outer) for key in everything for outer in everything if key.startswith(f"{outer}/")]


@given(local_names, local_names)
def test_names_from_outside_stay_apart(one, other):
    for case_blind in (False, True):
        parts = [safe_component(each, case_blind=case_blind) for each in (one, other)]
        seen = [seen_by_a_case_blind_folder(part) for part in parts] if case_blind else parts
        assert (seen[0] == seen[1]) == (one == other)
        assert unquote(parts[0]) == one


def test_where_case_is_not_told_topics_that_differ_in_it_only_stay_apart():
    folders = [
        Layout(case_blind=True, template="{topic}/").folder(TopicPartition(f"persistent://c/n/{name}"), WINDOW)
        for name in ("Orders", "orders", "ORDERS", "%4Frders")
    ]
    assert folders == ["%4Frders/", "orders/", "%4F%52%44%45%52%53/", "%254%46rders/"]
    assert len({folder.casefold() for folder in folders}) == 4


def test_a_topic_whose_name_looks_like_a_date_directive_is_kept_as_it_is():
    key = Layout(template="{topic}/%Y/").folder(TopicPartition("persistent://c/n/%Y{namespace}..%2F"), WINDOW)
    assert key == "%25Y%7Bnamespace%7D..%252F/2026/"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{topic}", "must end with /"),
        ("/{topic}/", "must not begin with /"),
        ("{topic}//%Y/", "nor hold //"),
        ("{topic}/../x/", "must not hold . or .."),
        ("{topik}/", "no placeholder {topik}"),
        ("{topic}/%Q/", "no date directive %Q"),
        ("{topic}/%/", "no date directive %/"),
        ("%Y/", "must hold {topic}"),
        ("{topic}/}/", "a brace stands alone"),
        ("{topic}/\n/", "cannot be printed"),
        ("_spool/{topic}/", "must not begin with _"),
    ],
)
def test_a_wrong_template_is_explained(template, said):
    assert said in " ".join(template_problems(template))
    with pytest.raises(ConfigurationError):
        Layout(template=template)


def test_a_wrong_time_zone_is_explained():
    with pytest.raises(ConfigurationError, match="no such time zone"):
        Layout(timezone="Mars/Olympus")


@pytest.mark.parametrize(
    ("topic", "on_files", "said"),
    [
        ("x" * 300, True, "would be 300 bytes long"),
        ("x" * 300, False, None),
        ("ä" * 43, True, "would be 258 bytes long"),
        ("ä" * 42, True, None),
        ("x" * 800, False, "and COS takes 850"),
        ("x" * 600, False, None),
    ],
)
def test_names_that_are_too_long_are_refused_before_the_start(topic, on_files, said):
    problems = list(Layout(prefix="p/").topic_problems([f"persistent://c/n/{topic}"], on_files=on_files))
    assert len(problems) == (said is not None)
    assert said is None or said in problems[0]


@pytest.mark.parametrize("topic", ["orders", "ä" * 20])
def test_the_bound_on_keys_is_at_least_as_long_as_any_real_one(topic):
    layout = Layout(prefix="p/")
    partition = TopicPartition(f"persistent://c/n/{topic}", 3)
    run = StoredRun(Position(1, 1), Position(2, 2), 5)
    bound = max(len(key.encode()) for key in layout._longest_keys([partition.topic]))
    for lane in ("", "v000001", "quarantine"):
        assert len(layout.file(partition, lane, WINDOW, run, "jsonl.zst").encode()) <= bound


@pytest.mark.parametrize(
    ("template", "topics", "clash"),
    [
        ("{topic}/", ["a/n/orders", "b/n/orders"], True),
        ("{namespace}-{topic}/", ["a/n/x-y", "a/n-x/y"], True),
        (DEFAULT_PATH, ["a/n/orders", "a/n/Orders", "b/n/orders"], False),
    ],
)
def test_topics_that_would_share_files_are_refused(template, topics, clash):
    problems = list(
        Layout(template=template).topic_problems([f"persistent://{each}" for each in topics], on_files=False)
    )
    assert bool(problems) == clash
    assert not clash or "into the same files" in problems[0]


def test_a_partition_and_a_topic_without_partitions_of_the_same_name_are_refused():
    assert list(Layout().clashes([TopicPartition("persistent://a/b/c"), TopicPartition("persistent://a/b/c", 0)]))


@pytest.mark.parametrize(
    ("name", "topic", "index"),
    [
        ("persistent://t/n/x-partition-3", "x", 3),
        ("persistent://t/n/x-partition-0", "x", 0),
        ("persistent://t/n/x-partition-03", "x-partition-03", -1),
        ("persistent://t/n/x-partition-", "x-partition-", -1),
        ("persistent://t/n/-partition-3", "-partition-3", -1),
        ("persistent://t/n/x-partition-2147483648", "x-partition-2147483648", -1),
        ("persistent://t/n/x-partition-1-partition-2", "x-partition-1", 2),
    ],
)
def test_a_partition_is_read_from_a_name_as_pulsar_reads_it(name, topic, index):
    partition = TopicPartition.parse(name)
    assert partition == TopicPartition(f"persistent://t/n/{topic}", index)
    assert partition.name == name


@given(
    st.builds(
        PartName,
        window=st.integers(0, 4_102_444_800).map(lambda seconds: seconds * 1000),
        granularity=st.integers(1, 86_400),
        partition=st.integers(0, 20_000),
        first=st.builds(Position, *[st.integers(0, 2**63 - 1)] * 2, st.integers(0, 10**7)),
        lane=st.sampled_from(["", "quarantine", "vnone", "v000003", "v1234567"]),
        format=st.sampled_from(["avro", "jsonl"]),
        number=st.integers(0, 10**6),
    )
)
def test_the_name_of_a_part_is_read_back_and_is_no_name_of_a_file(part):
    assert parse_part(str(part)) == part
    assert parse_name(str(part)) is None
