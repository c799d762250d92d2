"""A destination of any number of objects, made up while it is listed."""

from __future__ import annotations

import resource
import sys
from bisect import bisect_left
from collections.abc import Iterator
from datetime import timedelta

from pipelines.verify import VerifyOptions, verify
from transforms.cos.store import ObjectHead, StoredSize
from transforms.files.manifest import (
    Manifest,
    ManifestFile,
    PartitionRead,
    RunRecord,
    moment,
    parse_manifest_name,
    to_json,
)
from transforms.files.naming import FileName, Layout, StoredRun, parse_name
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import Position

TOPIC = "persistent://cluster/shop/orders"
BEGIN = 1_763_798_400_000
SECONDS, PARTITIONS, FILES, MESSAGES, SIZE = 300, 10, 4, 5_000, 1_000_000
IN_WINDOW = PARTITIONS * FILES
RUN = "run-1"


class ManyObjects:
    """Reads as a store does: ``windows`` windows of 40 files, with manifests and a run record."""

    retries = 0

    def __init__(self, windows: int, template: str = Layout.template) -> None:
        self.windows = windows
        self.layout = Layout(template=template)
        self._folders: list[tuple[str, list[int]]] = []
        for window in range(windows):
            folder = self.layout.folder(TopicPartition(TOPIC, 0), BEGIN + window * SECONDS * 1000)
            if not self._folders or self._folders[-1][0] != folder:
                self._folders.append((folder, []))
            self._folders[-1][1].append(window)

    def list_keys(self, prefix: str) -> Iterator[str]:
        return (each.key for each in self.list_objects(prefix))

    def list_objects(self, prefix: str, after: str = "") -> Iterator[StoredSize]:
        if f"_runs/{RUN}.json".startswith(prefix):
            yield StoredSize(f"_runs/{RUN}.json", 1_000)
        if prefix.startswith("_"):
            return
        at = bisect_left(self._folders, (prefix, [])) if prefix.endswith("/_manifest-") else 0
        for folder, windows in self._folders[max(at - 1, 0) :]:
            if not (folder.startswith(prefix) or prefix.startswith(folder)):
                continue
            for window in windows if not prefix.endswith("_manifest-") else ():
                for name in names(window):
                    yield StoredSize(f"{folder}{name}", SIZE)
            for window in windows:
                yield StoredSize(f"{folder}{self._manifest(window).name}", 1_000)

    def head(self, key: str) -> ObjectHead | None:
        name = parse_name(key.rpartition("/")[2])
        assert name is not None
        metadata = {
            "window": str(name.window),
            "first-message-id": str(name.run.first),
            "last-message-id": str(name.run.last),
            "messages": str(name.run.messages),
            "records-bytes": "1",
            "records-crc64": "1",
        }
        return ObjectHead(SIZE, 0.0, 7, metadata)

    def read(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        if key.startswith("_runs/"):
            yield to_json(self._record())
        else:
            name = parse_manifest_name(key.rpartition("/")[2])
            assert name is not None
            window = (name.window - moment(BEGIN)) // timedelta(seconds=SECONDS)
            manifest = self._manifest(window)
            yield to_json(manifest.model_copy(update={"files": tuple(map(_file, names(window)))}))

    def list_uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        return iter(())

    def _manifest(self, window: int) -> Manifest:
        read = tuple(_read(partition, window + 1) for partition in range(PARTITIONS))
        at = moment(BEGIN + window * SECONDS * 1000)
        return Manifest(
            topic=TOPIC, window=at, granularity=SECONDS, format="avro", number=0, run=RUN, written=at, files=(),
            read=read,
        )  # fmt: skip

    def _record(self) -> RunRecord:
        read = tuple(_read(partition, self.windows) for partition in range(PARTITIONS))
        return RunRecord(
            run=RUN, started=moment(BEGIN), ended=moment(BEGIN), path_template=self.layout.template, timezone="UTC",
            granularity=SECONDS, format="avro", payload="bytes", window_by="publish_time",
            files=self.windows * IN_WINDOW, bytes=1, read=read,
        )  # fmt: skip


def names(window: int) -> Iterator[FileName]:
    for partition in range(PARTITIONS):
        for number in range(FILES):
            first = (window * FILES + number) * MESSAGES
            run = StoredRun(Position(7, first), Position(7, first + MESSAGES - 1), MESSAGES)
            yield FileName(BEGIN + window * SECONDS * 1000, SECONDS, partition, run, "", "avro")


def _file(name: FileName) -> ManifestFile:
    return ManifestFile(
        name=str(name), partition=name.partition, first=name.run.first, last=name.run.last, messages=MESSAGES,
        bytes=SIZE, crc64="7", first_publish_time=name.window, last_publish_time=name.window,
    )  # fmt: skip


def _read(partition: int, windows: int) -> PartitionRead:
    messages = windows * FILES * MESSAGES
    return PartitionRead(
        topic=TOPIC, partition=partition, start=Position(7, 0), stop=Position(7, messages), messages=messages
    )


def main(windows: int, template: str) -> None:
    """Verify so many windows in this process, and say by how many bytes that has made it larger."""
    before = _largest()
    found = verify(ManyObjects(windows, template), "", VerifyOptions(heads=False))  # type: ignore[arg-type]
    assert found.proved
    assert (found.objects, found.windows, found.manifests) == (windows * IN_WINDOW, windows, windows)
    print(_largest() - before)


def _largest() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
