"""Looking for secrets in whatever a run leaves behind, also where they are encoded or packed."""

from __future__ import annotations

import base64
import binascii
import bz2
import os
import re
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
_BASE64URL = bytes.maketrans(b"-_", b"+/")
_POLL_SECONDS = 0.05


def forms(secret: str) -> set[bytes]:
    """The secret as it is, and in base64 at each offset, URL-encoded and in hex."""
    plain = secret.encode()
    found = {plain, quote(secret, safe="").encode(), quote_plus(secret).encode(), plain.hex().encode()}
    found.add(plain.hex().upper().encode())
    for offset in range(3):
        # The first and the last group hold bits of what stands around.
        encoded = base64.b64encode(bytes(offset) + plain)
        found.add(encoded[4 if offset else 0 : -4])
        found.add(base64.urlsafe_b64encode(bytes(offset) + plain)[4 if offset else 0 : -4])
    return found


def unpacked(content: bytes, depth: int = 4) -> Iterator[bytes]:
    """The content, and what is encoded or compressed within it."""
    yield content
    if not depth:
        return
    for packed in {content, *_BASE64.findall(content)}:
        for inner in _opened(packed):
            yield from unpacked(inner, depth - 1)


def _opened(packed: bytes) -> Iterator[bytes]:
    decoded = [packed]
    if _BASE64.fullmatch(packed):
        bare = packed.rstrip(b"=").translate(_BASE64URL)
        try:
            decoded = [base64.b64decode(bare[: len(bare) - (len(bare) % 4 == 1)] + b"=" * (-len(bare) % 4))]
        except binascii.Error:
            return
        yield decoded[0]
    for each in decoded:
        for open_it in (zlib.decompress, bz2.decompress, lambda data: zlib.decompress(data, 31)):
            try:
                yield open_it(each)
            except (zlib.error, OSError, ValueError):
                continue


def found_in(content: bytes | str, secrets: Iterable[str]) -> list[str]:
    """Which of the secrets are in it, in whatever form."""
    content = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    layers = list(unpacked(content))
    return [secret for secret in secrets if any(form in layer for form in forms(secret) for layer in layers)]


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file there, hidden ones too."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def command_lines_of(process: int) -> Iterator[set[bytes]]:
    """Gathers, while the body runs, the command lines of a process and of all that it starts."""
    seen: set[bytes] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_POLL_SECONDS):
            family = {process}
            for name in sorted(filter(str.isdecimal, os.listdir("/proc")), key=int):
                try:
                    parent = int(Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[1])
                    if int(name) in family or parent in family:
                        family.add(int(name))
                        seen.add(Path("/proc", name, "cmdline").read_bytes())
                except OSError:
                    continue  # it has ended meanwhile

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield seen
    finally:
        ended.set()
        watching.join()
