from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pulsar
import pytest

from transforms.testing.producers import produce
from transforms.testing.pulsar_admin import AdminError, PulsarAdmin
from transforms.testing.pulsar_lite import PulsarLite
from transforms.testing.pulsar_standalone import PulsarStandalone
from transforms.testing.server_process import ServerError, ServerProcess

Topic = Callable[..., str]


@pytest.fixture(scope="module")
def own_broker() -> Iterator[PulsarStandalone]:
    """A broker that these tests may kill."""
    with PulsarStandalone(fast_trimming=True) as server:
        server.admin.create_namespace("public/kept")
        server.admin.create_namespace("public/let-go", retention_minutes=0, retention_megabytes=0)
        yield server


def _listening_addresses(pid: int) -> set[str]:
    """Addresses on which a process listens, from the kernel's tables."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _number, local, _remote, state, *rest = line.split()
            if state == "0A" and rest[5] in inodes:
                packed = bytes.fromhex(local.split(":")[0])
                words = b"".join(packed[at : at + 4][::-1] for at in range(0, len(packed), 4))
                found.add(socket.inet_ntop(socket.AF_INET if len(words) == 4 else socket.AF_INET6, words))
    return found


def _read(service_url: str, topic: str, token: str | None = None) -> list[bytes]:
    authentication = pulsar.AuthenticationToken(token) if token else None
    logger = pulsar.ConsoleLogger(pulsar.LoggerLevel.Error)
    client = pulsar.Client(service_url, authentication=authentication, logger=logger)
    try:
        reader = client.create_reader(topic, pulsar.MessageId.earliest)
        found = []
        while reader.has_message_available():
            found.append(reader.read_next(5000).data())
        return found
    finally:
        client.close()


def test_what_was_sent_is_there_after_sigkill_on_the_same_address(own_broker: PulsarStandalone) -> None:
    topic = "persistent://public/kept/killed"
    sent = [each.message.payload for each in produce(own_broker.service_url, topic, 500)]
    before = own_broker.pid
    own_broker.kill()
    assert own_broker.pid is None
    own_broker.start()
    assert own_broker.pid not in (None, before)
    assert _read(own_broker.service_url, topic) == sent


def test_a_killed_bookie_has_left_no_registration_when_it_comes_back(own_broker: PulsarStandalone) -> None:
    """It would delete it while it makes its own, and may do both for ever (see ``_forget_registration``)."""
    own_broker.kill()
    before = own_broker.log.stat().st_size
    own_broker.start()
    log = own_broker.log.read_bytes()[before:].decode()
    assert "Acquired resource lock on /ledgers/available/" in log
    assert "Deleting path: /ledgers/available/" not in log


def test_old_ledgers_are_deleted_where_nothing_keeps_them(own_broker: PulsarStandalone) -> None:
    topic = "persistent://public/let-go/trimmed"
    produce(own_broker.service_url, topic, 5, batching=False)
    own_broker.admin.delete_old_ledgers(topic)
    assert _read(own_broker.service_url, topic) == []


def test_old_ledgers_stay_where_a_subscription_keeps_them(own_broker: PulsarStandalone) -> None:
    topic = "persistent://public/let-go/subscribed"
    own_broker.admin.create_topic(topic)
    own_broker.admin.create_subscription(topic, "backup")
    produce(own_broker.service_url, topic, 5, batching=False)
    with pytest.raises(TimeoutError, match="are kept by retention or by a subscription"):
        own_broker.admin.delete_old_ledgers(topic, timeout=0.5)
    assert len(_read(own_broker.service_url, topic)) == 5


def test_with_fast_trimming_a_ledger_has_ten_entries(own_broker: PulsarStandalone) -> None:
    topic = "persistent://public/kept/ledgers"
    sent = produce(own_broker.service_url, topic, 25, batching=False)
    assert len({each.position.ledger for each in sent}) == 3


def test_nothing_listens_outside_this_machine(broker: PulsarStandalone) -> None:
    assert broker.pid is not None
    addresses = _listening_addresses(broker.pid)
    assert addresses
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_compaction_keeps_the_last_message_of_each_key(broker: PulsarStandalone, topic: Topic) -> None:
    name = topic()
    produce(broker.service_url, name, 250, batching=False)
    broker.admin.compact(name)
    assert broker.admin.internal_stats(name)["compactedLedger"]["entries"] == 100


def test_partitions_and_schemas_are_made_by_admin_rest(broker: PulsarStandalone, topic: Topic) -> None:
    name = topic(partitions=2)
    broker.admin.add_partitions(name, 3)
    namespace = name.removeprefix("persistent://").rsplit("/", 1)[0]
    assert broker.admin.topics(namespace) == {f"{name}-partition-{index}" for index in range(3)}
    broker.admin.delete_topic(name, partitioned=True)
    assert broker.admin.topics(namespace) == set()


def test_each_upload_of_a_schema_gives_its_version(broker: PulsarStandalone, topic: Topic) -> None:
    name = topic()
    fields = [{"name": "a", "type": "int"}]
    more = [*fields, {"name": "b", "type": "int", "default": 0}]
    schemas = [{"type": "record", "name": "R", "fields": each} for each in (fields, more)]
    assert [broker.admin.upload_schema(name, "AVRO", each) for each in schemas] == [0, 1]


def test_a_refusal_of_admin_rest_has_its_status(broker: PulsarStandalone) -> None:
    with pytest.raises(AdminError, match=r"GET persistent/test/missing/topic/stats.*HTTP 404") as caught:
        broker.admin.stats("persistent://test/missing/topic")
    assert caught.value.status == 404


def test_a_role_may_do_what_it_was_granted_and_no_more(secured_broker: PulsarStandalone) -> None:
    admin, topic = secured_broker.admin, "persistent://test/granted/topic"
    admin.create_namespace("test/granted")
    admin.grant("test/granted", "reader", ["consume"])
    sent = produce(secured_broker.service_url, topic, 3, token=secured_broker.token("admin"))
    reader = secured_broker.token("reader", expires_in=60)
    assert _read(secured_broker.service_url, topic, reader) == [each.message.payload for each in sent]
    with pytest.raises(pulsar.AuthorizationError):
        produce(secured_broker.service_url, topic, 1, token=reader)


@pytest.mark.parametrize("kind", ["missing", "expired", "of another key"])
def test_other_tokens_are_refused(secured_broker: PulsarStandalone, kind: str) -> None:
    good = secured_broker.token("admin")
    expired = secured_broker.token("admin", expires_in=-60)
    token = {"missing": None, "expired": expired, "of another key": good[:-43] + "A" * 43}[kind]
    with pytest.raises(AdminError) as caught:
        PulsarAdmin(secured_broker.admin_url, token).request("GET", "namespaces/public")
    assert caught.value.status == 401


def test_secrets_are_in_private_files_and_on_no_command_line(secured_broker: PulsarStandalone) -> None:
    files = [secured_broker.directory / name for name in ("secret.key", "superuser.token")]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    command = Path(f"/proc/{secured_broker.pid}/cmdline").read_bytes()
    environment = Path(f"/proc/{secured_broker.pid}/environ").read_bytes()
    for file in files:
        assert file.read_bytes() not in command + environment


def test_tokens_need_authentication(broker: PulsarStandalone) -> None:
    with pytest.raises(ServerError, match="start it with authentication=True"):
        broker.token("admin")


def test_a_broker_that_dies_at_the_start_shows_the_end_of_its_log() -> None:
    server = PulsarStandalone(configuration={"brokerServicePort": "no number"})
    with pytest.raises(ServerError) as caught, server:
        pass
    assert "Pulsar standalone ended while it was starting (exit code" in str(caught.value)
    assert f"Its log, {server.log}, ends with:" in str(caught.value)
    assert "no number" in str(caught.value)
    assert not server.directory.exists()


# Processes


def _sleeper(folder: Path, script: str = "exec sleep 600") -> ServerProcess:
    return ServerProcess("sleeper", ["/bin/sh", "-c", script], directory=folder, log=folder / "log")


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    server = _sleeper(tmp_path, "trap '' TERM; echo ready; while true; do sleep 0.1; done")
    server.start()
    server.wait_until(lambda: "ready" in server.log.read_text(), timeout=10)
    pid = server.pid
    server.stop(timeout=0.2)
    assert not Path(f"/proc/{pid}").exists()


def test_a_process_that_is_never_ready_is_stopped_and_named(tmp_path: Path) -> None:
    server = _sleeper(tmp_path, "echo at work; exec sleep 600")
    server.start()
    server.wait_until(lambda: "at work" in server.log.read_text(), timeout=10)
    with pytest.raises(ServerError, match=r"sleeper did not become ready in 0 s\. Its log, .*log, ends with:\nat work"):
        server.wait_until(lambda: False, timeout=0.2)
    assert server.pid is None


def test_a_process_ends_with_ours_even_by_sigkill(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, pathlib, signal, sys
        from transforms.testing.server_process import ServerProcess
        folder = pathlib.Path(sys.argv[1])
        server = ServerProcess("sleeper", ["sleep", "600"], directory=folder, log=folder / "log")
        server.start()
        print(server.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    answer = subprocess.run([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True, check=False)
    server = Path(f"/proc/{answer.stdout.strip()}/stat")
    assert answer.returncode == -9
    deadline = time.monotonic() + 10
    # Whoever adopts orphans may leave them as zombies for a while.
    while server.exists() and server.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < deadline, "the server outlived its parent"


def test_pulsar_lite_serves_clients_on_loopback_only() -> None:
    with PulsarLite() as lite:
        assert lite.pid is not None
        assert _listening_addresses(lite.pid) == {"127.0.0.1"}
        sent = produce(lite.service_url, "persistent://public/default/demo", 300)
        assert _read(lite.service_url, "persistent://public/default/demo") == [each.message.payload for each in sent]
    assert not lite.directory.exists()
