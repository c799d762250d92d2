"""From the options ``--format``, ``--codec`` and ``--payload`` to a format and its encoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

from transforms.errors import ConfigurationError
from transforms.files.avro import AvroFormat
from transforms.files.avro_encoder import AvroEncoder
from transforms.files.codecs import codec_of
from transforms.files.format import FileFormat, RecordEncoder
from transforms.files.jsonl import JsonLinesFormat
from transforms.files.jsonl_encoder import JsonLinesEncoder

if TYPE_CHECKING:
    from transforms.pulsar.schemas import Schemas

FormatName = Literal["avro", "jsonl"]
PayloadMode = Literal["bytes", "json", "value"]


@dataclass(frozen=True, slots=True)
class EncoderFactory:
    """Makes the encoders of a job. Picklable; call it on the worker, once for each thread that encodes."""

    format: FormatName
    codec: str
    payload: PayloadMode

    @property
    def needs_schemas(self) -> bool:
        """Whether it has to be called with the schemas of the topics."""
        return self.payload == "value"

    def __call__(self, schemas: Schemas | None = None) -> RecordEncoder:
        """Make an encoder; ``schemas`` is used with ``--payload=value`` only, and needed there."""
        if self.payload == "value":
            from transforms.files.value import ValueEncoder  # noqa: PLC0415 - only this mode needs fastavro

            if schemas is None:
                msg = "an encoder for --payload=value needs the schemas of the topics"
                raise TypeError(msg)
            return ValueEncoder(self.format, self.codec, schemas)
        if self.format == "avro":
            return AvroEncoder(self.codec)
        return JsonLinesEncoder(self.payload)


def make_format(
    format: str = "avro",  # noqa: A002 - the option's name
    codec: str | None = None,
    payload: str = "bytes",
) -> tuple[FileFormat, EncoderFactory]:
    """Find the format that a person asked for, and make what makes its encoders; both frozen and picklable.

    ``codec`` is ``name`` or ``name:level``; None is ``deflate`` for Avro and ``gzip`` for JSON lines. Raises
    ConfigurationError with one sentence for each thing that is wrong.
    """
    problems = []
    if format not in get_args(FormatName):
        problems.append(f"--format={format} is unknown: choose one of {', '.join(get_args(FormatName))}.")
    if payload not in get_args(PayloadMode):
        problems.append(f"--payload={payload} is unknown: choose one of {', '.join(get_args(PayloadMode))}.")
    if format == "avro" and payload == "json":
        problems.append(
            "--payload=json needs --format=jsonl: Avro has no type for JSON of any shape. "
            "For a topic with a schema, --payload=value gives typed values in both formats."
        )
    if format not in get_args(FormatName):
        raise ConfigurationError(*problems)
    try:
        chosen = codec_of(format, codec)
    except ConfigurationError as error:
        raise ConfigurationError(*problems, *error.problems) from None
    if problems:
        raise ConfigurationError(*problems)
    if format == "avro":
        file_format = cast(FileFormat, AvroFormat(chosen.compressor))
        return file_format, EncoderFactory("avro", chosen.name, payload)  # type: ignore[arg-type]
    file_format = cast(FileFormat, JsonLinesFormat(chosen.compressor, f"jsonl{chosen.suffix}"))
    return file_format, EncoderFactory("jsonl", chosen.name, payload)  # type: ignore[arg-type]
