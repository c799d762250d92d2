"""What tests and checks need and pip does not have: a Pulsar broker, Flink and Avro's own tools, from Maven.

Run as ``python -m transforms.testing.fetch`` to fetch all of it ahead of the tests.

Files are kept in ``$TDMQ_BACKUP_CACHE``, by default ``~/.cache/tdmq-backup``, never in the source tree. Each is
compared with the SHA-512 pinned below before it is used, appears there complete or not at all, and is fetched once:
a second process waits for the first. Maven takes its settings, mirrors and local repository as it always does. A copy
in the local repository that is not what we pinned (a broken download stays there for good, Maven does not look again)
is left alone, and the file is fetched once more past it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
_OLDEST_JAVA = 17
#: What a broker needs out of the distribution; the rest is for functions and examples.
_PULSAR_PARTS = ("lib", "conf", "LICENSE", "NOTICE")


class FetchError(RuntimeError):
    """Java, Maven or what was to be fetched with them is missing; says what to do."""


@dataclass(frozen=True)
class Artifact:
    """A file at a Maven repository, as ``group:name:version:type[:classifier]``, and what it must contain."""

    coordinates: str
    sha512: str

    def __str__(self) -> str:
        return self.coordinates

    def goal(self, scratch: Path) -> list[str]:
        """What Maven is told."""
        return [f"{_PLUGIN}:copy", f"-Dartifact={self.coordinates}"]

    def digest(self, folder: Path) -> str:
        """The SHA-512 of what Maven has put into a folder."""
        return _sha512(next(folder.iterdir()))


@dataclass(frozen=True)
class Jars:
    """Jars with all that they depend on. Each of ``coordinates`` is ``group:name:version``."""

    coordinates: tuple[str, ...]
    sha512: str
    """Of the lines that ``sha512sum *.jar`` prints."""

    def __str__(self) -> str:
        return f"{self.coordinates[0]} with what it needs"

    def goal(self, scratch: Path) -> list[str]:
        """What Maven is told."""
        parts = [each.split(":") for each in self.coordinates]
        needed = "".join(
            f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"
            for group, name, version in parts
        )
        project = scratch / "jars.xml"
        project.write_text(
            '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>tests</groupId>'
            f"<artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>"
            f"<dependencies>{needed}</dependencies></project>"
        )
        return [f"{_PLUGIN}:copy-dependencies", f"--file={project}"]

    def digest(self, folder: Path) -> str:
        """The SHA-512 of what Maven has put into a folder."""
        lines = [f"{_sha512(jar)}  {jar.name}\n" for jar in sorted(folder.iterdir())]
        return hashlib.sha512("".join(lines).encode()).hexdigest()


PULSAR_VERSION = "4.0.8"
PULSAR = Artifact(
    f"org.apache.pulsar:pulsar-server-distribution:{PULSAR_VERSION}:tar.gz:bin",
    "65b769b10696cdfebf7fc5bcdc95dd663702e27051e616c1a13cb100e91279525be35352171befe7b0011176330aab29bd0a6c8a0f2f0646641af46d2e33cbd6",
)
AVRO_TOOLS_VERSION = "1.12.0"
AVRO_TOOLS = Artifact(
    f"org.apache.avro:avro-tools:{AVRO_TOOLS_VERSION}:jar",
    "21a644083fb350f3a235c52e06755e03f97f9fe8f714e7703737e859b4106243ddcb01ce6b63cd3b14f4c21b1c6e95661cdfb5da6ab9a5cef3c75ba61b00a70d",
)
FLINK_VERSION = "1.19.0"
#: A session cluster and Beam's job server. The newest of Beam's job servers that can be had as jars; the Python SDK
#: that runs on it is newer.
FLINK = Jars(
    (
        "org.apache.beam:beam-runners-flink-1.19:2.62.0",
        f"org.apache.flink:flink-statebackend-rocksdb:{FLINK_VERSION}",
        "org.slf4j:slf4j-jdk14:1.7.30",
    ),
    "9fd510a0e3d3995cbcd44011f1f023afd5ea20ce47990de0d54d6c15d731785d349ab297040253c36a2050f4ec091f581dae63ed4ba390d027fc976fa5075d89",
)
FLINK_OPERATOR_VERSION = "1.10.0"
#: Holds the operator's custom resource definitions. The newest version that can be had as a jar.
FLINK_OPERATOR = Artifact(
    f"org.apache.flink:flink-kubernetes-operator-api:{FLINK_OPERATOR_VERSION}:jar",
    "6d05f5f76e9a049716876c589e1677ec937c3322aab387dc5f1ea6b944566a557fa30c5154d7d27734e02e8ec03369283398c9406f054bc2311689acf2af1a5f",
)


def pulsar_distribution() -> Path:
    """Folder of Apache Pulsar's server: ``lib`` and ``conf``. Fetches it the first time (245 MB)."""
    return _cached(f"apache-pulsar-{PULSAR_VERSION}", PULSAR, _unpack_pulsar)


def flink_jars() -> Path:
    """Folder of the jars of Flink and of Beam's job server. Fetches them the first time (190 MB)."""
    return _cached(f"flink-{FLINK_VERSION}", FLINK, shutil.move)


def flink_operator_jar() -> Path:
    """The API of Flink's Kubernetes Operator, as a jar. Fetches it the first time (190 kB)."""
    return _cached(f"flink-kubernetes-operator-api-{FLINK_OPERATOR_VERSION}.jar", FLINK_OPERATOR, _move_file)


def avro_tools_jar() -> Path:
    """Avro's command line tools as one jar, to be run with ``java -jar``. Fetches it the first time (58 MB)."""
    return _cached(f"avro-tools-{AVRO_TOOLS_VERSION}.jar", AVRO_TOOLS, _move_file)


def cache_folder() -> Path:
    """Where fetched files are kept."""
    configured = os.environ.get("TDMQ_BACKUP_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "tdmq-backup"


def java() -> str:
    """Path of a Java that is new enough: ``$JAVA_HOME``'s, else the one in PATH."""
    cure = f"Install a Java runtime, {_OLDEST_JAVA} or newer (Debian: apt-get install default-jre-headless)."
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if found is None:
        where = f"under JAVA_HOME ({home})" if home else "in PATH"
        raise FetchError(f"The tests start Pulsar's real broker, which needs Java; there is no java {where}. {cure}")
    answer = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
    version = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        told = version[1] if version else (answer.stderr + answer.stdout).strip()
        raise FetchError(f"Pulsar's broker needs Java {_OLDEST_JAVA} or newer, and {found} is {told}. {cure}")
    return found


def _cached(name: str, artifact: Artifact | Jars, unpack: Callable[[Path, Path], object]) -> Path:
    target = cache_folder() / name
    if target.exists():
        return target
    with _lock(target):
        if not target.exists():
            for left in target.parent.glob(f".{name}.tmp-*"):
                shutil.rmtree(left)  # of a fetch that was killed
            # Unpacked beside its place and moved there in one step: nobody ever sees half of it.
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}.tmp-") as scratch:
                unpacked = Path(scratch) / "unpacked"
                unpack(_fetch(artifact, Path(scratch)), unpacked)
                unpacked.rename(target)
    return target


@contextlib.contextmanager
def _lock(target: Path) -> Iterator[None]:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(artifact: Artifact | Jars, scratch: Path) -> Path:
    maven = shutil.which("mvn")
    if maven is None:
        raise FetchError(
            f"{artifact} is fetched with Maven, and there is no mvn in PATH. "
            "Install Maven (Debian: apt-get install maven)."
        )
    found = _copy(maven, artifact, scratch / "first")
    if artifact.digest(found) == artifact.sha512:
        return found
    _say(f"Maven's copy of {artifact} is broken; fetching it again.")
    found = _copy(maven, artifact, scratch / "second", f"-Dmaven.repo.local={scratch / 'repository'}")
    if (actual := artifact.digest(found)) == artifact.sha512:
        return found
    raise FetchError(
        f"{artifact} is not the file we know: its SHA-512 is {actual}, not {artifact.sha512}, "
        "also after a second download. Look at the mirror in Maven's settings.xml."
    )


def _copy(maven: str, artifact: Artifact | Jars, folder: Path, *options: str) -> Path:
    _say(f"Fetching {artifact} with Maven ...")
    command = [maven, "-q", "-B", *options, *artifact.goal(folder.parent), f"-DoutputDirectory={folder}"]
    # Away from our own folder: Maven would read a pom.xml there.
    answer = subprocess.run(  # noqa: S603 - the command is ours
        command, cwd=folder.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if answer.returncode or not folder.exists() or not any(folder.iterdir()):
        said = "\n".join((answer.stdout + answer.stderr).strip().splitlines()[:10])
        raise FetchError(
            f"Maven could not fetch {artifact} (exit code {answer.returncode}). Check that this machine "
            f"reaches a Maven repository (settings.xml names mirrors and proxies), then try again. Maven said:\n{said}"
        )
    return folder


def _move_file(folder: Path, target: Path) -> None:
    next(folder.iterdir()).rename(target)


def _sha512(path: Path) -> str:
    digest = hashlib.sha512()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _unpack_pulsar(folder: Path, target: Path) -> None:
    _say("Unpacking Pulsar ...")
    with tarfile.open(next(folder.iterdir())) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extraction_filter = tarfile.data_filter  # older Pythons lack it and do not need it
        for member in tar:
            _top, _, member.name = member.name.partition("/")
            if member.name.split("/")[0] in _PULSAR_PARTS:
                tar.extract(member, target)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Fetch everything; returns an exit code."""
    try:
        print(f"Java: {java()}")
        print(f"Apache Pulsar {PULSAR_VERSION}: {pulsar_distribution()}")
        print(f"Flink {FLINK_VERSION}: {flink_jars()}")
        print(f"Flink Kubernetes Operator {FLINK_OPERATOR_VERSION}: {flink_operator_jar()}")
        print(f"Avro tools {AVRO_TOOLS_VERSION}: {avro_tools_jar()}")
    except FetchError as error:
        _say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
