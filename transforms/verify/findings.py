"""What can be found of a backup: each kind with a sentence and its cure, and what was found, counted and bounded."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

_AGAIN: Final = "If the broker still holds the messages, run the backup over them again: it writes what is missing."
_OTHERS: Final = "Find out what else writes to the prefix. A second run of the backup does not mend this."


class Kind(Enum):
    """A kind of finding. A note is worth knowing and stands against no proof."""

    NOTHING = ("nothing", "There is nothing that could be proved.", "Check the URL, --topic and --path-template.")
    MISSING = ("missing", "A manifest names objects that are not there.", _AGAIN)
    FEWER = ("fewer", "Fewer messages are stored than a run has read.", _AGAIN)
    MORE = (
        "more",
        "More messages are stored than a run has read.",
        "The same messages are stored twice, in other windows or cuts, or a record was changed. --deep tells more.",
    )
    OVERLAP = (
        "overlap",
        "Two objects of one window and partition hold the same stretch of messages.",
        "Two runs wrote at the same time, or an object was copied. Keep the one that a manifest names.",
    )
    DUPLICATE = (
        "duplicate",
        "The messages of an object are in others too, cut otherwise.",
        "Keep what the manifests name, and move the other away.",
    )
    UNPROVED = (
        "unproved",
        "No run record and no manifest says how many messages there should be where these objects are.",
        "A run that failed leaves no record: run the backup again over the same stretch. It writes nothing twice.",
    )
    GAP = (
        "gap",
        "The broker had deleted messages before they could be read.",
        "They cannot be had again. --accept-gaps takes the backup for complete without them.",
    )
    UNNAMED = (
        "unnamed",
        "No manifest of its window names these objects.",
        "While a stream goes on, wait for its next manifest. Else the object was renamed or put there by others, or a "
        "manifest is lost or was changed.",
    )
    NO_MANIFEST = (
        "no-manifest",
        "A window has objects and no manifest.",
        "While a run goes on, wait; else a run over the same stretch names them. What was written with --manifest=off "
        "has none: give --no-manifests.",
    )
    MANIFEST_HOLE = (
        "manifest-hole",
        "The numbers of a window's manifests are not 0, 1, 2 …: one is missing.",
        "Restore it from a copy. Else delete the others of the window, too, and run the backup over it again: that "
        "names all of it anew.",
    )
    BAD_MANIFEST = (
        "bad-manifest",
        "A manifest cannot be read.",
        "Restore it from a copy. Else delete those of the window, and run the backup over it again.",
    )
    CHANGED_MANIFEST = (
        "changed-manifest",
        "A manifest contradicts its own name, its objects or the record of its run.",
        "It was changed after it was written: restore it from a copy, or do as with one that cannot be read.",
    )
    NAMED_TWICE = ("named-twice", "Manifests name an object more than once.", "One of them was changed or copied.")
    BAD_RECORD = ("bad-run-record", "A run record cannot be read.", "Restore it from a copy, or run the backup again.")
    CHANGED_RECORD = (
        "changed-run-record",
        "A run record contradicts its own name.",
        "It was changed or copied: restore it, or run the backup again.",
    )
    OTHER_TOPIC = ("other-topic", "Something of another topic stands here.", _OTHERS)
    UNKNOWN_TOPIC = (
        "unknown-topic",
        "Objects stand in a folder that is no topic's.",
        "Give --path-template as the backup had it; else they were put there by others.",
    )
    MISPLACED = (
        "misplaced",
        "Objects stand in the folder of another time.",
        "Give --path-template and --timezone as the backup had them; else they were moved.",
    )
    SIZE = ("size", "An object has another size than its manifest says.", _AGAIN)
    CRC64 = ("crc64", "An object has another CRC64 than it had when it was written.", _AGAIN)
    METADATA = (
        "metadata",
        "The metadata of an object contradicts its name or its content.",
        "It was copied, renamed or changed. --deep tells whether its content is what its name says.",
    )
    EMPTY = ("empty", "An object holds no messages.", _AGAIN)
    UNREADABLE = ("unreadable", "An object cannot be decoded.", _AGAIN)
    COUNT = ("count", "An object holds another number of messages than its name says.", _AGAIN)
    IDS = ("ids", "The first or the last message of an object is not the one in its name.", _AGAIN)
    ORDER = ("order", "Messages in an object are not in the order of their ids, or stand there twice.", _AGAIN)
    WINDOW = (
        "window",
        "An object holds messages of another window.",
        "It was renamed, or written with another --window-by: give --window-by.",
    )
    PARTITION = ("partition", "An object holds messages of another topic or partition.", _OTHERS)
    SCHEMA = ("schema-version", "An object holds messages of another schema version than its name says.", _OTHERS)
    TIMES = ("times", "Publish times in an object are not those in its manifest.", _OTHERS)
    NOT_STORED = ("not-stored", "The broker holds messages of a proved stretch that are not stored.", _AGAIN)
    NOT_HELD = (
        "not-held",
        "Messages are stored that the broker does not hold where it holds others around them.",
        "The topic was deleted and made anew, or this is another cluster; else the objects were changed.",
    )
    # Notes.
    ABSENT = (
        "absent",
        "Of a topic of the rule nothing is stored, and no run has read anything.",
        "A topic without messages leaves nothing. Else see how the runs of the rule ended.",
        True,
    )
    BEHIND = ("behind", "The broker holds messages that are not backed up yet.", "The next run takes them.", True)
    OLDER = ("older", "The broker holds messages that no run has read.", "A run that starts earlier takes them.", True)
    TRIMMED = (
        "trimmed",
        "The broker does not hold these messages any more, so they could not be compared.",
        "",
        True,
    )
    BETWEEN = (
        "between",
        "Between two stretches that runs have read there is one that none has read; it may be empty.",
        _AGAIN,
        True,
    )
    UNDER_WAY = (
        "under-way",
        "A run without a record had read messages that are not stored yet.",
        "They wait in the state of a stream that goes on. If none does, run the backup over them again.",
        True,
    )
    NO_RECORD = (
        "no-run-record",
        "Manifests are of a run that has no run record.",
        "A stream has none, nor has a run that failed. Else it is lost; what manifests say of the run counts.",
        True,
    )
    SPOOL = (
        "spool",
        "Parts of unfinished files were left behind.",
        "The next run of the same job removes them, or a lifecycle rule; a run that goes on needs its own.",
        True,
    )
    UPLOAD = (
        "upload",
        "Multipart uploads were never completed.",
        "The next run of the same job ends them, or a lifecycle rule.",
        True,
    )
    UNSEEN = (
        "uploads-unseen",
        "Multipart uploads cannot be listed with this key.",
        "Grant name/cos:ListMultipartUploads on the bucket.",
        True,
    )
    STRANGER = ("stranger", "Objects are none of a backup.", "They were put there by others, or renamed.", True)

    def __init__(self, label: str, sentence: str, cure: str, note: bool = False) -> None:
        self.label = label
        self.sentence = sentence
        self.cure = cure
        self.note = note


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    kind: Kind
    key: str
    """The object; or what else it is about, such as a partition."""
    what: str
    """Details: what is there, and what should be."""


class Findings:
    """Counts what is found, and keeps the first of each kind. Thread-safe."""

    def __init__(self, keep: int | None = 20, *, accept_gaps: bool = False) -> None:
        """``keep`` of each kind; None keeps all."""
        self._keep = keep
        self._accept_gaps = accept_gaps
        self._kept: defaultdict[Kind, list[Finding]] = defaultdict(list)
        self._lock = threading.Lock()
        self.counts: Counter[Kind] = Counter()

    def add(self, kind: Kind, key: str, what: str = "") -> None:
        """Take one in."""
        with self._lock:
            self.counts[kind] += 1
            kept = self._kept[kind]
            if self._keep is None or len(kept) < self._keep:
                kept.append(Finding(kind, key, what))

    def extend(self, findings: Iterable[Finding]) -> None:
        """Take several in."""
        for each in findings:
            self.add(each.kind, each.key, each.what)

    def is_note(self, kind: Kind) -> bool:
        """Whether the kind stands against no proof."""
        return kind.note or (kind is Kind.GAP and self._accept_gaps)

    def kept(self, kind: Kind) -> list[Finding]:
        """Those of a kind that were kept."""
        return self._kept[kind]

    @property
    def against(self) -> int:
        """How many stand against the proof."""
        return sum(count for kind, count in self.counts.items() if not self.is_note(kind))
