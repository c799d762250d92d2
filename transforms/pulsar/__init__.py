"""The Pulsar source: ``ReadFromPulsar`` for anyone's pipeline, and the batches that the backup reads."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transforms.pulsar.connection import PulsarConnection
    from transforms.pulsar.feeds import ReadSettings
    from transforms.pulsar.messages import MessageBatch, PulsarMessage, Seal, TopicPartition
    from transforms.pulsar.read import ReadFromPulsar
    from transforms.pulsar.source import ReadBatches

__all__ = [
    "MessageBatch",
    "PulsarConnection",
    "PulsarMessage",
    "ReadBatches",
    "ReadFromPulsar",
    "ReadSettings",
    "Seal",
    "TopicPartition",
]
_MODULES = {
    "MessageBatch": "messages",
    "PulsarConnection": "connection",
    "PulsarMessage": "messages",
    "ReadFromPulsar": "read",
    "ReadSettings": "feeds",
    "Seal": "messages",
    "TopicPartition": "messages",
    "ReadBatches": "source",
}


def __getattr__(name: str) -> Any:
    """Import when asked for: the pure modules below need neither Beam nor the client, which take a second to load."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
