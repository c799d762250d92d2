"""What all commands that read a backup are told of where it is."""

from __future__ import annotations

import re
import socket

import pytest

from pipelines.commands.where import opened_backup
from transforms.cos.cos_store import CosStore
from transforms.cos.folder_store import FolderStore
from transforms.errors import ConfigurationError
from transforms.testing.cos_server import TEST_BUCKET


def test_a_backup_is_opened_with_and_without_the_last_slash(tmp_path):
    for url in (f"file://{tmp_path}", f"file://{tmp_path}/"):
        backup = opened_backup(url)
        assert (backup.prefix, type(backup.store)) == ("", FolderStore)
    for url in (f"cos://{TEST_BUCKET}/pulsar", f"cos://{TEST_BUCKET}/pulsar/"):
        backup = opened_backup(url, endpoint="http://127.0.0.1:1")
        assert (backup.prefix, type(backup.store)) == ("pulsar/", CosStore)
    assert opened_backup(f"cos://{TEST_BUCKET}", endpoint="http://127.0.0.1:1").prefix == ""


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("backup", {}, "backup/ is neither cos://"),
        ("cos://test/x", {"region": "ap-guangzhou"}, "cos://test/x/ has no bucket of the form NAME-APPID"),
        (f"cos://{TEST_BUCKET}/x", {}, "--cos-region is missing"),
        (f"cos://{TEST_BUCKET}/x", {"endpoint": "x"}, "--cos-endpoint is not of the form"),
        (f"cos://{TEST_BUCKET}/x", {"endpoint": "http://x", "credentials": "x"}, "--cos-credentials"),
        ("cos://key@test-1/x", {"region": "ap-guangzhou"}, "The URL must not hold a user or a key"),
        ("file:///x", {"region": "ap-guangzhou"}, "file:///x/ is a folder: --cos-region"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_the_command(url, options, said):
    with pytest.raises(ConfigurationError) as caught:
        opened_backup(url, **options)
    assert said in str(caught.value)
    assert "--destination" not in str(caught.value)
    assert "_region" not in str(caught.value)


def test_listing_a_folder_to_read_it_removes_nothing(tmp_path):
    host = re.sub("[^A-Za-z0-9]", "-", socket.gethostname())[:64]
    partial = tmp_path / f".partial-{host}-{2**22 + 1}-{'0' * 8}-{'0' * 32}"
    partial.write_bytes(b"x")
    backup = opened_backup(f"file://{tmp_path}")
    assert list(backup.store.list_keys("")) == []
    assert partial.exists()
    assert list(FolderStore(tmp_path).list_keys("")) == []
    assert not partial.exists()
