"""Our errors, one tree.

::

    BackupError                    exit code 1
    ├── SeveralErrors                  that of the first of them
    ├── ConfigurationError         2   an option, a file or a combination of them is wrong
    ├── AccessError                3   authentication failed, or a permission is missing
    ├── SourceError                4   the Pulsar cluster or what it holds
    │   ├── TopicNotFoundError         the topic does not exist
    │   └── TrimmedError               the broker has already deleted what was to be read
    ├── DestinationError           5   the bucket or the folder
    │   ├── ObjectConflictError        the name is taken by other content
    │   ├── DamagedError               what is stored cannot be read back
    │   └── UnrestorableError          a message that is stored cannot be brought back as it was
    ├── FlinkError                     the Flink cluster
    └── WorkerError                    a worker process of a local run

Exit code 6 is that of no error: ``verify`` has read a backup and could not prove it.

Every message is a sentence for the person who runs the job: what was wrong, with the value, and
what to do about it. No message holds a secret: errors are built from references
(``env:NAME``), never from what they point to.
"""

from __future__ import annotations

from collections.abc import Iterable


class BackupError(Exception):
    """Base of all errors that a run of ours raises on purpose."""

    exit_code = 1


class SeveralErrors(BackupError):
    """Several errors that were found at once, a line each; the exit code is that of the first."""

    def __init__(self, errors: Iterable[BackupError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(dict.fromkeys(map(str, self.errors))))
        self.exit_code = self.errors[0].exit_code

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickle what it was made of; else it would be made of its text."""
        return type(self), (self.errors,)


class ConfigurationError(BackupError):
    """An option, a file or a combination of them is wrong.

    ``problems`` holds one sentence each, so that a person can mend all of them at once.
    """

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Pickle what it was made of; else it would be made of its text."""
        return type(self), self.problems


class AccessError(BackupError):
    """Authentication failed, or a permission is missing, at the broker or at the destination."""

    exit_code = 3


class SourceError(BackupError):
    """The Pulsar cluster cannot be reached or cannot give what was asked for."""

    exit_code = 4


class TopicNotFoundError(SourceError):
    """The topic does not exist. We never create one."""


class TrimmedError(SourceError):
    """The broker has already deleted messages that were to be read."""


class DestinationError(BackupError):
    """The bucket or folder cannot be reached or did not take what was written."""

    exit_code = 5


class ObjectConflictError(DestinationError):
    """The name is taken by an object with other content, which is never overwritten."""


class ArchivedError(DestinationError):
    """An object is in an archive class, and has to be restored before it can be read."""


class DamagedError(DestinationError):
    """An object of a backup does not hold what its name says, or cannot be decoded."""


class UnrestorableError(DestinationError):
    """A message of a backup cannot be brought back as it was."""


class FlinkError(BackupError):
    """The Flink cluster does not answer, refuses, or has lost a job."""


class WorkerError(BackupError):
    """A worker process of a run on this machine has ended before its work; running again completes it."""
