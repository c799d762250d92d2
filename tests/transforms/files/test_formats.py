from __future__ import annotations

import threading
import zlib

import pytest

from transforms.errors import ConfigurationError
from transforms.files.codecs import codec_of
from transforms.files.formats import make_format
from transforms.files.pieces import Pieces


@pytest.mark.parametrize(
    ("file_format", "codec", "extension"),
    [
        ("avro", None, "avro"),
        ("avro", "zstd", "avro"),
        ("jsonl", None, "jsonl.gz"),
        ("jsonl", "null", "jsonl"),
        ("jsonl", "zstd:19", "jsonl.zst"),
    ],
)
def test_the_end_of_the_name(file_format: str, codec: str | None, extension: str) -> None:
    assert make_format(file_format, codec)[0].extension == extension


@pytest.mark.parametrize(
    ("file_format", "codec", "payload", "words"),
    [
        ("avro", None, "json", ["--payload=json needs --format=jsonl"]),
        ("avro", "gzip", "bytes", ["null, deflate, snappy, zstandard"]),
        ("jsonl", "deflate", "bytes", ["none, gzip, zstd"]),
        ("jsonl", "gzip:9", "bytes", ["a number from 1 to 2"]),
        ("avro", "zstd:20", "bytes", ["a number from 1 to 19"]),
        ("avro", "zstd:", "bytes", ["a number from 1 to 19"]),
        ("avro", "zstd:²", "bytes", ["a number from 1 to 19"]),
        ("avro", "snappy:1", "bytes", ["has no levels"]),
        ("parquet", None, "xml", ["--format=parquet", "--payload=xml"]),
        ("avro", "lzma", "json", ["--payload=json", "--codec=lzma"]),
    ],
)
def test_what_cannot_be_is_said_with_what_can(
    file_format: str, codec: str | None, payload: str, words: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_format(file_format, codec, payload)
    assert len(caught.value.problems) == len(words)
    for word, problem in zip(words, caught.value.problems, strict=True):
        assert word in problem


@pytest.mark.parametrize(("file_format", "codec"), [("avro", "deflate"), ("avro", "zstandard"), ("jsonl", "gzip")])
def test_threads_may_compress_at_once(file_format: str, codec: str) -> None:
    compressor = codec_of(file_format, codec).compressor
    data = [bytes((place * step) % 251 for place in range(20_000)) for step in range(1, 9)]
    wanted = [bytes(compressor.compress(Pieces(one))) for one in data]
    found: dict[int, list[bytes]] = {}

    def work(number: int) -> None:
        found[number] = [bytes(compressor.compress(Pieces(one))) for one in data]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one == wanted for one in found.values())


def test_deflate_is_raw() -> None:
    data = b"tdmq" * 1000
    assert zlib.decompress(bytes(codec_of("avro", "deflate").compressor.compress(Pieces(data))), -15) == data
