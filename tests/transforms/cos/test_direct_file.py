from __future__ import annotations

import errno
import os

import pytest

from transforms.cos import direct_file as module
from transforms.cos.direct_file import direct_file, read_directly, write_directly
from transforms.files.pieces import Pieces

MIB = 1 << 20
SIZES = [0, 1, 4095, 65_535, 65_536, MIB - 1, MIB, MIB + 1, 3 * MIB + 5]


@pytest.fixture(params=["disk", "memory"])
def place(request, tmp_path):
    """A file system that takes O_DIRECT, perhaps, and one that may not."""
    if request.param == "disk":
        yield tmp_path
        return
    folder = module.Path("/dev/shm") / f"direct-{os.getpid()}"
    folder.mkdir()
    yield folder
    for each in folder.iterdir():
        each.unlink()
    folder.rmdir()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pieces", [1, 7])
def test_a_file_holds_what_was_written(place, size, pieces):
    content = os.urandom(size)
    step = max(-(-size // pieces), 1)
    with direct_file(place / "file") as file:
        for begin in range(0, size, step):
            file.write(content[begin : begin + step])
    assert (place / "file").read_bytes() == content


def test_a_file_holds_pieces_one_behind_the_other(place):
    content = os.urandom(3 * MIB)
    with direct_file(place / "file") as file:
        file.write(b"ahead")
        file.write(Pieces(content[:5], memoryview(content)[5:MIB], content[MIB:]))
    assert (place / "file").read_bytes() == b"ahead" + content


@pytest.mark.parametrize("tail", SIZES)
def test_a_file_grows_from_aligned_places_in_any_order(place, tail):
    content = os.urandom(3 * MIB + 4096 + tail)
    (place / "file").touch()
    for begin, end in [(MIB, 2 * MIB + 4096), (0, MIB), (2 * MIB + 4096, 3 * MIB + 4096)]:
        write_directly(place / "file", begin, content[begin:end], flush=False)
    write_directly(place / "file", 3 * MIB + 4096, content[3 * MIB + 4096 :], flush=True)
    assert (place / "file").read_bytes() == content


@pytest.mark.parametrize("size", SIZES)
def test_what_is_read_is_what_the_file_holds(place, size):
    content = os.urandom(size)
    (place / "file").write_bytes(content)
    assert b"".join(map(bytes, read_directly(place / "file"))) == content


def test_a_file_system_that_wants_larger_blocks_is_read_through_its_cache(tmp_path, monkeypatch):
    read, refused = os.readv, []

    def refusing(descriptor: int, buffers: list[memoryview]) -> int:
        if os.O_DIRECT & module.fcntl.fcntl(descriptor, module.fcntl.F_GETFL):
            refused.append(descriptor)
            raise OSError(errno.EINVAL, "not aligned")
        return read(descriptor, buffers)

    monkeypatch.setattr(os, "readv", refusing)
    content = os.urandom(2 * MIB + 77)
    (tmp_path / "file").write_bytes(content)
    assert b"".join(map(bytes, read_directly(tmp_path / "file"))) == content
    assert len(refused) == 1


def test_what_cannot_be_read_is_raised(tmp_path, monkeypatch):
    def broken(descriptor: int, buffers: list[memoryview]) -> int:
        raise OSError(errno.EIO, "broken")

    (tmp_path / "file").write_bytes(b"there")
    monkeypatch.setattr(os, "readv", broken)
    with pytest.raises(OSError, match="broken"):
        list(read_directly(tmp_path / "file"))


def test_a_file_system_that_wants_larger_blocks_is_written_to_through_its_cache(tmp_path, monkeypatch):
    write, refused = os.write, []

    def refusing(descriptor: int, data: memoryview) -> int:
        if len(refused) < 2 and os.O_DIRECT & module.fcntl.fcntl(descriptor, module.fcntl.F_GETFL):
            refused.append(len(data))
            raise OSError(errno.EINVAL, "not aligned")
        return write(descriptor, data[:100_000])

    monkeypatch.setattr(os, "write", refusing)
    content = os.urandom(2 * MIB + 77)
    with direct_file(tmp_path / "file") as file:
        file.write(content)
    assert (tmp_path / "file").read_bytes() == content
    assert refused


def test_a_name_that_is_taken_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"there")
    with pytest.raises(FileExistsError), direct_file(tmp_path / "file") as file:
        file.write(b"x")
    assert (tmp_path / "file").read_bytes() == b"there"


def test_what_the_disk_refuses_is_raised(tmp_path, monkeypatch):
    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="no space"), direct_file(tmp_path / "file") as file:
        file.write(bytes(2 * MIB))
