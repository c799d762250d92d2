"""COS keys that expire or are swapped while a run is under way; the server checks signatures."""

from __future__ import annotations

import json
import threading
from functools import partial

import pytest

from tests.pipelines.backups import arguments, assert_sentences_only, backup, run_job
from tests.pipelines.producing import numbered, send
from tests.pipelines.reading_back import assert_holds, messages_in
from tests.transforms.cos.metadata_service import metadata_service, role_answer
from transforms.cos import destination
from transforms.testing.cos_signature import ServerKey

OPTIONS = ["--max_file_messages=10", "--granularity=24h"]


def key_of(number: int) -> dict[str, ServerKey]:
    return {f"id{number}": ServerKey(f"key{number}", f"token{number}")}


class FileKeys:
    """Keys in a file that is replaced."""

    def __init__(self, path) -> None:
        self._path = path
        self.reference = f"file:{path}"

    def give(self, number: int) -> None:
        names = {"COS_SECRET_ID": f"id{number}", "COS_SECRET_KEY": f"key{number}", "COS_TOKEN": f"token{number}"}
        unfinished = self._path.with_suffix(".new")
        unfinished.write_text(json.dumps(names))
        unfinished.replace(self._path)


class RoleKeys:
    """Keys of the machine's role."""

    reference = "cvm-role:backup"

    def __init__(self, service) -> None:
        self._service = service

    def give(self, number: int) -> None:
        self._service.answer = role_answer(number)


@pytest.fixture(params=["file", "role"])
def keys(request, tmp_path, monkeypatch):
    if request.param == "file":
        yield FileKeys(tmp_path / "key.json")
        return
    with metadata_service() as service:
        parse = partial(destination.parse_credentials, metadata_url=service.url)
        monkeypatch.setattr(destination, "parse_credentials", parse)
        yield RoleKeys(service)


@pytest.fixture
def sent(client, topic):
    name = topic()
    return name, send(client, name, numbered(600), batch=10)


def when_stored(bucket, count: int, act) -> threading.Thread:
    """Act when so many objects stand there."""
    reached = bucket.when_stored(count)

    def wait() -> None:
        assert reached.wait(60)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize("how", ["expired", "swapped"])
def test_a_key_that_ends_before_the_next_one_is_there_is_survived(broker, sent, bucket, keys, how):
    name, places = sent
    server = bucket.server
    server.keys = key_of(1)
    keys.give(1)
    refused = threading.Event()

    def end() -> None:
        before = server.requests.total()
        server.keys = {"id1": ServerKey("key1", "token1", expired=True)} if how == "expired" else {}
        # Only when it has been refused, and refused again, is there a new one.
        while server.requests.total() < before + 40:
            refused.wait(0.01)
        server.keys |= key_of(2)
        keys.give(2)

    ending = when_stored(bucket, 15, end)
    run = backup(broker, name, bucket, *OPTIONS, f"--cos_credentials={keys.reference}")
    ending.join()
    assert_holds(messages_in(bucket, granularity=86400), {name: places})
    assert run.summary["files"] == 60


def test_a_key_that_expires_for_good_is_an_error_that_says_so(broker, sent, bucket, keys, monkeypatch):
    monkeypatch.setattr(destination, "RetryPolicy", partial(destination.RetryPolicy, key_deadline=0.5))
    name, places = sent
    server = bucket.server
    server.keys = key_of(1)
    keys.give(1)

    def expire() -> None:
        server.keys = {"id1": ServerKey("key1", "token1", expired=True)}

    ending = when_stored(bucket, 15, expire)
    options = [*OPTIONS, f"--cos_credentials={keys.reference}", "--subscription=ours"]
    run = run_job(arguments(broker, name, bucket, options))
    ending.join()
    assert run.code == 3
    assert_sentences_only(run.errors)
    assert "The temporary key has expired and no newer one was found" in run.errors
    assert f"--cos_credentials={keys.reference}" in run.errors
    assert not [secret for secret in ("key1", "token1") if secret in run.errors]
    assert broker.admin.internal_stats(name)["cursors"]["ours"]["markDeletePosition"].endswith(":-1")
    assert 15 <= len(bucket.listed()) < 60
    server.keys = key_of(2)
    keys.give(2)
    backup(broker, name, bucket, *options)
    assert_holds(messages_in(bucket, granularity=86400), {name: places})


def test_a_key_of_the_environment_that_expires_ends_the_run_at_once(broker, sent, bucket, monkeypatch):
    name, _ = sent
    server = bucket.server
    server.keys = key_of(1)
    for option, value in (("ID", "id1"), ("KEY", "key1")):
        monkeypatch.setenv(f"COS_SECRET_{option}", value)
    monkeypatch.setenv("COS_TOKEN", "token1")
    ending = when_stored(bucket, 15, lambda: server.keys.update(id1=ServerKey("key1", "token1", expired=True)))
    run = run_job(arguments(broker, name, bucket, OPTIONS))
    ending.join()
    assert run.code == 3
    assert_sentences_only(run.errors)
    assert "The temporary key has expired" in run.errors
    assert "Gave up after" not in run.errors
