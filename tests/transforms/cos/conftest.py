from __future__ import annotations

import random

import pytest

from tests.transforms.cos.joining import MIB
from transforms.cos.client import CosClient
from transforms.cos.cos_store import CosStore
from transforms.cos.credentials import parse_credentials
from transforms.cos.destination import Destination, parse_destination
from transforms.cos.folder_store import FolderStore
from transforms.cos.retry import Place, RetryPolicy
from transforms.cos.store import ObjectStore
from transforms.testing.cos_server import TEST_BUCKET, TEST_SECRET_ID, TEST_SECRET_KEY, CosServer

IMPATIENT = RetryPolicy(deadline=20.0, first_wait=0.001, longest_wait=0.01)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("COS_SECRET_ID", TEST_SECRET_ID)
    monkeypatch.setenv("COS_SECRET_KEY", TEST_SECRET_KEY)
    monkeypatch.delenv("COS_TOKEN", raising=False)


@pytest.fixture
def server(tmp_path):
    with CosServer(tmp_path / "cos") as running:
        yield running


@pytest.fixture
def destination(server) -> Destination:
    return parse_destination(f"cos://{TEST_BUCKET}/backup/", endpoint=server.endpoint)


@pytest.fixture
def make_store(server):
    """Make a store with a policy, a credentials reference, timeouts or headers of one's own."""

    def make(*, policy=IMPATIENT, credentials="env", headers=None, bucket=TEST_BUCKET, region=None, **timeouts):
        client = CosClient(
            bucket=bucket,
            region=region,
            endpoint=server.endpoint,
            credentials=parse_credentials(credentials),
            **timeouts,
        )
        return CosStore(client, Place(bucket, region, server.endpoint, credentials), headers=headers, policy=policy)

    return make


@pytest.fixture
def store(make_store) -> CosStore:
    return make_store()


@pytest.fixture(params=["bucket", "folder"])
def any_store(request, tmp_path) -> ObjectStore:
    """In a bucket, and in a folder."""
    return FolderStore(tmp_path / "folder") if request.param == "folder" else request.getfixturevalue("store")


@pytest.fixture
def parts(store):
    """Three spooled parts and their contents."""
    source = random.Random(1)
    contents = [source.randbytes(MIB + 3 * number) for number in range(3)]
    keys = [f"backup/_spool/{number}" for number in range(3)]
    for key, content in zip(keys, contents, strict=True):
        store.put_part(key, content)
    return keys, contents
