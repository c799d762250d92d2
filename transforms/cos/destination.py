"""Where objects go, as ``--destination`` and the ``--cos_…`` options say it, and the store that is opened there."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlencode, urlsplit

from transforms.cos.client import CosClient
from transforms.cos.cos_store import META, CosStore
from transforms.cos.credentials import parse_credentials
from transforms.cos.folder_store import FolderStore
from transforms.cos.object_metadata import NAMES
from transforms.cos.retry import DEADLINE, Place, RequestFailed, RetryPolicy
from transforms.cos.store import ObjectStore
from transforms.errors import AccessError, ConfigurationError, DestinationError

_logger = logging.getLogger(__name__)

REGIONS = frozenset(
    {
        "ap-guangzhou",
        "ap-shanghai",
        "ap-hongkong",
        "ap-beijing",
        "ap-chengdu",
        "ap-singapore",
        "na-siliconvalley",
    }
)
"""The regions of TDMQ message backup. COS has more, so another one is only worth a warning."""

# Seconds. Somebody waits for the answer of a check: for how long it is tried again, and for a byte of an answer. The
# second is the shorter one, so that a request that hangs is tried again.
_CHECK_DEADLINE = 4.0
_CHECK_TIMEOUT = 3.0

# Limits of COS: bucket names, object tags and user metadata.
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?-[0-9]+")
_LONGEST_KEY = 850
_MOST_TAGS = 10
_LONGEST_TAG = 128
_LONGEST_TAG_VALUE = 256
_METADATA_NAME = re.compile(r"[A-Za-z0-9-]+")
_LARGEST_METADATA = 2048
_METADATA_ROOM = 3584
"""COS allows 4 KB in all; 512 bytes of it are for the metadata that the job adds itself."""
_STORAGE_CLASS = re.compile(r"[A-Z][A-Z_]*")
_ACLS = ("default", "private", "public-read")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Destination:
    """A prefix in a bucket, or a folder. Picklable; holds references to secrets, never a secret.

    Made by ``parse_destination``, which alone checks it.
    """

    url: str
    """As it was given."""
    prefix: str
    """Begins every key: empty, or ends with ``/``. Always empty for a folder."""
    bucket: str | None = None
    folder: str | None = None
    region: str | None = None
    endpoint: str | None = None
    credentials: str = "env"
    headers: tuple[tuple[str, str], ...] = ()
    """What is sent with every object: storage class, encryption, ACL, tags and metadata."""
    retry_deadline: float = DEADLINE
    """Seconds for which a request to COS is tried again."""

    def __str__(self) -> str:
        return self.url


def parse_destination(
    url: str,
    *,
    region: str | None = None,
    endpoint: str | None = None,
    credentials: str = "env",
    storage_class: str | None = None,
    sse: str | None = None,
    acl: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    retry_deadline: float = DEADLINE,
) -> Destination:
    """Read ``--destination`` and the options that belong to it; asks nothing of the network.

    ``sse`` is ``AES256`` (keys of COS) or ``kms`` or ``kms:KEY-ID``. ``tags`` and ``metadata`` go with every object.
    Raises ConfigurationError with all problems at once.
    """
    # Not urlsplit: a key of COS may hold ? and #, which mean nothing in this URL.
    scheme, _, rest = url.partition("://")
    problems: list[str] = []
    tags, metadata = tags or {}, metadata or {}
    headers = {
        **_sse_headers(sse, problems),
        **({"x-cos-storage-class": storage_class} if storage_class else {}),
        **({"x-cos-acl": acl} if acl else {}),
        **({"x-cos-tagging": urlencode(tags)} if tags else {}),
        **{META + name.lower(): value for name, value in metadata.items()},
    }
    if scheme == "file":
        problems += _folder_problems(url, rest)
        if region or endpoint or headers:
            problems.append(
                f"--destination={url} is a folder: --cos_region, --cos_endpoint, storage class, encryption, ACL, tags "
                "and metadata are for cos:// only."
            )
        if problems:
            raise ConfigurationError(*problems)
        return Destination(url, "", folder=unquote(rest))
    if scheme != "cos":
        raise ConfigurationError(
            f"--destination={url} is neither cos://BUCKET-APPID/PREFIX/ nor file:///FOLDER/.",
        )
    bucket, _, prefix = rest.partition("/")
    problems += _bucket_problems(url, bucket, prefix)
    problems += _region_problems(region, endpoint)
    problems += _header_problems(storage_class, acl)
    problems += _tag_problems(tags)
    problems += _metadata_problems(metadata)
    try:
        parse_credentials(credentials)
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        raise ConfigurationError(*problems)
    if region and region not in REGIONS and not endpoint:
        _logger.warning("--cos_region=%s is none of %s: is it meant?", region, ", ".join(sorted(REGIONS)))
    return Destination(
        url,
        prefix,
        bucket=bucket,
        region=region,
        endpoint=endpoint,
        credentials=credentials,
        headers=tuple(sorted(headers.items())),
        retry_deadline=retry_deadline,
    )


_stores: dict[Destination, ObjectStore] = {}
_stores_lock = threading.Lock()


def open_store(destination: Destination) -> ObjectStore:
    """Give the store of a destination: one for each process, shared by its threads. Asks nothing of the network."""
    with _stores_lock:
        store = _stores.get(destination)
        if store is None:
            store = _stores[destination] = _new_store(destination)
        return store


def forget_stores() -> None:
    """Close no connection that is used, and keep none for later: the next ``open_store`` makes a new one."""
    with _stores_lock:
        _stores.clear()


def _new_store(destination: Destination) -> CosStore | FolderStore:
    if destination.bucket is None:
        return FolderStore(destination.folder or "/")
    return _cos_store(destination, new_client(destination))


def _cos_store(destination: Destination, client: CosClient) -> CosStore:
    place = Place(destination.bucket or "", destination.region, destination.endpoint, destination.credentials)
    policy = RetryPolicy(deadline=destination.retry_deadline)
    return CosStore(client, place, headers=dict(destination.headers), policy=policy)


def new_client(destination: Destination, **limits: float) -> CosClient:
    """A client of a destination's bucket."""
    return CosClient(
        bucket=destination.bucket or "",
        region=destination.region,
        endpoint=destination.endpoint,
        credentials=parse_credentials(destination.credentials),
        **limits,  # type: ignore[arg-type]
    )


class Writable(NamedTuple):
    """What is found of a destination that can be written to."""

    case_blind: bool
    """Keys that differ in case only are the same object there."""
    warnings: list[str]


def check_writable(destination: Destination, *, manifests: bool = False) -> Writable:
    """Prove that the prefix can be listed, written and cleaned, with an empty object under ``_spool/``.

    Leaves nothing behind. Raises AccessError or DestinationError; each cause has its own sentence: no such bucket or
    another region, a wrong or expired key, a missing permission (named), a wrong clock, a full or read-only folder.
    Does not prove the permissions for multipart uploads, which only large files need. ``manifests``: prove too that
    they can be read, where there is one.
    """
    if destination.bucket is None:
        return Writable(_check_folder(Path(destination.folder or "/")), [])
    client = new_client(destination, timeout=_CHECK_TIMEOUT, request_limit=_CHECK_TIMEOUT)
    store = _cos_store(destination, client).with_deadline(_CHECK_DEADLINE)
    _probe(store, destination.prefix)
    if manifests:
        _probe_manifests(store, destination.prefix)
    try:
        versioned = client.was_versioned()
    except RequestFailed:
        return Writable(False, [])  # it need not be allowed; without it, each file is looked for as well
    warning = (
        f"versioning is or was on in bucket {destination.bucket}, and there COS overwrites although it is told not to. "
        "So each file is looked for before it is written, which costs a request more; a bucket that never had "
        "versioning is better."
    )
    return Writable(False, [warning] if versioned else [])


def _probe(store: ObjectStore, prefix: str) -> None:
    spool = f"{prefix}_spool/"
    probe = f"{spool}probe-{uuid.uuid4().hex}"
    next(iter(store.list_keys(spool)), None)
    store.put(probe, b"", {})
    store.delete_parts([probe])


def _probe_manifests(store: ObjectStore, prefix: str) -> None:
    try:
        next(store.read(f"{prefix}_manifest-probe"), None)
    except AccessError as error:
        raise AccessError(f"{error} Later runs read manifests; --manifest=off does without them.") from None
    except DestinationError:
        pass  # there is none, and that may be told


def _check_folder(folder: Path) -> bool:
    """Give whether it is case-blind."""
    made = _missing_folders(folder / "_spool")
    try:
        store = FolderStore(folder)
        _probe(store, "")
        return store.is_case_blind()
    finally:
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()


def _missing_folders(folder: Path) -> list[Path]:
    """What a check creates on its way, the innermost first."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


def _bucket_problems(url: str, bucket: str, prefix: str) -> Iterable[str]:
    if "@" in bucket:
        # Not quoted: what stands before the @ may be a key.
        yield "--destination must not hold a user or a key: give a reference in --cos_credentials."
    elif not _BUCKET.fullmatch(bucket):
        yield (
            f"--destination={url} has no bucket of the form NAME-APPID, such as backup-1250000000: "
            f"{bucket!r} is not (lower-case letters, digits and hyphens, and the account's APPID at the end)."
        )
    if prefix.startswith("/") or "//" in prefix:
        yield f"--destination={url} has an empty name in its prefix {prefix!r}: write one / where // stands."
    if prefix and not prefix.endswith("/"):
        yield f"--destination={url} has a prefix that does not end with /: write {url}/."
    if any(name in (".", "..") for name in prefix.split("/")):
        yield f"--destination={url} has . or .. in its prefix, which COS does not resolve: write the path out."
    if _CONTROL.search(prefix):
        yield f"--destination={url!r} has control characters in its prefix."
    if len(prefix.encode()) > _LONGEST_KEY:
        yield f"--destination has a prefix of {len(prefix.encode())} bytes, and COS's keys have at most {_LONGEST_KEY}."


def _region_problems(region: str | None, endpoint: str | None) -> Iterable[str]:
    if not region and not endpoint:
        yield f"--cos_region is missing, such as --cos_region=ap-guangzhou (one of {', '.join(sorted(REGIONS))})."
    if region and not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", region):
        yield f"--cos_region={region} is not a region id such as ap-guangzhou."
    if endpoint:
        try:
            parts = urlsplit(endpoint)
            fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
            fine = fine and parts.path in ("", "/") and not parts.query and "@" not in parts.netloc
        except ValueError:
            fine = False
        if not fine:
            # Not quoted: it may hold a password.
            yield "--cos_endpoint is not of the form http[s]://HOST[:PORT], such as http://127.0.0.1:9000."


def _folder_problems(url: str, path: str) -> Iterable[str]:
    if not path.startswith("/") or "?" in path or "#" in path:
        yield f"--destination={url} is not of the form file:///FOLDER/, with three slashes and an absolute path."
    elif not path.endswith("/"):
        yield f"--destination={url} does not end with /: write {url}/."
    if ".." in unquote(path).split("/") or _CONTROL.search(unquote(path)):
        yield f"--destination={url!r} has .. or control characters in its path: write the path out."


def _header_problems(storage_class: str | None, acl: str | None) -> Iterable[str]:
    if storage_class and not _STORAGE_CLASS.fullmatch(storage_class):
        yield f"--storage_class={storage_class} is none of COS's storage classes, such as STANDARD_IA or ARCHIVE."
    if acl and acl not in _ACLS:
        yield f"--acl={acl} is none of {', '.join(_ACLS)}."


def _sse_headers(sse: str | None, problems: list[str]) -> Mapping[str, str]:
    name = "x-cos-server-side-encryption"
    kind, _, key_id = (sse or "").partition(":")
    if sse is None or sse == "AES256":
        return {name: sse} if sse else {}
    if kind == "kms" and re.fullmatch(r"[A-Za-z0-9-]*", key_id):
        return {name: "cos/kms", **({f"{name}-cos-kms-key-id": key_id} if key_id else {})}
    problems.append(f"--server_side_encryption={sse} is none of AES256, kms and kms:KEY-ID.")
    return {}


def _tag_problems(tags: Mapping[str, str]) -> Iterable[str]:
    if len(tags) > _MOST_TAGS:
        yield f"--tag: there are {len(tags)} tags, and COS allows {_MOST_TAGS} to an object."
    for name, value in tags.items():
        if not 0 < len(name) <= _LONGEST_TAG or len(value) > _LONGEST_TAG_VALUE:
            allowed = f"{_LONGEST_TAG} characters, {_LONGEST_TAG_VALUE} for the value"
            yield f"--tag: the tag {name!r} is empty or longer than COS allows ({allowed})."


def _metadata_problems(metadata: Mapping[str, str]) -> Iterable[str]:
    for name, value in metadata.items():
        if not _METADATA_NAME.fullmatch(name):
            yield f"--metadata: the name {name!r} may hold only letters, digits and -."
        if name.lower() in NAMES:
            yield f"--metadata: the name {name!r} is used by the backup itself: choose another."
        if not value.isascii() or not value.isprintable() or value != value.strip():
            yield f"--metadata: the value of {name!r} may hold only printable ASCII, without blanks at its ends."
        if len(META + name + value) > _LARGEST_METADATA:
            yield f"--metadata: {name!r} has more than the {_LARGEST_METADATA} bytes that COS allows."
    total = sum(len(META + name + value) for name, value in metadata.items())
    if total > _METADATA_ROOM:
        yield f"--metadata: there are {total} bytes in all, and there is room for {_METADATA_ROOM}."
