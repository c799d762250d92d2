from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import get_args

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qcloud_cos import CosConfig, CosS3Client
from qcloud_cos.cos_exception import CosClientError, CosServiceError

from transforms.testing.cos_faults import FaultKind, Faults
from transforms.testing.cos_server import TEST_BUCKET, TEST_SECRET_ID, TEST_SECRET_KEY, CosServer
from transforms.testing.cos_signature import ServerKey

MIB = 1 << 20
FORBID = {"x-cos-forbid-overwrite": "true"}


def client_of(server, secret_id=TEST_SECRET_ID, secret_key=TEST_SECRET_KEY, token=None, region="ap-guangzhou"):
    host, port = server.endpoint.removeprefix("http://").split(":")
    config = CosConfig(
        Region=region,
        SecretId=secret_id,
        SecretKey=secret_key,
        Token=token,
        IP=host,
        Port=int(port),
        Scheme="http",
        Timeout=20,
    )
    return CosS3Client(config, retry=0, session=requests.Session())


@pytest.fixture
def server(tmp_path):
    with CosServer(tmp_path) as running:
        yield running


@pytest.fixture
def sdk(server):
    return client_of(server)


def refused(call, *arguments, **options):
    """The status and the code with which a call is refused."""
    with pytest.raises(CosServiceError) as caught:
        call(*arguments, **options)
    return caught.value.get_status_code(), caught.value.get_error_code()


def keys_of(answer):
    return [entry["Key"] for entry in answer.get("Contents", ())]


def test_a_request_that_is_not_signed_is_refused(server):
    request = urllib.request.Request(
        f"{server.endpoint}/key", headers={"Host": f"{TEST_BUCKET}.cos.x.myqcloud.com"}, data=b"x", method="PUT"
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 403
    assert b"<Code>AccessDenied</Code>" in caught.value.read()
    assert server.stored_keys(TEST_BUCKET) == []


def test_a_wrong_secret_key_is_refused(server):
    sdk = client_of(server, secret_key="other")
    assert refused(sdk.put_object, TEST_BUCKET, b"x", "key") == (403, "SignatureDoesNotMatch")


def test_an_unknown_secret_id_is_refused(server):
    sdk = client_of(server, secret_id="AKIDother")
    assert refused(sdk.put_object, TEST_BUCKET, b"x", "key") == (403, "InvalidAccessKeyId")


@pytest.mark.parametrize("change", ["path", "method", "header", "parameter", "dropped header"])
def test_a_request_changed_after_signing_is_refused(server, sdk, change):
    """Each signed piece counts: a signature is taken over to a request that differs in one."""
    host = f"{TEST_BUCKET}.cos.ap-guangzhou.myqcloud.com"
    headers = {"Host": host, "x-cos-meta-a": "1"}
    headers["Authorization"] = sdk.get_auth("GET", TEST_BUCKET, "key", Headers=dict(headers), Params={"partNumber": 1})
    method, path, number = "GET", "key", 1
    sdk.put_object(TEST_BUCKET, b"x", "key")
    sdk.put_object(TEST_BUCKET, b"x", "other")

    def send():
        url = f"{server.endpoint}/{path}?partNumber={number}"
        return requests.request(method, url, headers=headers, timeout=20).status_code

    assert send() == 200
    if change == "path":
        path = "other"
    elif change == "method":
        method = "DELETE"
    elif change == "header":
        headers["x-cos-meta-a"] = "2"
    elif change == "dropped header":
        del headers["x-cos-meta-a"]
    else:
        number = 2
    assert send() == 403


@pytest.mark.parametrize("skew", [-3600.0, 100_000.0])
def test_a_signature_counts_only_within_its_time(server, sdk, skew):
    sdk.put_object(TEST_BUCKET, b"x", "key")
    server.clock_skew = skew
    assert refused(sdk.put_object, TEST_BUCKET, b"x", "key") == (403, "RequestTimeTooSkewed")


def test_a_temporary_key_needs_its_token_and_expires(server):
    server.keys["temporary"] = ServerKey("secret", token="token")
    good = client_of(server, "temporary", "secret", "token")
    good.put_object(TEST_BUCKET, b"x", "key")
    for token in (None, "other"):
        sdk = client_of(server, "temporary", "secret", token)
        assert refused(sdk.put_object, TEST_BUCKET, b"x", "key") == (403, "InvalidAccessKeyId")
    server.keys["temporary"] = ServerKey("secret", token="token", expired=True)
    assert refused(good.put_object, TEST_BUCKET, b"x", "key") == (400, "ExpiredToken")


def test_an_error_carries_all_fields_that_the_sdk_reads(sdk):
    with pytest.raises(CosServiceError) as caught:
        sdk.get_object(TEST_BUCKET, "no <key> & none")
    assert caught.value.get_error_code() == "NoSuchKey"
    assert caught.value.get_resource_location() == "/no <key> & none"
    assert len(caught.value.get_request_id()) == 32


def test_an_object_comes_back_with_its_headers(sdk):
    sdk.put_object(
        TEST_BUCKET,
        b"hello",
        "key",
        ContentType="text/x",
        StorageClass="STANDARD_IA",
        ServerSideEncryption="AES256",
        Metadata={"x-cos-meta-a": "b", "x-cos-tagging": "a=b"},
    )
    for headers in (sdk.head_object(TEST_BUCKET, "key"), sdk.get_object(TEST_BUCKET, "key")):
        assert headers["x-cos-meta-a"] == "b"
        assert headers["x-cos-tagging"] == "a=b"
        assert headers["x-cos-storage-class"] == "STANDARD_IA"
        assert headers["x-cos-server-side-encryption"] == "AES256"
        assert headers["x-cos-hash-crc64ecma"] == "11177612005948864433"
        assert headers["Content-Length"] == "5"
    assert sdk.head_object(TEST_BUCKET, "key")["Content-Type"] == "text/x"


@pytest.mark.parametrize(
    ("asked", "given"), [("bytes=0-0", b"0"), ("bytes=3-", b"3456789"), ("bytes=-2", b"89"), ("bytes=8-99", b"89")]
)
def test_a_range_of_an_object(sdk, asked, given):
    sdk.put_object(TEST_BUCKET, b"0123456789", "key")
    assert sdk.get_object(TEST_BUCKET, "key", Range=asked)["Body"].get_raw_stream().read() == given
    assert refused(sdk.get_object, TEST_BUCKET, "key", Range="bytes=10-") == (416, "InvalidRange")


def test_overwriting_is_refused_on_request_until_versioning_was_on(server, sdk):
    sdk.put_object(TEST_BUCKET, b"1", "key", Metadata=FORBID)
    assert refused(sdk.put_object, TEST_BUCKET, b"2", "key", Metadata=FORBID) == (409, "FileAlreadyExists")
    assert refused(sdk.create_multipart_upload, TEST_BUCKET, "key", Metadata=FORBID) == (409, "FileAlreadyExists")
    assert server.stored_bytes(TEST_BUCKET, "key") == b"1"
    sdk.put_object(TEST_BUCKET, b"2", "key")
    assert server.stored_bytes(TEST_BUCKET, "key") == b"2"
    assert not sdk.get_bucket_versioning(TEST_BUCKET).get("Status")
    server.set_versioned(TEST_BUCKET)
    assert sdk.get_bucket_versioning(TEST_BUCKET)["Status"] == "Suspended"
    sdk.put_object(TEST_BUCKET, b"3", "key", Metadata=FORBID)
    assert server.stored_bytes(TEST_BUCKET, "key") == b"3"


def test_a_key_has_at_most_850_bytes(sdk):
    sdk.put_object(TEST_BUCKET, b"", "é" * 425)
    assert refused(sdk.put_object, TEST_BUCKET, b"", "é" * 425 + "x") == (400, "KeyTooLong")


def test_a_bucket_is_known_by_name_and_region(tmp_path):
    with CosServer(tmp_path, region="ap-guangzhou") as server:
        client_of(server).head_bucket(TEST_BUCKET)
        assert refused(client_of(server).put_object, "other-1", b"", "key") == (404, "NoSuchBucket")
        elsewhere = client_of(server, region="ap-beijing")
        assert refused(elsewhere.put_object, TEST_BUCKET, b"", "key") == (404, "NoSuchBucket")


def test_deleting_many(server, sdk):
    for key in ("a", "b", "<c> &"):
        sdk.put_object(TEST_BUCKET, b"", key)
    sdk.delete_objects(TEST_BUCKET, {"Quiet": "true", "Object": [{"Key": "a"}, {"Key": "<c> &"}, {"Key": "none"}]})
    assert server.stored_keys(TEST_BUCKET) == ["b"]


def test_a_listing_comes_in_pages(sdk):
    for number in range(5):
        sdk.put_object(TEST_BUCKET, b"", f"p/{number}")
    sdk.put_object(TEST_BUCKET, b"", "q")
    first = sdk.list_objects(TEST_BUCKET, "p/", MaxKeys=3)
    assert (keys_of(first), first["IsTruncated"], first["NextMarker"]) == (["p/0", "p/1", "p/2"], "true", "p/2")
    second = sdk.list_objects(TEST_BUCKET, "p/", MaxKeys=3, Marker=first["NextMarker"])
    assert (keys_of(second), second["IsTruncated"]) == (["p/3", "p/4"], "false")


def test_a_listing_with_a_delimiter_gives_folders_once(sdk):
    for key in ("a", "b/1", "b/2", "b/c/3", "d/4", "e"):
        sdk.put_object(TEST_BUCKET, b"", key)
    found, folders, marker, pages = [], [], "", 0
    while True:
        page = sdk.list_objects(TEST_BUCKET, Delimiter="/", MaxKeys=2, Marker=marker)
        found += keys_of(page)
        folders += [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
        pages += 1
        if page["IsTruncated"] == "false":
            break
        marker = page["NextMarker"]
    assert (found, folders, pages) == (["a", "e"], ["b/", "d/"], 2)


text_of_keys = st.text(
    st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("/%+ &?#<>=~"), min_size=1, max_size=20
).filter(lambda key: not key.startswith("/") and "./" not in key and key.strip("./"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(text_of_keys, min_size=1, max_size=8), text_of_keys)
def test_any_key_is_kept_and_listed_in_the_order_of_bytes(server, sdk, keys, prefix):
    for key in server.stored_keys(TEST_BUCKET):
        server.disk.delete(TEST_BUCKET, key)
    for key in keys:
        sdk.put_object(TEST_BUCKET, key.encode(), key)
    listed = keys_of(sdk.list_objects(TEST_BUCKET))
    assert listed == sorted(keys, key=str.encode)
    assert keys_of(sdk.list_objects(TEST_BUCKET, prefix)) == [key for key in listed if key.startswith(prefix)]
    for key in keys:
        assert sdk.get_object(TEST_BUCKET, key)["Body"].get_raw_stream().read() == key.encode()


def start(sdk, sizes):
    upload = sdk.create_multipart_upload(TEST_BUCKET, "big", Metadata={"x-cos-meta-a": "b"})["UploadId"]
    parts = []
    for number, size in enumerate(sizes, 1):
        answer = sdk.upload_part(TEST_BUCKET, "big", bytes([number]) * size, number, upload)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    return upload, parts


def complete(sdk, upload, parts, **options):
    return sdk.complete_multipart_upload(TEST_BUCKET, "big", upload, {"Part": parts}, **options)


def test_parts_are_joined_and_the_upload_ends(server, sdk):
    upload, parts = start(sdk, [MIB, MIB + 1, 3])
    listed = sdk.list_parts(TEST_BUCKET, "big", upload, MaxParts=2)
    assert [part["PartNumber"] for part in listed["Part"]] == ["1", "2"]
    assert listed["NextPartNumberMarker"] == "2"
    assert sdk.list_multipart_uploads(TEST_BUCKET)["Upload"][0]["UploadId"] == upload
    answer = complete(sdk, upload, parts)
    whole = b"\1" * MIB + b"\2" * (MIB + 1) + b"\3" * 3
    assert server.stored_bytes(TEST_BUCKET, "big") == whole
    head = sdk.head_object(TEST_BUCKET, "big")
    assert head["x-cos-hash-crc64ecma"] == answer["x-cos-hash-crc64ecma"]
    assert head["x-cos-meta-a"] == "b"
    assert refused(complete, sdk, upload, parts) == (404, "NoSuchUpload")


def test_a_part_may_be_a_copy(server, sdk):
    sdk.put_object(TEST_BUCKET, b"0123456789" * MIB, "a/ü + b")
    upload, _ = start(sdk, [])
    source = {"Bucket": TEST_BUCKET, "Key": "a/ü + b", "Region": "ap-guangzhou"}
    whole = sdk.upload_part_copy(TEST_BUCKET, "big", 1, upload, source)
    piece = sdk.upload_part_copy(TEST_BUCKET, "big", 2, upload, source, CopySourceRange="bytes=1-3")
    parts = [{"PartNumber": 1, "ETag": whole["ETag"]}, {"PartNumber": 2, "ETag": piece["ETag"]}]
    complete(sdk, upload, parts)
    assert server.stored_bytes(TEST_BUCKET, "big") == b"0123456789" * MIB + b"123"


def test_joining_keeps_the_rules_of_cos(server, sdk):
    upload, parts = start(sdk, [MIB - 1, 1])
    assert refused(complete, sdk, upload, parts) == (400, "EntityTooSmall")
    assert refused(complete, sdk, upload, parts[::-1]) == (400, "InvalidPartOrder")
    assert refused(complete, sdk, upload, [{"PartNumber": 1, "ETag": '"other"'}]) == (400, "InvalidPart")
    assert refused(complete, sdk, upload, [*parts, {"PartNumber": 3, "ETag": '"x"'}]) == (400, "InvalidPart")
    sdk.put_object(TEST_BUCKET, b"", "big")
    assert refused(complete, sdk, upload, parts[:1], Metadata=FORBID) == (409, "FileAlreadyExists")
    assert server.stored_bytes(TEST_BUCKET, "big") == b""
    sdk.abort_multipart_upload(TEST_BUCKET, "big", upload)
    assert refused(sdk.list_parts, TEST_BUCKET, "big", upload) == (404, "NoSuchUpload")
    assert len(list((server.disk._contents).iterdir())) == 1


def test_objects_outlive_the_server(tmp_path):
    with CosServer(tmp_path) as server:
        client_of(server).put_object(TEST_BUCKET, b"hello", "key")
    with CosServer(tmp_path) as server:
        assert client_of(server).get_object(TEST_BUCKET, "key")["Body"].get_raw_stream().read() == b"hello"


def test_a_stopped_server_does_not_answer_on_old_connections(tmp_path):
    with CosServer(tmp_path) as server:
        sdk = client_of(server)
        sdk.put_object(TEST_BUCKET, b"hello", "key")
    with pytest.raises(CosClientError):
        sdk.put_object(TEST_BUCKET, b"hello", "key")


STATUSES = {
    "500": 500,
    "503": 503,
    "429": 429,
    "html": 502,
    "empty": 500,
    "request-timeout": 400,
    "expired-token": 400,
    "access-denied": 403,
    "skewed": 403,
    "no-such-upload": 404,
    "500-after": 500,
}


@pytest.mark.parametrize("kind", STATUSES)
def test_a_fault_with_a_status(server, sdk, kind):
    server.faults.add(kind)
    with pytest.raises(CosServiceError) as caught:
        sdk.put_object(TEST_BUCKET, b"x" * MIB, "key")
    assert caught.value.get_status_code() == STATUSES[kind]
    assert server.stored_keys(TEST_BUCKET) == (["key"] if kind == "500-after" else [])
    sdk.put_object(TEST_BUCKET, b"x", "key")


@pytest.mark.parametrize("kind", ["reset-before", "reset-during", "reset-after"])
def test_a_fault_of_the_connection(server, sdk, kind):
    server.faults.add(kind)
    with pytest.raises(CosClientError, match="Connection aborted"):
        sdk.put_object(TEST_BUCKET, b"x" * MIB, "key")
    assert server.stored_keys(TEST_BUCKET) == (["key"] if kind == "reset-after" else [])
    sdk.put_object(TEST_BUCKET, b"x", "key")


def test_a_fault_waits_for_its_request(server, sdk):
    server.faults.add("500", method="PUT", key="a/*", nth=2, times=2)
    outcomes = []
    for key in ("a/1", "b/1", "a/2", "b/2", "a/3", "a/4"):
        try:
            sdk.put_object(TEST_BUCKET, b"", key)
            outcomes.append(key)
        except CosServiceError:
            outcomes.append("fault")
    assert outcomes == ["a/1", "b/1", "fault", "b/2", "fault", "a/4"]


def test_an_unknown_fault_is_refused_by_name():
    with pytest.raises(ValueError, match="no fault 'explode'"):
        Faults().add("explode")
    assert "hang" in get_args(FaultKind)


def test_random_faults_repeat_with_the_seed():
    def play(seed):
        faults = Faults()
        faults.at_random(0.3, seed=seed)
        return [faults.next("PUT", "PutObject", "key") for _ in range(200)]

    assert play(1) == play(1) != play(2)
    assert 30 < sum(kind is not None for kind in play(1)) < 90


def test_it_runs_from_the_command_line(tmp_path):
    environment = {**os.environ, "COS_SECRET_ID": "AKIDmine", "COS_SECRET_KEY": "mine"}
    command = [sys.executable, "-m", "transforms.testing.cos_server", "--directory", str(tmp_path), "--bucket", "b-1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            endpoint = process.stdout.readline().strip()
            sdk = client_of(type("Running", (), {"endpoint": endpoint}), "AKIDmine", "mine")
            sdk.put_object("b-1", b"hello", "key")
            assert keys_of(sdk.list_objects("b-1")) == ["key"]
        finally:
            process.terminate()
        assert process.wait(10) == 0


def test_an_object_is_copied_with_or_without_what_was_kept_with_it(server, sdk):
    sdk.put_object(TEST_BUCKET, b"12345", "a b+ü", Metadata={"x-cos-meta-m": "1", "Content-Type": "text/plain"})
    source = {"Bucket": TEST_BUCKET, "Key": "a b+ü", "Region": "ap-guangzhou"}
    answer = sdk.copy_object(TEST_BUCKET, "b", source)
    assert answer["ETag"] == sdk.head_object(TEST_BUCKET, "a b+ü")["ETag"]
    assert server.stored_bytes(TEST_BUCKET, "b") == b"12345"
    head = sdk.head_object(TEST_BUCKET, "b")
    assert (head["x-cos-meta-m"], head["Content-Type"]) == ("1", "text/plain")
    sdk.copy_object(TEST_BUCKET, "c", source, CopyStatus="Replaced", Metadata={"x-cos-meta-n": "2"})
    head = sdk.head_object(TEST_BUCKET, "c")
    assert ("x-cos-meta-m" in head, head["x-cos-meta-n"]) == (False, "2")
    assert refused(sdk.copy_object, TEST_BUCKET, "d", {**source, "Key": "none"}) == (404, "NoSuchKey")
    assert refused(sdk.copy_object, TEST_BUCKET, "b", source, Metadata=FORBID) == (409, "FileAlreadyExists")
    assert server.requests["PutObjectCopy"] == 4
