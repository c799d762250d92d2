"""What is stored of each topic, as listings tell it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from transforms.cos.stored_files import QUARANTINE, StoredFile
from transforms.files.folders import Folders


@dataclass
class TopicInventory:
    """The files of one topic. Times are milliseconds since 1970."""

    topic: str
    """Full name; where the folders do not tell it, the folder that all of its files are in."""
    windows: int = 0
    """Those of which there is a file; one that stands in several folders, or in several lengths, counts as often."""
    first_window: int | None = None
    last_window_end: int | None = None
    files: int = 0
    messages: int = 0
    bytes: int = 0
    quarantined: int = 0
    """Messages in quarantine, which are counted nowhere else."""
    _partitions: set[int] = field(default_factory=set)
    _window: tuple[str, int, int] = ("", 0, 0)

    @property
    def partitions(self) -> int:
        """Those of which there is a file."""
        return len(self._partitions)

    def add(self, file: StoredFile) -> None:
        """Count a file. Those of one folder come in the order of their keys."""
        name = file.name
        if file.area == QUARANTINE:
            self.quarantined += name.run.messages
            return
        end = name.window + name.granularity * 1000
        window = (file.folder, name.window, name.granularity)
        self.windows += window != self._window
        self._window = window
        self.first_window = name.window if self.first_window is None else min(self.first_window, name.window)
        self.last_window_end = end if self.last_window_end is None else max(self.last_window_end, end)
        self.files += 1
        self.messages += name.run.messages
        self.bytes += file.size
        self._partitions.add(name.partition)


def take_inventory(files: Iterable[StoredFile], folders: Folders) -> list[TopicInventory]:
    """Count all files; in the order in which topics come first. Memory does not grow with files or windows."""
    found: dict[str, TopicInventory] = {}
    folder, inventory = None, None
    for file in files:
        if inventory is None or file.folder != folder:
            folder = file.folder
            topic = topic_in(folder, folders)
            inventory = found.setdefault(topic, TopicInventory(topic))
        inventory.add(file)
    return list(found.values())


def topic_in(folder: str, folders: Folders) -> str:
    """The topic of a folder; the outermost folder where the template does not tell."""
    return folders.topic_of(folder) or folder.partition("/")[0] + "/"
