"""No object is read that names and manifests rule out, and none is left out that holds what is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.looking.made_backup import GRANULARITY, START, Backup, make_backup
from transforms.cos.folder_store import FolderStore
from transforms.cos.stored_files import StoredFile
from transforms.files.folders import Folders
from transforms.looking.candidates import Candidates, windows_by_event_time
from transforms.looking.records import Reading, Stored
from transforms.looking.selection import Selection, parse_id_range, parse_topic
from transforms.pulsar.points import parse_id
from transforms.pulsar.positions import Position

WINDOW = GRANULARITY * 1000
ORDERS = parse_topic("shop/web/orders")
BY_DAY = "{topic}/{cluster}-{namespace}/%Y%m%d/"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, tuple[FolderStore, Backup]]:
    """Backups of one kind each, and a second topic beside each."""
    found = {}
    for name, options in {
        "usual": {},
        "without manifests": {"manifests": False},
        "event time": {"window_by": "event_time", "shift": 20 * 60 * 1000},
        "by day": {"template": BY_DAY, "kind": ("jsonl", "gzip")},
    }.items():
        store = FolderStore(tmp_path_factory.mktemp("backup"))
        found[name] = store, make_backup(store, "b/", **options)
        make_backup(store, "b/", topic="persistent://shop/web/orders-2", window_by=None, windows=2)
    return found


def look(store: FolderStore, selection: Selection, **options: object) -> tuple[Candidates, list[StoredFile]]:
    template = options.pop("template", None)
    folders = Folders(str(template)) if template else Folders()
    found = Candidates(store, "b/", selection, folders, **options)  # type: ignore[arg-type]
    return found, list(found.files())


def test_a_topic_and_a_partition_are_told_by_names(made):
    store, backup = made["usual"]
    found, files = look(store, Selection((ORDERS,)))
    assert [file.key for file in files] == backup.objects
    # Eight windows of six files and a manifest: of the topic itself, and of nothing else.
    assert (found.listed, found.manifests_read) == (8 * 7, 0)
    for selection in (Selection((ORDERS,), partition=1), Selection((parse_topic("shop/web/orders-partition-1"),))):
        assert [file.key for file in look(store, selection)[1]] == backup.keys_of(partition=1)
    assert len(look(store, Selection())[1]) == 8 * 6 + 2 * 6
    assert look(store, Selection((parse_topic("shop/web/none"),)))[1] == []


@pytest.mark.parametrize("name", ["usual", "without manifests", "by day"])
def test_publish_times_rule_out_windows_and_with_manifests_files(made, name):
    store, backup = made[name]
    template = BY_DAY if name == "by day" else None
    # The second half of the third window, and the first message of the fifth.
    selection = Selection((ORDERS,), since=START + 2 * WINDOW + WINDOW // 2, until=START + 4 * WINDOW)
    found, files = look(store, selection, template=template)
    windows = [backup.keys_of(window=number) for number in (2, 3, 4)]
    if name == "without manifests":
        assert ([file.key for file in files], found.manifests_read) == ([*windows[0], *windows[1], *windows[2]], 0)
    else:
        assert [file.key for file in files] == windows[0][1::2] + windows[1] + windows[2][0::2]
        assert found.manifests_read == 2
    assert len(look(store, selection, template=template, by_names_alone=True)[1]) == 3 * 6


def test_with_windows_of_event_times_only_manifests_tell(made):
    store, backup = made["event time"]
    # Published 20 minutes behind their windows' begin.
    selection = Selection((ORDERS,), since=START + 4 * WINDOW, until=START + 5 * WINDOW - 1)
    found, files = look(store, selection, by_event_time=True)
    assert [file.key for file in files] == backup.keys_of(window=0)
    assert found.manifests_read == 8


def test_the_rule_of_windows_is_that_of_the_topic_that_is_asked_for(tmp_path):
    store = FolderStore(tmp_path)
    clicks, streamed = parse_topic("shop/web/clicks"), parse_topic("shop/web/streamed")
    for number in range(7):
        options = {"topic": clicks.topic, "windows": 1, "partitions": 1, "files": 1, "template": f"{number}{{topic}}/"}
        make_backup(store, "b/", run_id=f"0000000{number}", **options)
    told = {(): False, (ORDERS,): None, (clicks,): False, (streamed,): None, (clicks, streamed): None}
    for topics, rule in told.items():
        assert windows_by_event_time(store, "b/", Selection(topics, since=START)) is rule
    make_backup(store, "b/", windows=1, window_by="event_time", run_id="90000000")
    told = {(): True, (ORDERS,): True, (clicks,): False, (clicks, ORDERS): True, (streamed, ORDERS): True}
    for topics, rule in told.items():
        assert windows_by_event_time(store, "b/", Selection(topics, since=START)) is rule
    # Runs that began before the time that is asked for tell nothing of it; and of many, not all are read.
    later = START + 48 * 3600 * 1000
    assert windows_by_event_time(store, "b/", Selection((ORDERS,), since=later)) is None
    record = next(tmp_path.glob("b/_runs/*-00000000.json"))
    for number in range(100):
        record.with_name(f"20261122T09{number:04}Z-00000000.json").write_bytes(record.read_bytes())
    assert windows_by_event_time(store, "b/", Selection(since=START)) is None


def test_a_damaged_manifest_rules_nothing_out(made, tmp_path, caplog):
    store = FolderStore(tmp_path)
    backup = make_backup(store, "b/", windows=1)
    (manifest,) = tmp_path.rglob("_manifest-*")
    manifest.write_text("{}")
    _, files = look(store, Selection((ORDERS,), until=START))
    assert [file.key for file in files] == backup.objects
    assert "is no manifest" in caplog.text


@pytest.mark.parametrize(
    ("ids", "count"),
    [
        (parse_id("", "5:15"), 3),
        (parse_id("", "5:9:0"), 3),
        (parse_id_range("5:9..5:10:0"), 6),
        (parse_id("", "6:0"), 0),
    ],
)
def test_ids_rule_out_what_lies_elsewhere(made, ids, count):
    store, _ = made["usual"]
    files = look(store, Selection((ORDERS,), ids=ids))[1]
    assert len(files) == count
    assert all(file.name.run.first < ids[1] and file.name.run.last >= ids[0] for file in files)


def test_a_listing_begins_and_ends_near_the_time_that_is_asked_for(tmp_path):
    """A year, of which a day is asked for: two days on each side are listed."""
    store = FolderStore(tmp_path)
    day = 24 * 3600 * 1000
    for number in range(60):
        key = f"b/shop/web/orders/dt=2026-{1 + number // 28:02}-{1 + number % 28:02}/hh=00/x"
        store.put(key, b"", {})
    middle = 1_769_904_000_000 + day  # 2026-02-02
    found, _ = look(store, Selection((ORDERS,), since=middle, until=middle + day))
    assert found.listed <= 7
    assert look(store, Selection((ORDERS,), since=middle), by_event_time=True)[0].listed == 60
    weekly = "{cluster}/{namespace}/{topic}/%a/"
    assert look(store, Selection((ORDERS,), since=middle), template=weekly)[0].listed == 60


def test_a_topic_whose_folders_begin_as_those_of_another_is_found_beside_it(tmp_path):
    store, template = FolderStore(tmp_path), "{cluster}/{namespace}/{topic}-%Y-%m-%d/"
    topics = [f"persistent://shop/web/orders{end}" for end in ("", "-eu", "-2", "-2026-11-23")]
    backups = [
        make_backup(store, "b/", topic=topic, template=template, windows=1, partitions=1, files=1, window_by=None)
        for topic in topics
    ]
    day = 24 * 3600 * 1000
    for topic, backup in zip(topics, backups, strict=True):
        selection = Selection((ORDERS, parse_topic(topic)), since=START - day, until=START + day)
        keys = [file.key for file in look(store, selection, template=template)[1]]
        # Names alone may not tell the two apart from others: their records do.
        assert {*backups[0].objects, *backup.objects} <= set(keys)
        assert keys == sorted(set(keys))


times = st.none() | st.integers(START - WINDOW, START + 10 * WINDOW)
ids = st.none() | st.tuples(st.integers(0, 160), st.integers(1, 30)).map(
    lambda found: (Position(5, found[0]), Position(5, found[0] + found[1]))
)


@pytest.mark.parametrize("name", ["usual", "without manifests", "event time", "by day"])
@given(
    partition=st.none() | st.integers(0, 3),
    since=times,
    until=times,
    ids=ids,
    keys=st.frozensets(st.sampled_from(["customer-0", "customer-3", "other"])),
)
def test_what_is_asked_for_is_found_and_nothing_else(made, name, partition, since, until, ids, keys):
    store, backup = made[name]
    selection = Selection((ORDERS,), partition, since, until, ids, keys)
    template = BY_DAY if name == "by day" else None
    _, files = look(store, selection, template=template, by_event_time=name == "event time")
    hits = list(Reading(selection).hits(Stored(store, file.key, file.size, file.key) for file in files))
    expected = [
        (each.object, each.place)
        for each in sorted(backup.messages, key=lambda each: (each.object, each.place))
        if (partition is None or each.partition == partition)
        and (since is None or each.time >= since)
        and (until is None or each.time <= until)
        and (ids is None or ids[0] <= Position(*each.id) < ids[1])
        and (not keys or each.key in keys)
    ]
    assert [(hit.object.key, hit.place) for hit in hits] == expected
