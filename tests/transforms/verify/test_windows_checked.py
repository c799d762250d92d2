"""Objects come together window by window, however a listing has them."""

from __future__ import annotations

import pytest

from tests.pipelines.verify.many_objects import IN_WINDOW, ManyObjects
from tests.pipelines.verify.stored_backup import Kind, in_folder, write_backup, write_run
from transforms.cos.stored_files import OtherObject
from transforms.verify import windows
from transforms.verify.windows import Window, windows_of


@pytest.mark.parametrize("held", [1, 100, 10_000])
@pytest.mark.parametrize("template", ["{cluster}/{namespace}/{topic}/", "{cluster}/{namespace}/{topic}/hh=%H/"])
def test_a_folder_that_is_too_large_to_be_held_gives_the_same_windows(held, template, monkeypatch):
    monkeypatch.setattr(windows, "HELD", held)
    store = ManyObjects(30, template)
    found = list(windows_of(store, ""))
    assert [each.start for each in found] == sorted(each.start for each in found)
    assert [(len(each.files), len(each.manifests)) for each in found] == [(IN_WINDOW, 1)] * 30


@pytest.mark.parametrize("held", [1, 10_000])
def test_quarantine_and_folders_within_folders_come_with_their_windows(held, monkeypatch, tmp_path):
    monkeypatch.setattr(windows, "HELD", held)
    backup = write_backup(in_folder(tmp_path, Kind("avro", "null", "value")))
    write_run(backup, "run-3", template="{cluster}/{namespace}/{topic}/", granularity=60)
    backup.write("cluster/shop/orders/readme.txt", b"x")
    backup.write("_quarantine/_manifest-x.json", b"x")
    found = list(windows_of(backup.store, ""))
    strangers = [each.key for each in found if isinstance(each, OtherObject)]
    assert strangers == ["_quarantine/_manifest-x.json", "cluster/shop/orders/readme.txt"]
    together = [each for each in found if isinstance(each, Window)]
    assert len({(each.folder, each.start) for each in together}) == len(together)
    assert all(each.manifests and each.files for each in together)
    assert any(file.area for each in together for file in each.files)
    assert sum(len(each.files) for each in together) == len([*backup.keys(), *backup.keys(area="_quarantine/")]) - 2
