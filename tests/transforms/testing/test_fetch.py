from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from transforms.testing import fetch

GOOD = b"what was published"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TDMQ_BACKUP_CACHE", str(tmp_path / "cache"))
    artifact = fetch.Artifact("org.example:tool:1:jar", hashlib.sha512(GOOD).hexdigest())
    monkeypatch.setattr(fetch, "AVRO_TOOLS", artifact)
    return tmp_path / "cache"


def _maven(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Path:
    """Put a Maven into PATH that notes its calls and runs ``body`` with $out as the folder to copy to."""
    program = folder / "bin" / "mvn"
    program.parent.mkdir()
    calls = folder / "calls"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {calls}\n'
        'for each in "$@"; do case $each in -DoutputDirectory=*) out=${each#*=};; esac; done\nmkdir -p "$out"\n' + body
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return calls


def test_a_file_is_fetched_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _maven(tmp_path, monkeypatch, f"printf '{GOOD.decode()}' > $out/tool-1.jar")
    first, second = fetch.avro_tools_jar(), fetch.avro_tools_jar()
    assert first == second == cache / "avro-tools-1.12.0.jar"
    assert first.read_bytes() == GOOD
    assert len(calls.read_text().splitlines()) == 1


def test_two_processes_fetch_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _maven(tmp_path, monkeypatch, f"sleep 0.3; printf '{GOOD.decode()}' > $out/tool-1.jar")
    script = (
        "from transforms.testing import fetch\n"
        f"fetch.AVRO_TOOLS = fetch.Artifact('org.example:tool:1:jar', {fetch.AVRO_TOOLS.sha512!r})\n"
        "print(fetch.avro_tools_jar())"
    )
    running = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert {each.communicate()[0].strip() for each in running} == {str(cache / "avro-tools-1.12.0.jar")}
    assert len(calls.read_text().splitlines()) == 1


def test_a_broken_copy_of_mavens_is_fetched_again_past_it(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = f"case \"$*\" in *maven.repo.local*) text='{GOOD.decode()}';; *) text='what was';; esac\n"
    calls = _maven(tmp_path, monkeypatch, fresh + 'printf "$text" > $out/tool-1.jar')
    assert fetch.avro_tools_jar().read_bytes() == GOOD
    assert len(calls.read_text().splitlines()) == 2
    assert "Maven's copy of org.example:tool:1:jar is broken; fetching it again." in capsys.readouterr().err


def test_a_file_that_stays_wrong_is_refused_and_not_kept(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _maven(tmp_path, monkeypatch, "printf 'something else' > $out/tool-1.jar")
    with pytest.raises(fetch.FetchError) as caught:
        fetch.avro_tools_jar()
    assert str(caught.value) == (
        "org.example:tool:1:jar is not the file we know: its SHA-512 is "
        f"{hashlib.sha512(b'something else').hexdigest()}, not {hashlib.sha512(GOOD).hexdigest()}, also after a second "
        "download. Look at the mirror in Maven's settings.xml."
    )
    assert [each.name for each in cache.iterdir()] == [".avro-tools-1.12.0.jar.lock"]


def test_what_a_killed_fetch_left_is_removed(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = cache / ".avro-tools-1.12.0.jar.tmp-1"
    (left / "first").mkdir(parents=True)
    _maven(tmp_path, monkeypatch, f"printf '{GOOD.decode()}' > $out/tool-1.jar")
    fetch.avro_tools_jar()
    assert not left.exists()


def test_maven_that_fails_is_quoted(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _maven(tmp_path, monkeypatch, "echo 'cannot reach the repository'; exit 1")
    with pytest.raises(fetch.FetchError, match=r"exit code 1\).*settings.xml.*\ncannot reach the repository"):
        fetch.avro_tools_jar()
    assert cache.exists()


def test_missing_maven_says_what_to_install(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(cache))
    with pytest.raises(fetch.FetchError) as caught:
        fetch.avro_tools_jar()
    assert str(caught.value) == (
        "org.example:tool:1:jar is fetched with Maven, and there is no mvn in PATH. Install Maven (Debian: apt-get "
        "install maven)."
    )


def test_missing_java_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(fetch.FetchError, match=r"there is no java in PATH. Install a Java runtime, 17 or newer"):
        fetch.java()


def test_java_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(fetch.FetchError, match=rf"needs Java 17 or newer, and {program} is 11\."):
        fetch.java()


def test_only_what_a_broker_needs_is_unpacked(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tmp_path / "pulsar.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        for name in ("lib/a.jar", "conf/standalone.conf", "LICENSE", "instances/big.jar"):
            member = tarfile.TarInfo(f"apache-pulsar-4.0.8/{name}")
            member.size = len(GOOD)
            tar.addfile(member, io.BytesIO(GOOD))
    checksum = hashlib.sha512(packed.read_bytes()).hexdigest()
    monkeypatch.setattr(fetch, "PULSAR", fetch.Artifact("org.example:pulsar:1:tar.gz", checksum))
    _maven(tmp_path, monkeypatch, f"cp {packed} $out/")
    folder = fetch.pulsar_distribution()
    found = {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}
    assert found == {"lib/a.jar", "conf/standalone.conf", "LICENSE"}
