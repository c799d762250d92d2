"""No secret that a run uses is in anything that it leaves behind, whether the run succeeds or fails."""

from __future__ import annotations

import base64
import bz2
import json
import pickle
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import pytest

from pipelines import job
from pipelines.job import settings
from pipelines.options import parse_options
from pipelines.results import StoreResults
from tests.pipelines.backups import Bucket, Run, arguments, run_job, start_job
from tests.pipelines.searching import command_lines_of, files_below, forms, found_in
from transforms.pulsar import ReadFromPulsar
from transforms.pulsar.client import connect, disconnect
from transforms.pulsar.connection import PulsarConnection
from transforms.pulsar.discover import Beginning
from transforms.pulsar.messages import TopicPartition
from transforms.pulsar.positions import EARLIEST, Position
from transforms.pulsar.request import Resolution
from transforms.pulsar.restriction import PartitionRange
from transforms.restore import RestoreSettings, RestoreToPulsar, Router
from transforms.testing.cos_server import TEST_BUCKET, CosServer
from transforms.testing.cos_signature import ServerKey
from transforms.testing.producers import produce
from transforms.testing.pulsar_standalone import PulsarStandalone

DEBUG = "--log_level=DEBUG"


@dataclass
class Place:
    """A broker and a bucket that let in only who knows the secrets."""

    broker: PulsarStandalone
    topic: str
    bucket: Bucket
    environment: dict[str, str]

    @property
    def secrets(self) -> list[str]:
        """All of them, and the part of the token that is as good as the whole."""
        token = self.environment["ROLE_KEY"]
        return [*self.environment.values(), token.rpartition(".")[2]]

    @property
    def argv(self) -> list[str]:
        return [*arguments(self.broker, self.topic, self.bucket, ["--token=env:ROLE_KEY", DEBUG])]

    def assert_clean(self, **where: bytes | str | None) -> None:
        for name, content in where.items():
            assert content is not None
            assert not found_in(content, self.secrets), name

    def assert_bucket_clean(self) -> None:
        for stored in self.bucket.server.disk.list(TEST_BUCKET, "", "", -1):
            headers = repr(self.bucket.server.disk.open_object(TEST_BUCKET, stored.key)[0].headers)
            self.assert_clean(key=stored.key, headers=headers, content=self.bucket.read(stored.key))


def secret(start: str = "") -> str:
    return start + uuid.uuid4().hex + uuid.uuid4().hex


@pytest.fixture
def place(secured_broker: PulsarStandalone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    namespace = f"test/guarded-{uuid.uuid4().hex[:8]}"
    secured_broker.admin.create_namespace(namespace)
    secured_broker.admin.grant(namespace, "reader", ["consume"])
    topic = f"persistent://{namespace}/orders"
    produce(secured_broker.service_url, topic, 300, token=secured_broker.token("admin"))
    environment = {
        "ROLE_KEY": secured_broker.token("reader"),
        "COS_SECRET_ID": secret("AKID"),
        "COS_SECRET_KEY": secret(),
        "COS_TOKEN": secret(),
    }
    with CosServer(tmp_path / "cos") as server:
        server.keys[environment["COS_SECRET_ID"]] = ServerKey(
            environment["COS_SECRET_KEY"], token=environment["COS_TOKEN"]
        )
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield Place(secured_broker, topic, Bucket(server), environment)


def watched_process(place: Place, tmp_path: Path, *options: str, environment: dict[str, str] | None = None) -> Run:
    """Run the job as a process; whatever it has left anywhere is clean."""
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    summary = folder / "summary.json"
    argv = [*place.argv, *options, f"--summary_file={summary}"]
    with (
        start_job(argv, {**place.environment, **(environment or {}), "TMPDIR": str(folder)}) as process,
        command_lines_of(process.pid) as command_lines,
    ):
        stdout, stderr = process.communicate(timeout=120)
    assert any(b"pipelines.backup" in line for line in command_lines)
    place.assert_clean(stdout=stdout, stderr=stderr, command_lines=b"\n".join(command_lines))
    place.assert_bucket_clean()
    for name, content in files_below(folder).items():
        place.assert_clean(**{name: content})
    return Run(process.returncode, stderr, json.loads(summary.read_bytes()) if summary.exists() else {})


def failed(place: Place, monkeypatch: pytest.MonkeyPatch, *options: str, **environment: str) -> Run:
    """Run the job in this process, which must fail; the secrets changed for it are looked for as well."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
        place.environment[f"changed {name}"] = value
    argv = [option for option in place.argv if option.split("=")[0] not in {each.split("=")[0] for each in options}]
    run = run_job([*argv, f"--topic={place.topic}", *options, DEBUG])
    assert run.code != 0
    assert "error: " in run.errors
    place.assert_clean(errors=run.errors)
    place.assert_bucket_clean()
    return run


def test_a_run_that_succeeds_leaves_no_secret_anywhere(place, tmp_path):
    faults = place.bucket.server.faults
    for nth, kind in enumerate(("reset-before", "500", "503", "html", "reset-after"), 2):
        faults.add(kind, operation="PutObject", nth=nth)
    run = watched_process(
        place, tmp_path, "--subscription=ours", f"--admin_url={place.broker.admin_url}", "--codec=null"
    )
    assert run.code == 0, run.errors
    assert run.summary["messages"] == 300
    assert place.topic in run.errors
    for noisy in (" DEBUG pulsar: ", " DEBUG urllib3", " DEBUG apache_beam"):
        assert noisy in run.errors, "the search is of all that can be logged"


@pytest.mark.parametrize("reference", ["json", "lines"])
def test_a_run_with_a_wrong_key_from_a_file_leaves_no_secret_anywhere(place, tmp_path, reference):
    wrong = {**place.environment, "COS_SECRET_KEY": secret()}
    place.environment["wrong"] = wrong["COS_SECRET_KEY"]
    names = {name: value for name, value in wrong.items() if name.startswith("COS_")}
    keys = tmp_path / "keys"
    lines = "".join(f"{name}={value}\n" for name, value in names.items())
    keys.write_text(json.dumps(names) if reference == "json" else lines)
    (tmp_path / "token").write_text(place.environment["ROLE_KEY"])
    run = watched_process(
        place,
        tmp_path,
        f"--cos_credentials=file:{keys}",
        f"--token=file:{tmp_path}/token",
        "--log_format=json" if reference == "json" else "--log_format=text",
    )
    assert run.code == 3
    assert "COS does not accept the signature" in run.errors


def test_a_wrong_token_is_not_repeated(place, monkeypatch):
    token = place.environment["ROLE_KEY"]
    wrong = f"{token.rpartition('.')[0]}.{secret()}"
    assert failed(place, monkeypatch, ROLE_KEY=wrong).code == 3


def test_a_token_that_has_expired_is_not_repeated(place, monkeypatch):
    assert failed(place, monkeypatch, ROLE_KEY=place.broker.token("reader", expires_in=-60)).code == 3


def test_a_token_that_may_not_consume_is_not_repeated(place, monkeypatch):
    assert failed(place, monkeypatch, ROLE_KEY=place.broker.token("stranger")).code == 3


def test_a_token_that_is_no_token_is_not_repeated(place, monkeypatch):
    assert failed(place, monkeypatch, ROLE_KEY=secret("no token ")).code == 3


def test_the_admin_interface_is_asked_without_leaving_the_token(place, monkeypatch):
    wrong = f"{place.environment['ROLE_KEY'].rpartition('.')[0]}.{secret()}"
    failed(place, monkeypatch, f"--admin_url={place.broker.admin_url}", "--subscription=ours", ROLE_KEY=wrong)
    dead = "http://127.0.0.1:1"
    monkeypatch.setenv("ROLE_KEY", place.environment["ROLE_KEY"])
    failed(place, monkeypatch, f"--admin_url={dead}", "--subscription=ours", "--start=2026-01-01T00:00:00Z")


@pytest.mark.parametrize("name", ["COS_SECRET_ID", "COS_SECRET_KEY", "COS_TOKEN"])
def test_a_wrong_part_of_the_key_is_not_repeated(place, monkeypatch, name):
    assert failed(place, monkeypatch, **{name: secret("AKID" if name == "COS_SECRET_ID" else "")}).code == 3


@pytest.mark.parametrize(("kind", "code"), [("expired-token", 3), ("access-denied", 3), ("skewed", None)])
def test_what_cos_refuses_is_told_without_the_key(place, monkeypatch, kind, code):
    place.bucket.server.faults.add(kind, times=10**9)
    # Whoever holds an expired key is waited for; here nobody brings another one.
    monkeypatch.setattr("transforms.cos.destination._CHECK_DEADLINE", 1.0)
    run = failed(place, monkeypatch)
    assert code is None or run.code == code


def test_a_network_that_fails_is_told_without_the_key(place, monkeypatch):
    monkeypatch.setattr("transforms.cos.destination._CHECK_DEADLINE", 1.0)
    assert failed(place, monkeypatch, "--cos_endpoint=http://127.0.0.1:1").code == 5
    assert failed(place, monkeypatch, "--service_url=pulsar://127.0.0.1:1").code == 4


SAID_BY_MISTAKE = "0d8957ff836f4c18bf21f5090ff55dad1b0d7b26b3604444addf1206b00ccc1c"
JWT = f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJyZWFkZXIifQ.{SAID_BY_MISTAKE}"


@pytest.mark.parametrize(
    "option",
    [
        f"--token={JWT}",
        f"--token=env:{JWT}",
        f"--token=file:{JWT}",
        f"--token={SAID_BY_MISTAKE}",
        f"--tokne={JWT}",
        f"--tokne {SAID_BY_MISTAKE}",
        f"{SAID_BY_MISTAKE}",
        f"--cos_credentials=AKID{SAID_BY_MISTAKE}",
        f"--cos_credentials=AKID1:{SAID_BY_MISTAKE}",
        f"--cos_credentials=env:{SAID_BY_MISTAKE}",
        f"--service_url=pulsar://user:{SAID_BY_MISTAKE}@127.0.0.1:6650",
        f"--service_url=http://{JWT}@127.0.0.1:8080",
        f"--service_url=user:{SAID_BY_MISTAKE}@127.0.0.1:6650",
        f"--admin_url=http://user:{SAID_BY_MISTAKE}@127.0.0.1:8080",
        f"--admin_url=user:{SAID_BY_MISTAKE}@127.0.0.1:8080",
        f"--cos_endpoint=http://user:{SAID_BY_MISTAKE}@127.0.0.1:9000",
        f"--cos_endpoint=user:{SAID_BY_MISTAKE}@127.0.0.1:9000",
        f"--destination=cos://AKID1:{SAID_BY_MISTAKE}@backup-1250000000/x/",
        f"--tls_key=-----BEGIN PRIVATE KEY-----\n{SAID_BY_MISTAKE}\n-----END PRIVATE KEY-----\n",
        f"--log_level={JWT}",
    ],
)
def test_a_secret_in_the_place_of_a_reference_is_refused_and_not_repeated(option):
    given = [*option.split(" ", 1)] if option.startswith("--tokne ") else [option]
    bucket = ["--destination=cos://backup-1250000000/x/", "--cos_region=ap-guangzhou"]
    run = run_job(["--service_url=pulsar://127.0.0.1:1", "--topic=orders", *bucket, *given])
    assert run.code == 2, run.errors
    assert "error: " in run.errors
    assert not found_in(run.errors, [SAID_BY_MISTAKE, JWT])


def test_pipelines_and_their_transforms_hold_references_only(place):
    config = parse_options([*place.argv, "--payload=value", "--subscription=ours"])
    partition, start, stop = TopicPartition(place.topic), Position(1, 2), Position(3, 4)
    read, write = settings(config, "run", 1)
    backup = beam.Pipeline()
    results = StoreResults("run", config.destination)
    found = Resolution([PartitionRange(partition, start, stop)])
    job.add_backup(backup, found, read, write, job.manifest_settings(config, write), results)
    stream = beam.Pipeline()
    job.add_stream(stream, Beginning(((partition, start),)), config, read, write)
    other = beam.Pipeline()
    _ = other | ReadFromPulsar(place.broker.service_url, place.topic, token="env:ROLE_KEY")
    back = beam.Pipeline()
    restoring = RestoreSettings(config.destination, config.connection, (partition,), Router("partition", 1), "restore")
    _ = back | beam.Create([b""]) | RestoreToPulsar(restoring)
    disconnect(PulsarConnection(place.broker.service_url, token="env:ROLE_KEY"))
    for pipeline in (backup, stream, other, back):
        proto = pipeline.to_runner_api()
        pickled = proto.SerializeToString()
        assert found_in(pickled, ["ROLE_KEY"]), "the search finds what is pickled"
        place.assert_clean(pickled=pickled, written_out=str(proto))
    place.assert_clean(config=pickle.dumps(config), shown=repr(config))


def test_what_holds_a_secret_shows_nothing_of_it(place):
    connection = PulsarConnection(place.broker.service_url, token="env:ROLE_KEY")
    client = connect(connection)
    try:
        reader = client.open_reader(TopicPartition(place.topic), EARLIEST)
        shown = f"{connection!r} {client!r} {client.__dict__!r} {reader!r} {reader.__dict__!r}"
        assert reader.next(10.0) is not None
        reader.close()
        place.assert_clean(shown=shown)
    finally:
        disconnect(connection)
    assert "pasted" not in repr(PulsarConnection("pulsar://127.0.0.1", token="pasted"))


def test_the_search_finds_a_secret_in_every_form():
    hidden = secret("a/b+c?")
    for wrapped in (
        hidden.encode(),
        base64.b64encode(b"x" + hidden.encode() + b"yz"),
        base64.urlsafe_b64encode(b"xy" + hidden.encode()),
        base64.b64encode(zlib.compress(b"__" + hidden.encode())),
        base64.b64encode(bz2.compress(base64.b64encode(zlib.compress(hidden.encode())))),
        hidden.encode().hex().upper().encode(),
    ):
        assert found_in(b"before " + wrapped + b" after", [hidden])
        assert not found_in(b"before " + wrapped + b" after", [secret()])
    assert len(forms(hidden)) > 6
