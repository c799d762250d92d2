"""The manifests of one window, held against its objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from transforms.cos.stored_files import QUARANTINE, StoredFile
from transforms.files.manifest import Manifest, ManifestFile
from transforms.pulsar.positions import Position
from transforms.verify.findings import Finding, Kind
from transforms.verify.windows import ManifestObject, Window


class Document(NamedTuple):
    """A manifest, and the object in which it stands."""

    found: ManifestObject
    manifest: Manifest


class Claim(NamedTuple):
    """What a manifest says of a file."""

    manifest: str
    """Key of the manifest."""
    file: ManifestFile


def check_manifests(
    window: Window, documents: Sequence[Document], prefix: str, topic: str | None, *, expected: bool
) -> tuple[list[Finding], dict[str, Claim]]:
    """Hold a window's manifests against its objects, as far as a listing tells of these.

    ``expected`` says that a window without any is a finding. Gives what is wrong, and what is claimed of the objects,
    by key; of what is claimed twice, the first.
    """
    found: list[Finding] = []
    claims: dict[str, Claim] = {}
    for document in documents:
        key, manifest = document.found.key, document.manifest
        if manifest.name != document.found.name:
            found.append(Finding(Kind.CHANGED_MANIFEST, key, f"by its content it is {manifest.name}"))
        if topic is not None and manifest.topic != topic:
            found.append(Finding(Kind.OTHER_TOPIC, key, f"it is of {manifest.topic}, in a folder of {topic}"))
        for file in manifest.files:
            at = _key(window, prefix, file)
            if at in claims:
                found.append(Finding(Kind.NAMED_TWICE, at, f"by {claims[at].manifest} and {key}"))
            else:
                claims[at] = Claim(key, file)
    found += _numbers(window)
    present = {file.key: file for file in window.files}
    for at, claim in claims.items():
        if at not in present:
            found.append(Finding(Kind.MISSING, at, f"{claim.file.messages} messages, named by {claim.manifest}"))
        else:
            found += _compare(present[at], claim)
    if window.manifests:
        found += [
            Finding(Kind.UNNAMED, key, f"{file.size} bytes") for key, file in present.items() if key not in claims
        ]
    elif expected and window.files:
        last = f" … {window.files[-1].key}" if len(window.files) > 1 else ""
        found.append(Finding(Kind.NO_MANIFEST, f"{window.files[0].key}{last}", f"{len(window.files)} objects"))
    return found, claims


def _key(window: Window, prefix: str, file: ManifestFile) -> str:
    return f"{prefix}{QUARANTINE if file.quarantined else ''}{window.folder}{file.name}"


def _numbers(window: Window) -> Iterator[Finding]:
    """A window may have manifests of several granularities and formats, each with numbers of its own."""
    numbers: dict[tuple[int, str], list[ManifestObject]] = {}
    for each in window.manifests:
        numbers.setdefault((each.name.granularity, each.name.format), []).append(each)
    for objects in numbers.values():
        there = {each.name.number for each in objects}
        missing = [number for number in range(max(there)) if number not in there][:5]
        if missing:
            last = max(objects, key=lambda each: each.name.number)
            said = ", ".join(map(str, missing))
            yield Finding(Kind.MANIFEST_HOLE, last.key, f"before it there is no number {said}")


def _compare(file: StoredFile, claim: Claim) -> Iterator[Finding]:
    run, said = file.name.run, claim.file
    by_name = (max(file.name.partition, 0), run.first, run.last, run.messages)
    by_manifest = (max(said.partition, 0), said.first, said.last, said.messages)
    if by_name != by_manifest:
        yield Finding(Kind.CHANGED_MANIFEST, claim.manifest, f"of {said.name} it says {_said(*by_manifest)}")
    if file.size != said.bytes:
        yield Finding(Kind.SIZE, file.key, f"{file.size} bytes, and {said.bytes} by {claim.manifest}")
    if said.first_publish_time > said.last_publish_time:
        yield Finding(Kind.CHANGED_MANIFEST, claim.manifest, f"publish times of {said.name} are the wrong way round")


def _said(partition: int, first: Position, last: Position, messages: int) -> str:
    return f"partition {partition}, {first} to {last}, {messages} messages"
