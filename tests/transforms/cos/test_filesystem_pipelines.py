"""Plain Beam pipelines, DuckDB and Java read a backup in a bucket, with manifests and run records in nobody's way."""

from __future__ import annotations

import gzip
import io
import json
import re
import subprocess
from collections import Counter
from functools import partial
from pathlib import Path

import apache_beam as beam
import duckdb
import fastavro
import pytest
from apache_beam.io import ReadFromAvro, ReadFromText, WriteToAvro, WriteToText, fileio
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

import transforms.cos.filesystem  # noqa: F401 - registers cos://
from tests.transforms.looking.made_backup import Backup, make_backup
from transforms.cos.destination import open_store, parse_destination
from transforms.testing.cos_server import TEST_BUCKET, TEST_SECRET_ID, TEST_SECRET_KEY, CosServer
from transforms.testing.fetch import avro_tools_jar, java
from transforms.testing.flink_workers import Flink

ROOT = f"cos://{TEST_BUCKET}"
KINDS = {"avro": ("avro", "deflate"), "jsonl": ("jsonl", "gzip")}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with CosServer(tmp_path_factory.mktemp("cos")) as running:
        yield running


@pytest.fixture(scope="module")
def made(server) -> dict[str, Backup]:
    """A backup of each format, with manifests and run records, in prefixes of their own."""
    environment = pytest.MonkeyPatch()
    environment.setenv("COS_SECRET_ID", TEST_SECRET_ID)
    environment.setenv("COS_SECRET_KEY", TEST_SECRET_KEY)
    try:
        store = open_store(parse_destination(f"{ROOT}/", endpoint=server.endpoint))
        return {name: make_backup(store, f"{name}/", kind=kind) for name, kind in KINDS.items()}
    finally:
        environment.undo()


@pytest.fixture
def pipeline(server) -> beam.Pipeline:
    options = PipelineOptions(["--cos_region=ap-guangzhou", f"--cos_endpoint={server.endpoint}"])
    return beam.Pipeline(runner=FnApiRunner(), options=options)


def payloads(backup: Backup) -> list[bytes]:
    return [each.payload for each in backup.messages]


def test_beam_reads_avro(made, pipeline):
    with pipeline:
        rows = pipeline | ReadFromAvro(f"{ROOT}/avro/**.avro")
        assert_that(rows | beam.Map(lambda row: row["payload"]), equal_to(payloads(made["avro"])))


def test_beam_reads_json_lines_and_files_that_match(made, pipeline):
    with pipeline:
        lines = pipeline | ReadFromText(f"{ROOT}/jsonl/**.jsonl.gz")
        assert_that(
            lines | beam.Map(lambda line: json.loads(line)["payload"].encode()), equal_to(payloads(made["jsonl"]))
        )
        files = pipeline | fileio.MatchFiles(f"{ROOT}/jsonl/shop/web/orders/dt=*/hh=09/*-p0001-*.jsonl.gz")
        counts = (
            files | fileio.ReadMatches() | beam.Map(lambda file: (file.metadata.path, file.read_utf8().count("\n")))
        )
        expected = [(f"{ROOT}/{key}", 10) for key in made["jsonl"].keys_of(partition=1) if "hh=09" in key]
        assert_that(counts, equal_to(expected), label="matched")


def test_beam_writes_and_writes_again(server, made, pipeline):
    schema = {"type": "record", "name": "R", "fields": [{"name": "x", "type": "int"}]}

    def write(numbers: range) -> None:
        options = PipelineOptions(["--cos_region=ap-guangzhou", f"--cos_endpoint={server.endpoint}"])
        with beam.Pipeline(runner=FnApiRunner(), options=options) as again:
            values = again | beam.Create(numbers)
            values | "text" >> WriteToText(f"{ROOT}/out/text", ".txt.gz", num_shards=2)
            rows = values | beam.Map(lambda number: {"x": number})
            rows | "avro" >> WriteToAvro(f"{ROOT}/out/avro", schema, file_name_suffix=".avro", num_shards=1)

    write(range(100))
    write(range(50))
    keys = server.stored_keys(TEST_BUCKET, "out/")
    assert keys == ["out/avro-00000-of-00001.avro", "out/text-00000-of-00002.txt.gz", "out/text-00001-of-00002.txt.gz"]
    rows = fastavro.reader(io.BytesIO(server.stored_bytes(TEST_BUCKET, keys[0])))
    assert sorted(row["x"] for row in rows) == list(range(50))  # type: ignore[index,call-overload]
    with pipeline:
        lines = pipeline | ReadFromText(f"{ROOT}/out/text-*")
        assert_that(lines | beam.Map(int), equal_to(range(50)))


def downloaded(server: CosServer, prefix: str, folder: Path) -> Path:
    """All that is below a prefix, as files."""
    for key in server.stored_keys(TEST_BUCKET, prefix):
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(server.stored_bytes(TEST_BUCKET, key))
    return folder / prefix


def test_duckdb_reads_the_tree_by_its_folders(made, server, tmp_path):
    folder = downloaded(server, "jsonl/", tmp_path)
    assert list(folder.rglob("_manifest-*.json"))
    assert list(folder.glob("_runs/*.json"))
    files = f"read_json('{folder}/**/*.jsonl.gz', hive_partitioning = true, union_by_name = true, sample_size = -1)"
    rows = duckdb.sql(
        f"SELECT dt, hh, count(*), count(DISTINCT (partition, entry_id)) FROM {files} GROUP BY ALL ORDER BY 2"
    )
    assert [(str(dt), int(hh), *rest) for dt, hh, *rest in rows.fetchall()] == [
        ("2026-11-22", 9, 240, 240),
        ("2026-11-22", 10, 240, 240),
    ]
    where = "dt = '2026-11-22' AND hh = '10'"
    keys = duckdb.sql(f"SELECT payload FROM {files} WHERE {where}").fetchall()
    assert sorted(keys) == sorted((each.payload.decode(),) for each in made["jsonl"].messages if "hh=10" in each.object)


def test_java_counts_what_was_downloaded(made, server, tmp_path):
    folder = downloaded(server, "avro/shop/", tmp_path)
    files = sorted(str(path) for path in folder.rglob("*.avro"))
    counted = subprocess.run(
        [java(), "-jar", str(avro_tools_jar()), "count", *files], check=True, capture_output=True, text=True
    )
    assert int(counted.stdout) == len(made["avro"].messages)


def test_workers_know_the_file_system(made, server, flink: Flink):
    """Processes of their own, that import nothing of ours by themselves."""
    options = PipelineOptions(
        [*flink.options, "--parallelism=1", "--cos_region=ap-guangzhou", f"--cos_endpoint={server.endpoint}"]
    )
    with beam.Pipeline(options=options) as pipeline:
        rows = pipeline | ReadFromAvro(f"{ROOT}/avro/**.avro", validate=False)
        texts = rows | beam.Map(lambda row: row["payload"].decode())
        texts | WriteToText(f"{ROOT}/flink/out", num_shards=1)
    (key,) = server.stored_keys(TEST_BUCKET, "flink/")
    lines = server.stored_bytes(TEST_BUCKET, key).splitlines()
    assert sorted(lines) == sorted(payloads(made["avro"]))


def test_the_example_of_the_readme_runs_as_printed(server, made, monkeypatch):
    text = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    section = text.partition("## `cos://` in Beam pipelines")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names = {
        "backup-1250000000/pulsar/pulsar-abc123/shop/": f"{TEST_BUCKET}/avro/shop/web/",
        "backup-1250000000": TEST_BUCKET,
    }
    for printed, here in names.items():
        assert printed in example
        example = example.replace(printed, here)
    monkeypatch.setenv("COS_ENDPOINT", server.endpoint)
    # Beam's choice of a local runner begins with one that it downloads.
    monkeypatch.setattr(beam, "Pipeline", partial(beam.Pipeline, runner=FnApiRunner()))
    exec(example, {"__name__": "example"})
    keys = server.stored_keys(TEST_BUCKET, "counts/")
    lines = b"".join(gzip.decompress(server.stored_bytes(TEST_BUCKET, key)) for key in keys).splitlines()
    counts = Counter(each.key for each in made["avro"].messages)
    assert sorted(map(json.loads, lines)) == sorted(map(list, counts.items()))
