"""The Pulsar source: ``ReadFromPulsar`` for anyone's pipeline, and the batches that the backup reads."""

from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.messages import MessageBatch, PulsarMessage, Seal, TopicPartition
from transforms.pulsar.positions import Position
from transforms.pulsar.read import ReadFromPulsar
from transforms.pulsar.source import ReadSettings, read_batches

__all__ = [
    "MessageBatch",
    "Position",
    "PulsarConnection",
    "PulsarMessage",
    "ReadFromPulsar",
    "ReadSettings",
    "Seal",
    "TopicPartition",
    "read_batches",
]
