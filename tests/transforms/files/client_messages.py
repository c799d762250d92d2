"""Messages made by hand that behave as those of pulsar-client do, and strategies that make any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from transforms.pulsar.messages import MessageBatch, TopicPartition

TOPIC = "persistent://tenant/namespace/orders"


@dataclass(frozen=True)
class EncryptionKey:
    """``key`` and ``metadata`` are attributes and ``value`` is a method, as in pulsar-client 3.13."""

    key: str
    encrypted: bytes
    metadata: Mapping[str, str]

    def value(self) -> bytes:
        return self.encrypted


@dataclass(frozen=True)
class EncryptionContext:
    entries: tuple[EncryptionKey, ...]
    parameter: bytes = b"iv"
    batch: int = -1
    failed: bool = True

    def keys(self) -> list[EncryptionKey]:
        return list(self.entries)

    def algorithm(self) -> str:
        return ""

    def param(self) -> bytes:
        return self.parameter

    def compression_type(self) -> Any:
        return SimpleNamespace(name="LZ4")

    def uncompressed_message_size(self) -> int:
        return 75

    def batch_size(self) -> int:
        return self.batch

    def is_decryption_failed(self) -> bool:
        return self.failed


@dataclass
class ClientMessage:
    """Texts are kept as the bytes that came over the wire; an accessor decodes them strictly, as the client does.

    ``calls`` counts the calls of each accessor.
    """

    payload: bytes | None = b""
    key: bytes = b""
    ordering: bytes = b""
    application: Mapping[bytes, bytes] = field(default_factory=dict)
    event: int = 0
    producer: bytes = b"standalone-1-9"
    version: int = -1
    context: EncryptionContext | None = None
    calls: dict[str, int] = field(default_factory=dict)

    def _called(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1

    def data(self) -> bytes:
        self._called("data")
        return self.payload or b""

    def length(self) -> int:
        return len(self.payload or b"")

    def has_null_value(self) -> bool:
        self._called("has_null_value")
        return self.payload is None

    def partition_key(self) -> str:
        self._called("partition_key")
        return self.key.decode()

    def ordering_key(self) -> str:
        self._called("ordering_key")
        return self.ordering.decode()

    def properties(self) -> dict[str, str]:
        self._called("properties")
        return {name.decode(): value.decode() for name, value in sorted(self.application.items())}

    def event_timestamp(self) -> int:
        self._called("event_timestamp")
        return self.event

    def publish_timestamp(self) -> int:
        self._called("publish_timestamp")
        return 0

    def producer_name(self) -> str:
        self._called("producer_name")
        return self.producer.decode()

    def schema_version(self) -> str:
        return "" if self.version < 0 else self.version.to_bytes(8, "big").decode("latin-1")

    def int_schema_version(self) -> int:
        self._called("int_schema_version")
        return self.version

    def encryption_context(self) -> EncryptionContext | None:
        self._called("encryption_context")
        return self.context


# Any Unicode without surrogates, with what JSON and line readers trip over more often than chance has it.
texts = st.one_of(st.text(max_size=20), st.text(alphabet='\0\n\r\u2028\u0085"\\\x7f\ufeff😀a', max_size=8))
wire_texts = st.one_of(texts.map(str.encode), st.binary(max_size=6))
payloads = st.one_of(
    st.none(),
    st.binary(max_size=80),
    texts.map(str.encode),
    st.sampled_from([b"x" * 63, b"x" * 64, b"x" * 4095, b"x" * 4096, b"x" * 9000, b"\xff" * 5000]),
)
contexts = st.builds(
    EncryptionContext,
    entries=st.lists(
        st.builds(EncryptionKey, texts, st.binary(max_size=8), st.dictionaries(texts, texts, max_size=2)),
        max_size=2,
        unique_by=lambda key: key.key,
    ).map(tuple),
    parameter=st.binary(max_size=12),
    batch=st.sampled_from([-1, 1, 500]),
    failed=st.booleans(),
)
messages = st.builds(
    ClientMessage,
    payload=payloads,
    key=st.one_of(st.just(b""), wire_texts, st.just(b"k" * 5000)),
    ordering=st.one_of(st.just(b""), wire_texts),
    application=st.dictionaries(wire_texts, wire_texts, max_size=3),
    event=st.one_of(st.just(0), st.integers(0, 2**64 - 1)),
    producer=st.one_of(st.just(b""), wire_texts),
    version=st.one_of(st.just(-1), st.integers(0, 2**63 - 1)),
    context=st.one_of(st.none(), st.none(), contexts),
)


@st.composite
def batches(draw: st.DrawFn, of: st.SearchStrategy[ClientMessage] = messages) -> MessageBatch:
    """Batches of a few entries, each of a few messages that share publish time, producer, version and encryption."""
    partition = TopicPartition(draw(texts), draw(st.integers(-1, 2**31 - 1)))
    made: list[ClientMessage] = []
    ids: list[tuple[int, int, int]] = []
    times: list[int] = []
    ledger, first_entry = draw(st.integers(0, 2**63 - 1)), draw(st.integers(0, 2**62))
    for entry in range(first_entry, first_entry + draw(st.integers(1, 3))):
        first, *others = draw(st.lists(of, min_size=1, max_size=3))
        start = draw(st.sampled_from([0, 63, 4094, 2**31 - 10])) if others else -1
        time = draw(st.integers(0, 2**63 - 1))
        for place, message in enumerate([first, *others]):
            message.producer, message.version, message.context = first.producer, first.version, first.context
            made.append(message)
            ids.append((ledger, entry, start + place if others else -1))
            times.append(time)
    return MessageBatch.of(partition, made, ids, times, times[0])


def batch_of(*made: ClientMessage, partition: TopicPartition | None = None, entry_size: int = 1) -> MessageBatch:
    """These messages, one ledger, ``entry_size`` of them in each entry."""
    ids = [(7, place // entry_size, place % entry_size if entry_size > 1 else -1) for place in range(len(made))]
    times = [1_763_800_000_000 + entry for _, entry, _ in ids]
    return MessageBatch.of(partition or TopicPartition(TOPIC, 3), list(made), ids, times, times[0])
