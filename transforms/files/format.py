"""What a file format is to the rest of the job: records encoded one by one, then framed into blocks.

Two steps, because a file is cut by the count and the bytes of its *uncompressed* records, which must not depend
on batches, bundles or retries. Encoding happens next to the reader; framing and compressing when a file is
assembled. A file is ``header + block + block + …``; a block is a whole Avro block, gzip member, zstd frame or
run of lines, and depends on nothing but its records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from transforms.files.pieces import Body, Pieces
from transforms.pulsar.messages import MessageBatch


@dataclass(slots=True)
class EncodedRecords:
    """Records of consecutive messages for one kind of file.

    ``lane`` tells files of one (window, partition) apart that must not mix: ``""`` usually, ``"v000003"`` for schema
    version 3 with ``--payload=value``, ``"quarantine"`` for messages that do not fit their schema. ``header`` is what
    the file starts with. ``indexes`` are the places of the records in the batch they came from; None means all of it.
    """

    lane: str
    header: bytes
    records: list[Body]
    indexes: list[int] | None = None

    @property
    def data(self) -> bytes:
        """The records one behind the other: a copy."""
        return b"".join(map(bytes, self.records))

    @property
    def lengths(self) -> list[int]:
        """Bytes of each record."""
        return list(map(len, self.records))


class RecordEncoder(Protocol):
    """Encodes the messages of a batch; made on the worker, used by one thread."""

    def encode(self, batch: MessageBatch) -> list[EncodedRecords]:
        """Encode every message exactly once, each lane in the order of the batch.

        Never drops a message: what cannot be encoded as asked goes into the lane ``"quarantine"``.
        """
        ...


class FileFormat(Protocol):
    """How blocks are framed, and the end of a file's name. Picklable, immutable."""

    extension: str
    """Without the leading dot, such as ``avro`` or ``jsonl.gz``."""

    def block(self, records: Pieces, count: int) -> Pieces:
        """Frame and compress ``count`` encoded records. A pure function: equal records give equal bytes.

        Thread-safe; compression releases the GIL. Without compression the result holds views of the records.
        """
        ...
