"""What a sample of a profile was taken in: the one table that says which function belongs to what."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CLIENT_THREADS = "client's own threads"
"""Receiving and decompressing: threads that never run Python."""
CALLS, READING, ENCODING, COMPRESSING = "calls into the client", "read loop", "encoding", "compressing"
CHECKSUMS, BEAM, STATE, WRITING, FREEING = "checksums", "Beam, shuffle", "cutting, state", "writing", "freeing"
CATEGORIES = (
    CLIENT_THREADS,
    CALLS,
    READING,
    ENCODING,
    COMPRESSING,
    CHECKSUMS,
    BEAM,
    STATE,
    WRITING,
    FREEING,
)
NOT_ATTRIBUTED = "not attributed"
START = "start and end"
"""Importing, checking, building the pipeline, ending: spent once, not for each message."""

_MAIN = "MainThread"
#: In a stack of the main thread while messages go through.
_AT_WORK = re.compile(r"\bprocess_bundle\b|\bprocess_bundles?\b|_run_bundle")
_IMPORTING = re.compile(r"_find_and_load|importlib")
#: The innermost function of a thread that waits; the profiler does not always see that it does.
_WAITING = re.compile(
    r"PyThread_acquire_lock_timed|pthread_cond_(timed)?wait|take_gil|nanosleep|usleep|epoll|poll \(|select|recv \("
    r"|syscall \("
)
#: How many of the innermost frames are looked at for that: libc's own have no names.
_INNERMOST = 3

#: From the innermost frame outwards, the first that fits decides. A frame is "function (file:line)", or of native code
#: "function (library)".
_TABLE: Sequence[tuple[str, str]] = (
    (r"dealloc|gc_collect|malloc_trim|return_freed_memory|\b(cfree|free|_int_free) \(", FREEING),
    (r"fastcrc|crc64|\bcrc32\b|_records_crc|hashlib|_hashlib", CHECKSUMS),
    (r"zstandard|backend_c|\bisal|cramjam|transforms/files/codecs\.py|libz\b", COMPRESSING),
    (r"_pulsar\.|libpulsar|transforms/pulsar/client\.py|pulsar/__init__\.py", CALLS),
    (r"transforms/files/(roll|state|content)\.py|\b(to_bytes|from_bytes|slice) \(transforms/files/records", STATE),
    (r"\b(encode_state|decode_state|extend|get_raw|append_raw|_materialize_iter|blocking_get)\b", STATE),
    (r"userstate\.py|\b(read|write|add|clear) \(apache_beam/runners/worker/bundle_processor", STATE),
    (r"transforms/files/assemble\.py|transforms/cos/(?!sink)|urllib3|requests/|http/client|qcloud_cos|_ssl", WRITING),
    (r"\b(joined|block) \(transforms/files/", WRITING),
    (r"orjson|fastavro|transforms/files/", ENCODING),
    (r"transforms/pulsar/(?!source)", READING),
    (r"\b_(roll|write|pack|upload|tell)\b \(transforms/cos/sink", STATE),
    (r"apache_beam|statesampler|grpc|protobuf|google/|transforms/cos/sink|transforms/pulsar/source", BEAM),
)
_RULES = [(re.compile(pattern), category) for pattern, category in _TABLE]


@dataclass(frozen=True)
class Stack:
    """A stack that was seen in a thread, and how often."""

    thread: int
    name: str
    frames: tuple[str, ...]
    """The outermost first."""
    count: int


def parse(line: str) -> Stack:
    """A line of ``py-spy record --format raw --threads``. Raises ValueError for any other."""
    stack, _, count = line.rstrip().rpartition(" ")
    head, *frames = stack.split(";")
    found = re.fullmatch(r"thread \((\d+)\)(?:: (.*))?", head)
    if found is None:
        raise ValueError(f"not a thread of a profile: {head}")
    return Stack(int(found[1]), found[2] or "", tuple(frames), int(count))


def category(stack: Stack) -> str | None:
    """What it belongs to; None while it waits."""
    if any(_WAITING.search(frame) for frame in stack.frames[-_INNERMOST:]):
        return None
    if stack.name == _MAIN and not any(_AT_WORK.search(frame) for frame in stack.frames):
        return START
    if any(_IMPORTING.search(frame) for frame in stack.frames):
        return START
    for frame in reversed(stack.frames):
        for rule, found in _RULES:
            if rule.search(frame):
                return found
    return NOT_ATTRIBUTED


def attribute(stacks: Sequence[Stack], cpu: Mapping[int, float], whole: float) -> dict[str, float]:
    """CPU seconds of each category: those of each thread, split as its samples are.

    ``cpu``: of the threads there were, by id; ``whole``: of the process. What no thread is known to have used, and what
    threads used that were never seen at work, is not attributed.
    """
    samples: dict[int, Counter[str]] = {}
    for stack in stacks:
        of_thread = samples.setdefault(stack.thread, Counter())
        found = category(stack)
        if found is not None:
            of_thread[found] += stack.count
    seconds: dict[str, float] = dict.fromkeys([*CATEGORIES, NOT_ATTRIBUTED, START], 0.0)
    for thread, spent in cpu.items():
        if thread not in samples:
            seconds[CLIENT_THREADS] += spent
            continue
        seen = samples[thread]
        for found, count in seen.items():
            seconds[found] += spent * count / seen.total()
        if not seen:
            seconds[NOT_ATTRIBUTED] += spent
    seconds[NOT_ATTRIBUTED] += max(whole - sum(cpu.values()), 0.0)
    return seconds
