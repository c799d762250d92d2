from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from fastcrc import crc64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.transforms.cos.joining import files
from transforms.cos import folder_store
from transforms.cos.folder_store import FolderStore
from transforms.errors import AccessError, DestinationError, ObjectConflictError

META = {"records-crc64": "7", "records-bytes": "11", "messages": "5"}
KEY = "t/dt=2026-11-22/file.avro"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "backup"


@pytest.fixture
def store(folder):
    return FolderStore(folder)


def test_an_object_is_a_file_and_nothing_else_is_left(store, folder):
    assert store.put(KEY, b"hello", META) is True
    assert (folder / KEY).read_bytes() == b"hello"
    assert files(folder) == [KEY]
    assert b"".join(store.read(KEY)) == b"hello"


def test_the_content_is_flushed_before_the_name_and_the_name_before_the_answer(store, folder, monkeypatch):
    folder.mkdir()
    events = []
    fsync, link = os.fsync, os.link

    def flush(descriptor):
        events.append("folder" if os.fstat(descriptor).st_ino == folder.stat().st_ino else "content")
        fsync(descriptor)

    def name(source, target):
        events.append("name")
        link(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "link", name)
    store.put("key", b"hello", META)
    assert events == ["content", "name", "folder"]


def test_equal_bytes_are_no_error_and_other_bytes_are_a_conflict(store, folder):
    store.put(KEY, b"hello", META)
    assert store.put(KEY, b"hello", {}) is False
    for other in (b"HELLO", b"longer than that", b""):
        with pytest.raises(ObjectConflictError, match=f"5 bytes there, {len(other)} bytes to be written"):
            store.put(KEY, other, META)
    assert files(folder) == [KEY]
    assert (folder / KEY).read_bytes() == b"hello"


def test_parts_and_a_tail_make_one_file(store, folder):
    parts = [os.urandom(1 << 20) + b"x" * number for number in range(3)]
    keys = [f"_spool/{number}" for number in range(3)]
    for key, part in zip(keys, parts, strict=True):
        store.put_part(key, b"an earlier, other part")
        store.put_part(key, part)
    whole = b"".join(parts) + b"tail"
    assert store.join(KEY, keys, b"tail", crc64.xz(whole), META) is True
    assert store.join(KEY, keys, b"tail", crc64.xz(whole), META) is False
    assert (folder / KEY).read_bytes() == whole
    with pytest.raises(ObjectConflictError):
        store.join(KEY, keys[:1], b"", crc64.xz(parts[0]), META)
    assert (folder / KEY).read_bytes() == whole
    store.delete_parts([*keys, "_spool/none", "none/none"])
    assert files(folder) == [KEY]


def test_a_join_with_another_crc64_leaves_no_file(store, folder):
    store.put_part("_spool/1", b"part")
    with pytest.raises(DestinationError, match="instead of 12345"):
        store.join(KEY, ["_spool/1"], b"tail", 12345, META)
    assert files(folder) == ["_spool/1"]


def test_a_missing_part_is_named(store, folder):
    with pytest.raises(DestinationError, match="_spool/1 is not there"):
        store.join(KEY, ["_spool/1"], b"tail", 0, META)
    assert files(folder) == []


@pytest.mark.parametrize(
    "key", ["", "/etc/x", "../x", "a/../../x", "a/./b", "a//b", "a/", "a\0b", "a\nb", "..", "a\x7f"]
)
def test_a_key_never_leaves_the_folder(store, folder, key):
    for act in (
        lambda: store.put(key, b"x", META),
        lambda: store.put_part(key, b"x"),
        lambda: store.join(key, [], b"x", crc64.xz(b"x"), META),
        lambda: store.join(KEY, [key], b"", 0, META),
        lambda: store.delete_parts([key]),
        lambda: list(store.read(key)),
    ):
        with pytest.raises(DestinationError, match="cannot be the name of a file"):
            act()
    assert not folder.exists() or files(folder) == []
    assert list(folder.parent.iterdir()) in ([], [folder])


key_names = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=5)
key_names = (key_names | st.sampled_from(["a", "a-b", "a b", "a0", "é"])).filter(lambda name: name not in (".", ".."))
keys = st.lists(key_names, min_size=1, max_size=3).map("/".join)


def fit_together(chosen):
    """No key is a folder of another."""
    return not any(other.startswith(f"{key}/") for key in chosen for other in chosen)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(keys, max_size=8).filter(fit_together), st.text("ab-0/ é", max_size=4))
def test_keys_are_listed_in_the_order_of_their_bytes(tmp_path_factory, chosen, prefix):
    store = FolderStore(tmp_path_factory.mktemp("folder"))
    for key in chosen:
        store.put(key, key.encode(), META)
    expected = sorted(chosen, key=str.encode)
    assert list(store.list_keys("")) == expected
    if not any(name in ("", ".", "..") for name in prefix.split("/")[:-1]):
        assert list(store.list_keys(prefix)) == [key for key in expected if key.startswith(prefix)]


def test_listing_a_folder_that_is_not_there_gives_nothing(store):
    assert list(store.list_keys("")) == []
    assert list(store.list_keys("none/none/")) == []


def partial_name(host=folder_store._HOST, process=None, life=folder_store._LIFE):
    return f".partial-{host}-{os.getpid() if process is None else process}-{life}-{'0' * 32}"


def test_partial_files_are_hidden_and_those_of_dead_processes_removed(store, folder):
    store.put(KEY, b"hello", META)
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    alive = [partial_name(), partial_name(host="elsewhere", process=dead.pid), partial_name(process=os.getppid())]
    stale = [partial_name(process=dead.pid), partial_name(life="00000000")]
    place = (folder / KEY).parent
    for name in alive + stale:
        (place / name).write_bytes(b"")
    assert list(store.list_keys("")) == [KEY]
    assert sorted(path.name for path in place.iterdir()) == sorted([*alive, "file.avro"])


def test_a_name_of_a_partial_file_is_no_key(store):
    with pytest.raises(DestinationError):
        store.put(f"a/{partial_name()}", b"", META)


def test_of_eight_threads_that_put_one_key_one_creates_it(store, folder):
    together = Barrier(8)

    def put(_):
        together.wait()
        return store.put(KEY, b"hello", META)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(put, range(8))).count(True) == 1
    assert files(folder) == [KEY]


def test_a_writer_that_is_killed_leaves_no_object(folder):
    """The process ends, without any clean-up, when the content is written and before it is linked."""
    script = (
        "import os, sys\n"
        "from transforms.cos.folder_store import FolderStore\n"
        "os.link = lambda *_: os._exit(9)\n"
        "FolderStore(sys.argv[1]).put('key', b'hello', {})\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(folder)], check=False).returncode == 9
    assert len(files(folder)) == 1
    store = FolderStore(folder)
    assert list(store.list_keys("")) == []
    assert files(folder) == []
    assert store.put("key", b"hello", META) is True


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, (DestinationError, "is full")),
        (errno.EDQUOT, (DestinationError, "quota")),
        (errno.EROFS, (DestinationError, "read-only")),
        (errno.EACCES, (AccessError, "by this user")),
        (errno.EIO, (DestinationError, "Input/output error")),
    ],
)
def test_errors_of_the_file_system_are_said_plainly(store, folder, monkeypatch, number, expected):
    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    for act in (
        lambda: store.put(KEY, b"x", META),
        lambda: store.put_part(KEY, b"x"),
        lambda: store.join(KEY, [], b"x", crc64.xz(b"x"), META),
    ):
        with pytest.raises(expected[0], match=expected[1]):
            act()
    assert not folder.exists() or files(folder) == []


def test_a_write_that_the_system_cuts_short_is_said_plainly_and_leaves_nothing():
    """A real refusal in the middle of a write: the limit on the size of a file."""
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from transforms.cos.folder_store import FolderStore\n"
        "from transforms.errors import DestinationError\n"
        "import tempfile, os\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    try:\n"
        "        FolderStore(folder).put('key', b'x' * 5000, {})\n"
        "    except DestinationError as error:\n"
        "        print(error, os.listdir(folder))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout
    assert done.stdout.endswith("[]\n")


def test_a_file_in_the_place_of_a_folder_is_said_plainly(store):
    store.put("a", b"", META)
    with pytest.raises(DestinationError, match="a part of its path is a file"):
        store.put("a/b", b"", META)
    store.put("c/d", b"", META)
    with pytest.raises(ObjectConflictError, match="a folder there"):
        store.put("c", b"", META)


def test_it_travels_to_workers(store, folder):
    pickle.loads(pickle.dumps(store)).put(KEY, b"hello", META)
    assert files(folder) == [KEY]


def test_a_folder_that_tells_case_is_known_and_the_question_leaves_nothing(store, folder):
    assert store.is_case_blind() is False
    assert files(folder) == []


def test_a_folder_that_does_not_tell_case_is_known(store, monkeypatch):
    # No such file system can be mounted here: this looks names up as one does.
    def exists(path):
        return any(name.lower() == path.name.lower() for name in os.listdir(path.parent))

    monkeypatch.setattr(type(store._folder), "exists", exists)
    assert store.is_case_blind() is True
