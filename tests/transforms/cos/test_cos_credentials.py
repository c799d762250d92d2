from __future__ import annotations

import os
import pickle

import pytest

from tests.transforms.cos.metadata_service import metadata_service, role_answer
from transforms.cos import credentials
from transforms.cos.credentials import Credentials, parse_credentials
from transforms.errors import AccessError, ConfigurationError
from transforms.testing.cos_server import TEST_BUCKET
from transforms.testing.cos_signature import ServerKey

META = {"records-crc64": "7", "records-bytes": "11", "messages": "5"}


@pytest.fixture
def metadata():
    with metadata_service() as service:
        yield service


def test_the_environment_is_read_at_each_call(monkeypatch):
    source = parse_credentials("env")
    monkeypatch.setenv("COS_SECRET_ID", " one ")
    monkeypatch.setenv("COS_SECRET_KEY", "two\n")
    assert source.get() == Credentials("one", "two")
    monkeypatch.setenv("COS_TOKEN", "three")
    assert source.get() == Credentials("one", "two", "three")


def test_what_the_environment_lacks_is_named(monkeypatch):
    monkeypatch.delenv("COS_SECRET_KEY")
    with pytest.raises(ConfigurationError, match=r"has no COS_SECRET_KEY\. Use env"):
        parse_credentials("env").get()


@pytest.mark.parametrize("reference", ["", "AKIDpasted", "file:", "cvm-role:", "env:X", "File:/x"])
def test_a_reference_of_no_known_form_is_refused_without_repeating_it(reference):
    with pytest.raises(ConfigurationError, match="file:PATH") as caught:
        parse_credentials(reference)
    assert "AKIDpasted" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '{"COS_SECRET_ID": "one", "COS_SECRET_KEY": "two", "COS_TOKEN": "three"}',
        "COS_SECRET_ID=one\nCOS_SECRET_KEY=two\nCOS_TOKEN=three\n",
        "# mine\r\nexport COS_SECRET_ID='one'\r\n\r\nCOS_SECRET_KEY = \"two\"\r\nCOS_TOKEN=three",
        "\ufeffCOS_SECRET_ID=one\nCOS_SECRET_KEY=two\nCOS_TOKEN=three\nOTHER=x",
    ],
)
def test_a_file_is_json_or_lines(tmp_path, text):
    (tmp_path / "cos").write_text(text, encoding="utf-8")
    assert parse_credentials(f"file:{tmp_path}/cos").get() == Credentials("one", "two", "three")


def test_a_file_is_read_again_when_it_changes(tmp_path):
    file = tmp_path / "cos"
    file.write_text("COS_SECRET_ID=one\nCOS_SECRET_KEY=two\n")
    source = parse_credentials(f"file:{file}")
    assert source.get() == Credentials("one", "two")
    new = tmp_path / "new"
    new.write_text("COS_SECRET_ID=six\nCOS_SECRET_KEY=two\n")
    stamp = file.stat().st_mtime_ns
    os.utime(new, ns=(stamp, stamp))
    new.replace(file)
    assert source.get() == Credentials("six", "two")


@pytest.mark.parametrize("damage", ["{", "COS_SECRET_ID=half", None])
def test_a_file_that_is_half_written_or_away_leaves_the_known_key_in_use(tmp_path, damage):
    file = tmp_path / "cos"
    file.write_text("COS_SECRET_ID=one\nCOS_SECRET_KEY=two\n")
    source = parse_credentials(f"file:{file}")
    source.get()
    file.unlink() if damage is None else file.write_text(damage)
    assert source.get() == Credentials("one", "two")
    file.write_text("COS_SECRET_ID=new\nCOS_SECRET_KEY=newer\n")
    assert source.get() == Credentials("new", "newer")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot be read"),
        ('{"COS_SECRET_ID": "hidden"', "not valid JSON"),
        ("COS_SECRET_ID=hidden", "has no"),
        ('{"hidden":' * 100_000, "not valid JSON"),
    ],
)
def test_a_file_that_cannot_be_used_at_first_says_why_and_shows_nothing(tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "cos").write_text(text)
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        parse_credentials(f"file:{tmp_path}/cos").get()
    assert f"{tmp_path}/cos" in str(caught.value)
    assert "hidden" not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_role_key_is_fetched_once_until_it_is_about_to_expire(metadata, monkeypatch):
    source = parse_credentials("cvm-role:backup role", metadata_url=metadata.url)
    metadata.answer = role_answer(1)
    assert source.get().token == source.get().token == "token1"
    assert metadata.paths == ["/latest/meta-data/cam/security-credentials/backup%20role"]
    metadata.answer = role_answer(2, lasts=200)
    source.refresh()
    assert source.get().token == "token2"
    metadata.answer = role_answer(3)
    assert source.get().token == "token2", "asked a moment ago"
    assert len(metadata.paths) == 2
    monkeypatch.setattr(credentials, "_METADATA_PAUSE", 0.0)
    assert source.get().token == "token3"


def test_a_role_key_that_lasts_stays_in_use_while_the_service_is_away(metadata):
    source = parse_credentials("cvm-role:r", metadata_url=metadata.url)
    metadata.answer = role_answer(1, lasts=200)
    source.get()
    metadata.answer = None
    assert source.get().token == "token1"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (None, "404"),
        (b"<html>", "not of the known form"),
        ([1], "not of the known form"),
        ({"TmpSecretId": "hidden"}, "not of the known form"),
        ({"Code": "Failed"}, "refused the role r: Failed"),
    ],
)
def test_a_role_that_gives_no_key_says_why(metadata, answer, sentence):
    metadata.answer = answer
    with pytest.raises(AccessError, match=sentence) as caught:
        parse_credentials("cvm-role:r", metadata_url=metadata.url).get()
    assert "hidden" not in str(caught.value)


def test_the_metadata_service_is_never_asked_through_a_proxy(metadata, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    metadata.answer = role_answer(1)
    assert parse_credentials("cvm-role:r", metadata_url=metadata.url).get().token == "token1"


def test_credentials_show_nothing_and_are_not_pickled():
    credentials = Credentials("AKIDx", "hidden-key", "hidden-token", 1.0)
    assert "AKIDx" not in repr(credentials)
    assert "hidden" not in f"{credentials} {credentials!r}"
    with pytest.raises(TypeError):
        pickle.dumps(credentials)


def test_a_file_swapped_in_the_middle_of_a_run_is_used_at_once(tmp_path, server, make_store):
    file = tmp_path / "key"
    server.keys.clear()
    for number in (1, 2):
        server.keys[f"id{number}"] = ServerKey(f"key{number}", token=f"token{number}")

    def swap(number):
        lines = f"COS_SECRET_ID=id{number}\nCOS_SECRET_KEY=key{number}\nCOS_TOKEN=token{number}\n"
        (tmp_path / "new").write_text(lines)
        (tmp_path / "new").replace(file)

    swap(1)
    store = make_store(credentials=f"file:{file}")
    assert store.put("backup/1", b"x", META) is True
    server.keys["id1"] = ServerKey("key1", token="token1", expired=True)
    swap(2)
    assert store.put("backup/2", b"x", META) is True
    server.keys["id2"] = ServerKey("key2", token="token2", expired=True)
    with pytest.raises(AccessError, match="has expired"):
        store.put("backup/3", b"x", META)
    assert server.stored_keys(TEST_BUCKET) == ["backup/1", "backup/2"]


def test_a_file_rewritten_under_the_same_time_and_size_is_read_after_cos_refused(tmp_path, server, make_store):
    """Some file systems count time in seconds: the swap cannot be seen, so the refusal has to tell."""
    file = tmp_path / "key"
    server.keys = {"id2": ServerKey("key2")}
    file.write_text("COS_SECRET_ID=id1\nCOS_SECRET_KEY=key1\n")
    store = make_store(credentials=f"file:{file}")
    store._client._source.get()
    stamp = file.stat().st_mtime_ns
    file.write_text("COS_SECRET_ID=id2\nCOS_SECRET_KEY=key2\n")
    os.utime(file, ns=(stamp, stamp))
    assert store.put("backup/1", b"x", META) is True
