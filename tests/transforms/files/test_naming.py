from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.errors import ConfigurationError
from transforms.files.naming import Layout, StoredRun, parse_name, safe_component, template_problems
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position

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


@pytest.mark.parametrize("name", ["_manifest-1.json", "part.avro", "20261122T094500Z-300s-p0003-1.2-3.4-5.avro", ""])
def test_other_objects_are_no_files_of_messages(name):
    assert parse_name(name) is None


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_from_outside_stay_apart_and_inside_their_folder(one, other):
    def encodable(text: str) -> bool:
        return text.isprintable() or not any(0xD800 <= ord(char) <= 0xDFFF for char in text)

    if not (encodable(one) and encodable(other)):
        return
    parts = [safe_component(each) for each in (one, other)]
    assert (parts[0] == parts[1]) == (one == other)
    assert all("/" not in part and part not in (".", "..") and part.isprintable() and part.isascii() for part in parts)


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
    ],
)
def test_a_wrong_template_is_explained(template, said):
    assert said in " ".join(template_problems(template))
    with pytest.raises(ConfigurationError):
        Layout(template=template)


def test_a_wrong_time_zone_is_explained():
    with pytest.raises(ConfigurationError, match="no such time zone"):
        Layout(timezone="Mars/Olympus")


def test_the_longest_key_is_at_least_as_long_as_any_real_one():
    layout = Layout(prefix="p/")
    topic = "persistent://c/n/" + "ä" * 20
    run = StoredRun(Position(1, 1), Position(2, 2), 5)
    real = layout.file(TopicPartition(topic, 3), "v000001", WINDOW, run, "avro")
    assert len(layout.longest_key([topic]).encode()) >= len(real.encode())
