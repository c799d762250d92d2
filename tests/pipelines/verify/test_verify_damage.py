"""Whatever is done to a backup is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.verify import VerifyOptions, verify
from tests.pipelines.backups import SECRETS
from tests.pipelines.verify.damage_table import DAMAGES, Damage
from tests.pipelines.verify.stored_backup import Kind, StoredBackup, copied, in_bucket, in_folder, write_backup
from transforms.testing.cos_server import CosServer

#: The places, and what stands there.
BACKUPS = [
    ("bucket", Kind()),
    ("folder", Kind("jsonl", "zstd", "value")),
    ("bucket", Kind("avro", "snappy", "value")),
    ("folder", Kind("jsonl", "none", "json")),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, Kind], Path]]:
    """A whole backup of each kind in each place, to be copied."""
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        for where, kind in BACKUPS:
            folders[where, kind] = folder = tmp_path_factory.mktemp(f"{where}-{kind}")
            if where == "folder":
                write_backup(in_folder(folder, kind))
                continue
            with CosServer(folder) as server:
                write_backup(in_bucket(folder, server, kind))
    yield folders


@pytest.mark.parametrize(
    ("where", "kind", "damage"),
    [
        pytest.param(where, kind, damage, id=f"{damage.what}-{where}-{kind}")
        for damage in DAMAGES
        for place, (where, kind) in enumerate(BACKUPS)
        if damage.happens_to(where, kind) and (place < 2 or len(damage.payloads) < 3 or damage.files)
    ],
)
def test_damage_is_named(where: str, kind: Kind, damage: Damage, whole, tmp_path: Path) -> None:
    folder = copied(whole[where, kind], tmp_path / "copy")
    if where == "folder":
        _assert_named(in_folder(folder, kind), damage)
    else:
        with CosServer(folder) as server:
            _assert_named(in_bucket(folder, server, kind), damage)


def _assert_named(backup: StoredBackup, damage: Damage) -> None:
    expected = list(damage.do(backup))
    for deep in (False, True):
        found = verify(backup.store, backup.prefix, VerifyOptions(deep=deep, keep=None)).findings
        said = {kind: [f"{each.key} {each.what}" for each in found.kept(kind)] for kind in found.counts}
        for kind, about in [*expected, *(damage.deep if deep else ())]:
            assert any(about in each for each in said.get(kind, ())), f"{kind.label} of {about} is not among {said}"
        notes_only = all(kind.note for kind, _ in [*expected, *damage.deep])
        assert notes_only or not (deep or expected) or found.against
