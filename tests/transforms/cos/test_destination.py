from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.cos.cos_store import CosStore
from transforms.cos.destination import check_writable, open_store, parse_destination
from transforms.cos.folder_store import FolderStore
from transforms.errors import AccessError, ConfigurationError, DestinationError
from transforms.testing.cos_server import TEST_BUCKET

META = {"records-crc64": "7", "records-bytes": "11", "messages": "5"}
URL = "cos://backup-1250000000/a/b/"


def problems(url, **options):
    with pytest.raises(ConfigurationError) as caught:
        parse_destination(url, **options)
    return caught.value.problems


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        (URL, "backup-1250000000", "a/b/"),
        ("cos://backup-1250000000", "backup-1250000000", ""),
        ("cos://backup-1250000000/", "backup-1250000000", ""),
        ("cos://a-b-1/ü #?%20/", "a-b-1", "ü #?%20/"),
    ],
)
def test_a_bucket_and_its_prefix(url, bucket, prefix):
    destination = parse_destination(url, region="ap-guangzhou")
    assert (destination.bucket, destination.prefix, destination.folder) == (bucket, prefix, None)
    assert (destination.url, str(destination)) == (url, url)


@pytest.mark.parametrize(
    ("url", "folder"), [("file:///a/b/", "/a/b/"), ("file:///", "/"), ("file:///a%20b/%C3%BC/", "/a b/ü/")]
)
def test_a_folder(url, folder):
    destination = parse_destination(url)
    assert (destination.bucket, destination.prefix, destination.folder) == (None, "", folder)
    assert isinstance(open_store(destination), FolderStore)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3://bucket/prefix/", "neither cos://"),
        ("/a/folder/", "neither cos://"),
        ("", "neither cos://"),
        ("cos://[/", "NAME-APPID"),
        ("cos://backup/a/", "NAME-APPID"),
        ("cos://Backup-125/a/", "NAME-APPID"),
        ("cos:///a/", "NAME-APPID"),
        ("cos://-125/a/", "NAME-APPID"),
        ("cos://backup-125/a", "does not end with /: write cos://backup-125/a/"),
        ("cos://backup-125//a/", "empty name"),
        ("cos://backup-125/a//b/", "empty name"),
        ("cos://backup-125/../b/", "write the path out"),
        ("cos://backup-125/a\nb/", "control characters"),
        ("cos://backup-125/" + "x" * 850 + "/", "851 bytes"),
        ("file://host/a/", "three slashes"),
        ("file://a/", "three slashes"),
        ("file:///a?b/", "three slashes"),
        ("file:///a", "does not end with /"),
        ("file:///a/../b/", "write the path out"),
        ("file:///a/%2e%2e/b/", "write the path out"),
    ],
)
def test_a_url_that_is_wrong_says_what_and_how_to_mend_it(url, sentence):
    options = {} if url.startswith("file") else {"region": "ap-guangzhou"}
    assert any(sentence in problem for problem in problems(url, **options))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"region": None}, "--cos_region is missing, such as --cos_region=ap-guangzhou"),
        ({"region": "Guangzhou"}, "not a region id"),
        ({"endpoint": "127.0.0.1:9000"}, "--cos_endpoint is not of the form"),
        ({"endpoint": "http://127.0.0.1:nine"}, "--cos_endpoint is not of the form"),
        ({"endpoint": "http://user:hidden@host"}, "--cos_endpoint is not of the form"),
        ({"endpoint": "http://host/path"}, "--cos_endpoint is not of the form"),
        ({"credentials": "AKIDhidden"}, "cvm-role:NAME"),
        ({"storage_class": "cheap"}, "--storage_class=cheap"),
        ({"acl": "public-read-write"}, "--acl=public-read-write"),
        ({"sse": "rot13"}, "--server_side_encryption=rot13"),
        ({"tags": {str(number): "" for number in range(11)}}, "11 tags"),
        ({"tags": {"": "x"}}, "tag ''"),
        ({"tags": {"a": "x" * 257}}, "tag 'a'"),
        ({"metadata": {"a_b": "x"}}, "'a_b' may hold only"),
        ({"metadata": {"Messages": "x"}}, "used by the backup itself"),
        ({"metadata": {"content-crc64": "x"}}, "used by the backup itself"),
        ({"metadata": {"a": "ü"}}, "printable ASCII"),
        ({"metadata": {"a": "x\r\nx-cos-acl: public-read"}}, "printable ASCII"),
        ({"metadata": {"a": "x" * 2048}}, "more than the 2048 bytes"),
        ({"metadata": {"a": "x" * 1800, "b": "x" * 1800}}, "in all"),
    ],
)
def test_an_option_that_is_wrong_says_what(options, sentence):
    found = problems(URL, **{"region": "ap-guangzhou", **options})
    assert len(found) == 1
    assert sentence in found[0]
    assert "hidden" not in found[0]


def test_all_problems_are_said_at_once():
    found = problems("cos://backup/a", tags={str(n): "" for n in range(11)}, credentials="x", sse="x")
    assert len(found) == 6


def test_options_of_a_bucket_are_refused_for_a_folder():
    assert "for cos:// only" in problems("file:///a/", storage_class="STANDARD_IA")[0]


def test_another_region_is_only_warned_of(caplog):
    parse_destination(URL, region="eu-frankfurt")
    assert "--cos_region=eu-frankfurt" in caplog.text
    caplog.clear()
    parse_destination(URL, region="ap-guangzhou")
    assert caplog.text == ""


def test_the_options_become_headers():
    destination = parse_destination(
        URL,
        region="ap-guangzhou",
        storage_class="ARCHIVE",
        sse="kms:1-2-3",
        acl="private",
        tags={"a b": "c&d", "e": ""},
        metadata={"Team": "x"},
    )
    assert dict(destination.headers) == {
        "x-cos-storage-class": "ARCHIVE",
        "x-cos-server-side-encryption": "cos/kms",
        "x-cos-server-side-encryption-cos-kms-key-id": "1-2-3",
        "x-cos-acl": "private",
        "x-cos-tagging": "a+b=c%26d&e=",
        "x-cos-meta-team": "x",
    }


@given(st.text(max_size=30), st.none() | st.text(max_size=10), st.none() | st.text(max_size=20))
def test_anything_is_parsed_or_refused_with_sentences(rest, region, endpoint):
    for scheme in ("cos://", "file://", ""):
        try:
            destination = parse_destination(scheme + rest, region=region, endpoint=endpoint)
        except ConfigurationError as error:
            assert error.problems
        else:
            assert destination.prefix == "" or destination.prefix.endswith("/")
            assert not destination.prefix.startswith("/")


def test_a_destination_travels_and_opens_one_store_for_each_process(destination):
    again = pickle.loads(pickle.dumps(destination))
    assert again == destination
    assert isinstance(open_store(destination), CosStore)
    assert open_store(again) is open_store(destination)
    assert open_store(parse_destination(f"cos://{TEST_BUCKET}/other/", region="ap-guangzhou")) is not open_store(again)


def test_a_writable_prefix_is_proved_and_left_clean(server, destination, tmp_path):
    check_writable(destination)
    assert server.stored_keys(TEST_BUCKET) == []
    assert (server.requests["GetBucket"], server.requests["PutObject"], server.requests["DeleteObject"]) == (1, 1, 1)
    folder = parse_destination(f"file://{tmp_path}/new/folder/")
    check_writable(folder)
    assert [path for path in (tmp_path / "new").rglob("*") if path.is_file()] == []


def check(server, bucket=TEST_BUCKET, **options):
    check_writable(parse_destination(f"cos://{bucket}/backup/", endpoint=server.endpoint, **options))


@pytest.mark.parametrize("operation", ["GetBucket", "PutObject", "DeleteObject"])
def test_a_missing_permission_is_named(server, operation):
    server.faults.add("access-denied", operation=operation, times=100)
    with pytest.raises(AccessError, match=f"name/cos:{operation}"):
        check(server)


def test_a_missing_bucket_or_another_region_is_named(server):
    with pytest.raises(DestinationError, match=r"no bucket other-1 \(region ap-beijing\).*--cos_region"):
        check(server, bucket="other-1", region="ap-beijing")


def test_a_bucket_of_another_region_that_redirects_is_named(server):
    server.faults.add("redirect", times=100)
    with pytest.raises(DestinationError, match="Check --cos_region"):
        check(server)


def test_a_wrong_key_is_named(server, monkeypatch):
    monkeypatch.setenv("COS_SECRET_KEY", "hidden")
    with pytest.raises(
        AccessError, match=r"secret key does not belong to the secret id\..*--cos_credentials=env"
    ) as caught:
        check(server)
    assert "hidden" not in str(caught.value)
    monkeypatch.setenv("COS_SECRET_ID", "AKIDother")
    with pytest.raises(AccessError, match="does not know the secret id"):
        check(server)


def test_a_wrong_clock_is_named(server):
    server.clock_skew = -7200
    with pytest.raises(AccessError, match="clock differs"):
        check(server)


def test_a_full_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    destination = parse_destination(f"file://{tmp_path}/file/")
    with pytest.raises(DestinationError, match="a part of its path is a file"):
        check_writable(destination)
