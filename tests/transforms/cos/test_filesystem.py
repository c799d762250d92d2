"""``cos://`` keeps Beam's contract of a file system, against the COS server."""

from __future__ import annotations

import io
import os
import pickle
import random
import time

import pytest
from apache_beam.io.filesystem import BeamIOError, CompressedFile
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions
from fastcrc import crc64
from google.protobuf import json_format

from transforms.cos.bucket import Bucket
from transforms.cos.client import CosClient
from transforms.cos.credentials import parse_credentials
from transforms.cos.filesystem import CosFileSystem
from transforms.cos.object_files import PART, ObjectReader, ObjectWriter
from transforms.cos.retry import Place, RetryPolicy
from transforms.errors import AccessError, ConfigurationError, DestinationError, ObjectConflictError
from transforms.files.naming import FileName, StoredRun
from transforms.pulsar.positions import Position
from transforms.testing.cos_server import TEST_BUCKET

IMPATIENT = RetryPolicy(deadline=20.0, first_wait=0.001, longest_wait=0.01)
ROOT = f"cos://{TEST_BUCKET}"
BACKUP_FILE = str(FileName(1_763_800_200_000, 300, 0, StoredRun(Position(1, 2), Position(1, 3), 2), "", "avro"))


@pytest.fixture
def files(server) -> CosFileSystem:
    return CosFileSystem(PipelineOptions(["--cos_region=ap-guangzhou", f"--cos_endpoint={server.endpoint}"]))


@pytest.fixture
def bucket(server) -> Bucket:
    """A bucket that is impatient."""
    client = CosClient(bucket=TEST_BUCKET, region=None, endpoint=server.endpoint, credentials=parse_credentials("env"))
    return Bucket(client, Place(TEST_BUCKET, None, server.endpoint, "env"), IMPATIENT)


def write(files: CosFileSystem, path: str, content: bytes) -> None:
    with files.create(path) as file:
        file.write(content)


def paths(files: CosFileSystem, pattern: str) -> list[str]:
    return [found.path for found in files.match([pattern])[0].metadata_list]


def test_beam_finds_it_by_its_scheme():
    assert isinstance(FileSystems.get_filesystem(f"{ROOT}/x"), CosFileSystem)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (f"{ROOT}/a/b", (f"{ROOT}/a", "b")),
        (f"{ROOT}/a/", (f"{ROOT}/a", "")),
        (f"{ROOT}/a", (ROOT, "a")),
        (ROOT, (ROOT, "")),
    ],
)
def test_paths_are_split_and_joined(files, path, parts):
    assert files.split(path) == parts
    if parts[1]:
        assert files.join(*parts) == path
    assert files.join(ROOT, "a/", "/b", "c") == f"{ROOT}/a/b/c"
    for act in (files.split, files.join):
        with pytest.raises(ValueError, match="does not begin with cos://"):
            act("gs://x/y")


def test_a_file_is_written_whole_described_read_and_deleted(files, server):
    path, content = f"{ROOT}/out/a b+%ü.txt", b"line\n" * 1000
    files.mkdirs(f"{ROOT}/out")
    assert not files.has_dirs()
    file = files.create(path)
    file.write(content[:10])
    file.write(memoryview(content)[10:])
    assert (files.exists(path), file.tell()) == (False, len(content))
    file.close()
    file.close()
    assert files.exists(path)
    found = files.metadata(path)
    assert (found.path, found.size_in_bytes, files.size(path)) == (path, len(content), len(content))
    assert abs(found.last_updated_in_seconds - time.time()) < 60
    assert files.last_updated(path) == found.last_updated_in_seconds
    assert files.checksum(path) == str(crc64.xz(content))
    with files.open(path) as read:
        assert read.readlines() == [b"line\n"] * 1000
    write(files, path, b"another")
    assert server.stored_bytes(TEST_BUCKET, path[len(ROOT) + 1 :]) == b"another"
    files.delete([path, f"{ROOT}/none"])
    assert not files.exists(path)


def test_a_file_is_read_from_any_place_with_few_requests(files, server, bucket):
    content = random.Random(1).randbytes((9 << 20) + 7)
    write(files, f"{ROOT}/big", content)
    before = server.requests["GetObject"]
    with files.open(f"{ROOT}/big") as file:
        assert file.seekable()
        assert file.seek(-7, os.SEEK_END) == len(content) - 7
        assert file.read() == content[-7:]
        assert file.read(1) == b""
        file.seek(5 << 20)
        assert file.read(10) == content[5 << 20 : (5 << 20) + 10]
        file.seek(10, os.SEEK_CUR)
        assert file.tell() == (5 << 20) + 20
    assert server.requests["GetObject"] - before == 2
    with files.open(f"{ROOT}/big") as file:
        assert b"".join(iter(lambda: file.read(100_000), b"")) == content
    assert server.requests["GetObject"] - before == 2 + 3
    raw = ObjectReader(bucket, "big")
    server.faults.add("short", operation="GetObject", nth=1)
    server.faults.add("503", operation="GetObject", nth=2)
    assert io.BufferedReader(raw, 1 << 20).read(1 << 20) == content[: 1 << 20]


def test_what_changes_under_a_reader_is_told(bucket):
    bucket.put("x", b"a" * 100, "text/plain")
    reader = ObjectReader(bucket, "x")
    assert reader.read(50) == b"a" * 50
    bucket.put("x", b"b" * 100, "text/plain")
    with pytest.raises(DestinationError, match="written anew while it was read"):
        reader.read(50)


@pytest.mark.parametrize("name", ["x.gz", "x.bz2", "x.zst", "x.deflate"])
def test_extensions_compress_as_beam_does(files, server, name):
    content = b"compressed " * 10_000
    with files.create(f"{ROOT}/{name}") as file:
        assert isinstance(file, CompressedFile)
        file.write(content)
    assert len(server.stored_bytes(TEST_BUCKET, name)) < 2000
    with files.open(f"{ROOT}/{name}") as file:
        assert b"".join(iter(lambda: file.read(4096), b"")) == content
        file.seek(11)
        assert file.read(10) == b"compressed"


def test_a_large_file_goes_out_in_parts(files, server, bucket):
    content = random.Random(2).randbytes(2 * PART + 5)
    with files.create(f"{ROOT}/large") as file:
        for start in range(0, len(content), 1 << 20):
            file.write(content[start : start + (1 << 20)])
        assert server.requests["UploadPart"] == 2
    assert server.stored_bytes(TEST_BUCKET, "large") == content
    # The answer to the last request is lost, and what was asked has happened.
    server.faults.add("reset-after", operation="CompleteMultipartUpload", nth=1)
    with ObjectWriter(bucket, "again", "text/plain") as writer:
        writer.write(content)
    assert server.stored_bytes(TEST_BUCKET, "again") == content


def test_a_file_that_is_not_closed_leaves_no_object(files, server):
    with pytest.raises(RuntimeError), files.create(f"{ROOT}/a") as file:
        file.write(b"x" * (PART + 1))
        raise RuntimeError
    forgotten = files.create(f"{ROOT}/b")
    forgotten.write(b"x")
    del forgotten
    assert server.stored_keys(TEST_BUCKET) == []
    assert server.disk.uploads(TEST_BUCKET, "") == []
    with pytest.raises(ValueError, match="closed"):
        file.write(b"")


def test_patterns_match_names_across_pages(files, server, bucket):
    for number in range(1003):
        bucket.put(f"in/dt=1/{number:04}.avro", b"x", "")
    bucket.put("in/dt=2/a/b.jsonl.gz", b"xy", "")
    assert len(paths(files, f"{ROOT}/in/*/*.avro")) == 1003
    assert paths(files, f"{ROOT}/in/**.gz") == [f"{ROOT}/in/dt=2/a/b.jsonl.gz"]
    assert paths(files, f"{ROOT}/in/*/*.gz") == []
    assert paths(files, f"{ROOT}/in/dt=[12]/000?.avro")[9:] == [f"{ROOT}/in/dt=1/0009.avro"]
    assert paths(files, f"{ROOT}/in/dt=2/a/") == paths(files, f"{ROOT}/in/dt=2/a/b.jsonl.gz")
    assert paths(files, f"{ROOT}/none*") == paths(files, f"{ROOT}/none") == []
    (first,) = files.match([f"{ROOT}/in/dt=1/*"], [1])[0].metadata_list
    assert (first.size_in_bytes, time.time() - first.last_updated_in_seconds < 60) == (1, True)


def test_files_are_copied_and_renamed_and_folders_deleted(files, server):
    for name in ("t/a", "t/b", "u"):
        write(files, f"{ROOT}/{name}", name.encode())
    files.copy([f"{ROOT}/u", f"{ROOT}/t/"], [f"{ROOT}/v", f"{ROOT}/w"])
    assert server.stored_keys(TEST_BUCKET) == ["t/a", "t/b", "u", "v", "w/a", "w/b"]
    files.rename([f"{ROOT}/u", f"{ROOT}/v"], [f"{ROOT}/x", f"{ROOT}/t/a"])
    assert server.stored_bytes(TEST_BUCKET, "t/a") == b"u"
    files.delete([f"{ROOT}/t/", f"{ROOT}/w"])
    assert server.stored_keys(TEST_BUCKET) == ["w/a", "w/b", "x"]
    with pytest.raises(BeamIOError, match="There are 1 files and 2 names"):
        files.copy([f"{ROOT}/x"], [f"{ROOT}/1", f"{ROOT}/2"])
    with pytest.raises(BeamIOError, match="There is no object cos://test-1250000000/none") as caught:
        files.rename([f"{ROOT}/none", f"{ROOT}/x"], [f"{ROOT}/1", f"{ROOT}/2"])
    assert list(caught.value.exception_details) == [(f"{ROOT}/none", f"{ROOT}/1")]
    assert files.exists(f"{ROOT}/2")


def test_renaming_deletes_nothing_but_what_was_copied_elsewhere(files, server, bucket, monkeypatch):
    kept = ["a/", "a//x", "a/old/y", "a/x", f"a/{BACKUP_FILE}"]
    for key in kept:
        bucket.put(key, key.encode(), "")
    for source, destination in [
        ("a/", "a/old/"), ("a/", "a/old"), ("a/", "a/"), ("a/", "a"), ("a/x", "a/x"), (f"a/{BACKUP_FILE}",) * 2,
    ]:  # fmt: skip
        with pytest.raises(BeamIOError, match="that is itself, or below it"):
            files.rename([f"{ROOT}/{source}"], [f"{ROOT}/{destination}"])
    with pytest.raises(BeamIOError, match="names a bucket and no object"):
        files.rename([f"{ROOT}/"], [f"{ROOT}/all/"])
    assert server.stored_keys(TEST_BUCKET) == sorted(kept)
    copy = Bucket.copy

    def written_to_meanwhile(self, key, source, source_key):
        copy(self, key, source, source_key)
        bucket.put("a/new", b"new", "")

    monkeypatch.setattr(Bucket, "copy", written_to_meanwhile)
    # A folder's marker is an object like others, and two slashes are no slash.
    files.rename([f"{ROOT}/a/"], [f"{ROOT}/ab/"])
    assert server.stored_keys(TEST_BUCKET) == sorted(["a/new", *(key.replace("a/", "ab/", 1) for key in kept)])
    assert server.stored_bytes(TEST_BUCKET, "ab//x") == b"a//x"
    files.copy([f"{ROOT}/ab/"], [f"{ROOT}/ab/old/"])
    assert server.stored_bytes(TEST_BUCKET, "ab/old//x") == b"a//x"


@pytest.mark.parametrize("bucket_is", ["usual", "versioned", "versioned, and not to be asked"])
@pytest.mark.parametrize("name", [BACKUP_FILE, "_runs/20261122T094000Z-0123abcd.json"])
def test_a_file_of_a_backup_is_not_replaced_by_other_content(files, server, bucket, monkeypatch, bucket_is, name):
    # What is known of a bucket is kept by process.
    monkeypatch.setattr("transforms.cos.bucket._buckets", {})
    if bucket_is != "usual":
        server.set_versioned(TEST_BUCKET)
    if "asked" in bucket_is:
        server.faults.add("access-denied", operation="GetBucketVersioning")
    write(files, f"{ROOT}/b/{name}", b"one")
    write(files, f"{ROOT}/b/{name}", b"one")
    write(files, f"{ROOT}/other", b"two")
    with pytest.raises(ObjectConflictError, match="never overwritten"):
        write(files, f"{ROOT}/b/{name}", b"two")
    with pytest.raises(BeamIOError, match="never overwritten"):
        files.copy([f"{ROOT}/other"], [f"{ROOT}/b/{name}"])
    with pytest.raises(ObjectConflictError, match="never overwritten"), files.create(f"{ROOT}/b/{name}") as file:
        file.write(b"x" * (PART + 1))
    assert server.stored_bytes(TEST_BUCKET, f"b/{name}") == b"one"
    assert server.disk.uploads(TEST_BUCKET, "") == []
    # A copy of one, whose answer is lost.
    server.faults.add("reset-after", operation="PutObjectCopy", nth=1)
    bucket.copy(f"c/{name}", bucket, f"b/{name}")
    assert server.stored_bytes(TEST_BUCKET, f"c/{name}") == b"one"


def test_an_upload_of_what_a_backup_holds_already_is_ended(server, bucket):
    server.set_versioned(TEST_BUCKET)
    for _ in range(2):
        with ObjectWriter(bucket, BACKUP_FILE, "") as writer:
            writer.write(b"x" * (PART + 1))
    assert server.requests["CompleteMultipartUpload"] == 1
    assert server.disk.uploads(TEST_BUCKET, "") == []


def test_an_upload_that_others_have_ended_is_not_called_a_name_that_is_taken(server, bucket):
    server.faults.add("no-such-upload", operation="CompleteMultipartUpload")
    with (
        pytest.raises(DestinationError, match="404 NoSuchUpload") as caught,
        ObjectWriter(bucket, BACKUP_FILE, "") as w,
    ):
        w.write(b"x" * (PART + 1))
    assert not isinstance(caught.value, ObjectConflictError)


@pytest.mark.parametrize(
    ("path", "given", "cause", "said"),
    [
        (f"{ROOT}/x", [], ConfigurationError, "nobody says where the bucket is. Give the pipeline option --cos_region"),
        (f"{ROOT}/x", ["--cos_region=Guangzhou"], ConfigurationError, "--cos_region=Guangzhou is not a region id"),
        (f"{ROOT}/x", ["--cos_endpoint=ftp://x"], ConfigurationError, "--cos_endpoint is not of the form"),
        ("cos://backup/x", ["server"], ConfigurationError, "cos://backup/ has no bucket of the form NAME-APPID"),
        ("cos://none-1250000000/x", ["server"], DestinationError, "There is no object .* or no bucket none-1250000000"),
        (f"{ROOT}/none", ["server"], DestinationError, f"There is no object {ROOT}/none"),
        (ROOT, ["server"], ConfigurationError, "names a bucket and no object in it"),
        (f"{ROOT}/x", ["server", "--cos_credentials=file:/none"], ConfigurationError, "/none with the COS credentials"),
        (f"{ROOT}/x", ["server", "--cos_credentials=AKIDx:y"], ConfigurationError, "is of no known form"),
        (f"{ROOT}/x", ["server", "WRONG KEY"], AccessError, "refers to has expired, or"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_sentence(server, monkeypatch, path, given, cause, said):
    if "WRONG KEY" in given:
        monkeypatch.setenv("COS_SECRET_KEY", "other")
    known = [f"--cos_endpoint={server.endpoint}" if each == "server" else each for each in given if each != "WRONG KEY"]
    files = CosFileSystem(PipelineOptions(known))
    for act in (files.open, files.size, files.metadata, files.checksum, files.last_updated):
        with pytest.raises(BeamIOError, match=said) as caught:
            act(path)
        assert [type(error) for error in caught.value.exception_details.values()] == [cause]
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
        assert "other" not in str(caught.value)
    if cause is not DestinationError:
        with pytest.raises(BeamIOError) as caught:
            files.delete([path])
        assert "other" not in str(caught.value)


def test_a_missing_bucket_is_told_by_a_listing_and_a_refused_write_by_its_permission(files, server):
    with pytest.raises(BeamIOError, match=r"There is no bucket none-1250000000 \(region ap-guangzhou\)"):
        files.match(["cos://none-1250000000/*"])
    server.faults.add("access-denied", operation="PutObject")
    with pytest.raises(AccessError, match="Grant it name/cos:PutObject there"):
        write(files, f"{ROOT}/x", b"")
    write(files, f"{ROOT}/y", b"")
    server.faults.add("access-denied", operation="PutObjectCopy")
    with pytest.raises(BeamIOError, match="Grant it name/cos:PutObject, and name/cos:GetObject on what is copied"):
        files.copy([f"{ROOT}/y"], [f"{ROOT}/z"])


def test_the_environment_says_what_options_do_not(server, monkeypatch):
    monkeypatch.setenv("COS_ENDPOINT", server.endpoint)
    monkeypatch.setenv("COS_REGION", "ap-guangzhou")
    for files in (CosFileSystem(PipelineOptions([])), CosFileSystem({}), CosFileSystem(None)):
        assert not files.exists(f"{ROOT}/x")
    by_options = CosFileSystem({"cos_endpoint": server.endpoint, "cos_credentials": "file:/none"})
    with pytest.raises(BeamIOError, match="/none"):
        by_options.exists(f"{ROOT}/x")


def test_workers_are_told_to_import_it():
    """By the two ways in which runners pass on options, and beside a plugin of somebody else."""
    options = PipelineOptions(["--beam_plugin=json", "--cos_region=ap-guangzhou"])
    assert options.view_as(SetupOptions).beam_plugins == ["json"]
    by_job_server = options.get_all_options(retain_unknown_options=True)
    by_struct = {
        key.removeprefix("beam:option:").removesuffix(":v1"): value
        for key, value in json_format.MessageToDict(options.to_runner_api()).items()
    }
    for passed_on in (by_job_server, by_struct):
        known = {name: value for name, value in passed_on.items() if value is not None}
        on_worker = PipelineOptions.from_dictionary(known).view_as(SetupOptions).beam_plugins
        assert sorted(on_worker) == ["json", CosFileSystem.__module__]
        assert known["cos_region"] == "ap-guangzhou"
