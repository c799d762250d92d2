"""What stands below a prefix is told apart by its names."""

from __future__ import annotations

from transforms.cos.folder_store import FolderStore
from transforms.cos.stored_files import OtherObject, StoredFile, stored_objects
from transforms.files.naming import Layout, StoredRun
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position

PARTITION = TopicPartition("persistent://t/ns/orders", 2)
RUN = StoredRun(Position(1, 2, 3), Position(1, 3, 0), 9)


def test_objects_are_told_apart_by_name(tmp_path):
    layout = Layout("b/")
    key = layout.file(PARTITION, "", 1_763_800_200_000, RUN, "avro")
    quarantined = layout.file(PARTITION, "quarantine", 1_763_800_200_000, RUN, "avro")
    part = layout.part(PARTITION, "", 1_763_800_200_000, RUN.first, 0, "avro")
    folder = layout.folder(PARTITION, 1_763_800_200_000).removeprefix("b/")
    other = [f"b/{folder}_manifest-1.json", "b/_runs/1.json", part, "b/notes.txt", key.replace("-000009", "-9")]
    store = FolderStore(tmp_path)
    for each in (key, quarantined, *other, "elsewhere/x"):
        store.put(each, b"12345", {})
    found = list(stored_objects(store, "b/"))
    assert [each.key for each in found] == sorted([key, quarantined, *other])
    files = [each for each in found if isinstance(each, StoredFile)]
    assert [(each.area, each.folder, each.name.run, each.size) for each in files] == [
        ("_quarantine/", folder, RUN, 5),
        ("", folder, RUN, 5),
    ]
    rest = {(each.area, each.folder, each.base) for each in found if isinstance(each, OtherObject)}
    assert rest == {
        ("", folder, "_manifest-1.json"),
        ("_runs/", "", "1.json"),
        ("_spool/", folder, part.rpartition("/")[2]),
        ("", "", "notes.txt"),
        ("", folder, key.rpartition("/")[2].replace("-000009", "-9")),
    }
    assert [each.key for each in stored_objects(store, "b/", folder)] == [
        each.key for each in found if each.key.startswith(f"b/{folder}")
    ]
