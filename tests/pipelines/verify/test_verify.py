"""What is whole is proved, and named by nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.verify import VerifyOptions, verify
from tests.pipelines.verify.stored_backup import Kind, in_bucket, in_folder, write_backup
from transforms.testing.cos_server import CosServer

KINDS = [Kind(), Kind("avro", "snappy", "value"), Kind("jsonl", "gzip", "value"), Kind("jsonl", "zstd", "json")]
DEEP = VerifyOptions(deep=True)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("where", ["bucket", "folder"])
def test_what_is_whole_is_proved_and_named_by_nothing(where: str, kind: Kind, tmp_path: Path) -> None:
    if where == "folder":
        backup = write_backup(in_folder(tmp_path, kind))
        for options in (VerifyOptions(), DEEP):
            assert_proved(verify(backup.store, backup.prefix, options))
        return
    with CosServer(tmp_path) as server:
        backup = write_backup(in_bucket(tmp_path, server, kind))
        for options in (VerifyOptions(), DEEP):
            server.requests.clear()
            found = verify(backup.store, backup.prefix, options)
            assert_proved(found)
            assert {"GET", "HEAD"} >= {name for name in server.requests if name.isupper()}


def assert_proved(found) -> None:
    assert not found.findings.counts
    assert found.proved
    assert (found.records, found.messages) == (2, 3 * 36)
    assert [(each.messages, each.proved) for each in found.stretches] == [(36, True)] * 3
