"""What a runner's console shows of writing; the names are documented in the README, and a contract."""

from __future__ import annotations

import time

from apache_beam.metrics import Metrics

from transforms.cos.written import WrittenFile

NAMESPACE = "tdmq_backup"


class WriteMetrics:
    """Counters and distributions of one worker. Distributions, for Flink does not show Beam's gauges."""

    def __init__(self) -> None:
        self._files = Metrics.counter(NAMESPACE, "files_written")
        self._bytes = Metrics.counter(NAMESPACE, "bytes_written")
        self._parts = Metrics.counter(NAMESPACE, "parts_spooled")
        self._retries = Metrics.counter(NAMESPACE, "requests_tried_again")
        self._stored = Metrics.counter(NAMESPACE, "messages_already_stored")
        self._quarantined = Metrics.counter(NAMESPACE, "messages_quarantined")
        self._file_messages = Metrics.distribution(NAMESPACE, "file_messages")
        self._file_bytes = Metrics.distribution(NAMESPACE, "file_bytes")
        self._upload = Metrics.distribution(NAMESPACE, "upload_ms")
        self._age = Metrics.distribution(NAMESPACE, "publish_to_upload_ms")
        self._retries_known = 0

    def took(self, *, stored: int, quarantined: int) -> None:
        """Messages came, of which the destination held ``stored`` already."""
        if stored:
            self._stored.inc(stored)
        if quarantined:
            self._quarantined.inc(quarantined)

    def spooled(self) -> None:
        """A part of a large file is on its way."""
        self._parts.inc()

    def tried_again(self, in_all: int) -> int:
        """So many requests were tried again since the store was opened; gives how many of them are new."""
        new, self._retries_known = in_all - self._retries_known, in_all
        if new:
            self._retries.inc(new)
        return new

    def wrote(self, file: WrittenFile, seconds: float) -> None:
        """A file stands complete; its upload took ``seconds``."""
        self._files.inc()
        self._bytes.inc(file.bytes)
        self._file_messages.update(file.messages)
        self._file_bytes.update(file.bytes)
        self._upload.update(int(seconds * 1000))
        # Of the oldest message in it.
        self._age.update(max(int(time.time() * 1000) - file.first_time, 0))
