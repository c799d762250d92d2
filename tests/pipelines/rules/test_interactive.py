"""``rule create --interactive`` at a real terminal, with a real cluster."""

from __future__ import annotations

import os
import pty
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import pytest

from pipelines.rules.choices import choices
from pipelines.rules.model import Rule
from pipelines.rules.store import RuleStore
from tests.pipelines.producing import numbered, send

ROOT = Path(__file__).parents[3]


#: Ctrl-C goes to whoever has the terminal as its own.
_WITH_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from pipelines import cli
cli.main()
"""


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, *words: str, **environment: str) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WITH_TERMINAL, *words],
            cwd=ROOT,
            env={**os.environ, "TERM": "dumb", **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""
        self._read = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def until(self, wanted: str, seconds: float = 60) -> str:
        """Wait for a text behind what was waited for before; gives what came up to its end."""
        deadline = time.monotonic() + seconds
        while (at := self.text.find(wanted, self._read)) < 0:
            assert time.monotonic() < deadline, f"no {wanted!r} in {self.text[self._read :]!r}"
            assert self._more(0.2), f"it ended without {wanted!r}: {self.text[self._read :]!r}"
        begun, self._read = self._read, at + len(wanted)
        return self.text[begun : self._read]

    def answer(self, question: str, text: str = "") -> str:
        """Wait for a question and answer it; gives what was said before it."""
        said = self.until(f"\n{question}")
        said += self.until(": ")
        self.type(f"{text}\n")
        return said

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def end(self) -> int:
        """Wait for the end; gives the exit code."""
        while self._more(60):
            pass
        return self.process.wait(60)

    def _more(self, seconds: float) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self._master, selectors.EVENT_READ)
            if not selector.select(seconds):
                return True
        try:
            new = os.read(self._master, 65536)
        except OSError:  # the other side is closed
            return False
        self.text += new.decode().replace("\r\n", "\n")
        return bool(new)


def rules() -> list[Rule]:
    with_all = RuleStore()
    found = [each.rule for each in with_all.all()]
    with_all.close()
    return found


def test_a_rule_is_made_by_questions_with_what_the_cluster_has(broker, client, topic, folder):
    name = topic(partitions=2)
    tenant, namespace, short = name.removeprefix("persistent://").split("/")
    send(client, name, numbered(5))
    broker.admin.create_subscription(name, "there-already")
    with Terminal("rule", "create", "orders", "--interactive") as at:
        at.answer("bucket", "backup")
        at.answer("bucket", "?")
        assert "bucket=cos://backup/ has no bucket of the form NAME-APPID" in at.text
        at.answer("bucket", f"file://{folder.path}/")
        assert "bucket: NAME-APPID, or file:///FOLDER/" in at.text
        at.answer("granularity [5m]", "5 parsecs")
        assert "granularity=5 parsecs" in at.answer("granularity [5m]", "2")
        at.answer("address", "pulsar://127.0.0.1:1")
        assert "Nothing listens at 127.0.0.1:1" in at.answer("address [pulsar://127.0.0.1:1]", broker.service_url)
        at.answer("admin_url", broker.admin_url)
        at.answer("role_key", "")
        said = at.answer("cluster", "tset")
        assert tenant in said
        assert "cluster=tset: the cluster has none of that name. Did you mean test?" in at.answer("cluster", "test")
        assert namespace in at.answer("namespace", namespace)
        assert f" 1  {short}\n" in at.answer("topic", "1, nothing")
        assert "topic=nothing: the cluster has none of that name." in at.answer("topic", "1")
        assert "there-already" in at.answer("subscription [backup-orders]", "")
        at.answer("start_point [earliest]", "yesterday")
        assert "start_point=yesterday" in at.answer("start_point [earliest]", "")
        at.answer("destination_path", "")
        assert "every 15m" in at.answer("schedule", "1")
        at.answer("a field to change, or Enter", "formt")
        at.answer("a field to change, or Enter", "format")
        at.answer("format [avro]", "2")
        at.answer("a field to change, or Enter", "")
        assert at.end() == 0, at.text
    assert "Rule orders is created." in at.text
    (rule,) = rules()
    assert (rule.cluster, rule.namespace, rule.topic, rule.subscription) == (
        tenant,
        namespace,
        (short,),
        "backup-orders",
    )
    assert (rule.granularity, rule.format, rule.schedule) == ("10m", "jsonl", "every 15m")
    assert (rule.address, rule.admin_url) == (broker.service_url, broker.admin_url)
    assert rule.bucket == f"file://{folder.path}/"


def test_a_key_that_is_pasted_is_refused_and_not_repeated_and_ctrl_c_leaves_nothing(
    secured_broker, folder, tmp_path, data_folder
):
    secured_broker.admin.create_namespace("test/asked")
    secured_broker.admin.create_topic("persistent://test/asked/one")
    secured_broker.admin.grant("test/asked", "reader", ["consume"])
    token, bare = secured_broker.token("reader"), "an0ther-k1nd-of-key"
    given = ["--granularity=5m", f"--bucket=file://{folder.path}/"]
    with Terminal("rule", "create", "orders", "--interactive", *given, ROLE_KEY=token) as at:
        at.answer("bucket", "")
        at.answer("granularity", "")
        at.answer("address", secured_broker.service_url)
        at.answer("admin_url", secured_broker.admin_url)
        for secret in (token, bare):
            at.answer("role_key", secret)
            at.until(secret)  # as the terminal shows what is typed
            said = at.until("\nrole_key:")
            assert "reference" in said
            assert secret not in said
            at.type("?\n")
        at.answer("role_key", "")
        assert "wants a token" in at.answer("role_key", "env:ROLE_KEY")
        assert "role [reader]" in at.answer("role", "someone")
        assert "role=someone: the key in role_key belongs to the role reader." in at.answer("role [reader]", "")
        assert "the role may not list them" in at.answer("cluster", "test")
        at.answer("namespace", "asked")
        assert "1  one\n" in at.answer("topic", "1")
        at.until("\nsubscription")
        at.type("\x03")
        assert at.end() == 130, at.text
    assert at.text.rstrip().endswith("interrupted while it asked; no rule is created.")
    assert "Traceback" not in at.text
    assert rules() == []
    for file in (each for each in data_folder.rglob("*") if each.is_file()):
        assert token.encode() not in file.read_bytes()
    assert folder.everything() == []


def test_at_the_end_of_the_input_nothing_is_created():
    with Terminal("rule", "create", "orders", "--interactive") as at:
        at.until("\nbucket: ")
        at.type("\x04")
        assert at.end() == 2
    assert "error: The input ended before all was asked: no rule is created." in at.text
    assert rules() == []


def test_sigterm_while_it_asks_ends_it_with_nothing_created():
    with Terminal("rule", "create", "orders", "--interactive") as at:
        at.until("\nbucket: ")
        at.process.send_signal(signal.SIGTERM)
        assert at.end() == 143
    assert "terminated while it asked; no rule is created." in at.text
    assert rules() == []


def test_without_a_terminal_nobody_is_asked():
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "rule", "create", "orders", "--interactive"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: --interactive: nobody can be asked here, for stdin is no terminal. Give the fields as options, or in "
        "--file.\n"
    )
    assert rules() == []


@pytest.mark.parametrize("scheme", ["pulsar", "http"])
def test_topics_are_listed_without_admin(broker, topic, scheme):
    one, two = topic("one", partitions=2), topic("two")
    tenant, namespace, _ = one.removeprefix("persistent://").split("/")
    broker.admin.create_topic(two)
    values = {"cluster": tenant, "namespace": namespace}
    values["address"] = broker.service_url if scheme == "pulsar" else broker.admin_url
    found = choices("topic", values)
    assert set(found.values) == {each.rpartition("/")[2] for each in (one, two)}
    assert found.whole
    assert choices("subscription", {**values, "topic": "one"}).why == "admin_url tells them"


def test_what_a_role_may_not_list_is_no_error(secured_broker, monkeypatch):
    secured_broker.admin.create_namespace("test/listed")
    monkeypatch.setenv("NOBODY", secured_broker.token("nobody"))
    values = {
        "address": secured_broker.service_url,
        "admin_url": secured_broker.admin_url,
        "role_key": "env:NOBODY",
        "cluster": "test",
        "namespace": "listed",
        "topic": "one",
    }
    for field in ("cluster", "namespace", "topic", "subscription"):
        found = choices(field, values)
        assert (found.values, found.why) == ((), "the role may not list them"), field


def test_what_cannot_be_asked_says_why():
    found = choices("topic", {"address": "pulsar://127.0.0.1:1", "cluster": "a", "namespace": "b"})
    assert "Nothing listens at 127.0.0.1:1" in found.why
    assert "address" in found.why
    assert choices("topic", {}).values == ()


def test_codecs_are_those_of_the_format():
    assert choices("codec", {"format": "jsonl"}).values == ("none", "gzip", "zstd")
    assert "deflate" in choices("codec", {}).values
    assert "ap-guangzhou" in choices("region", {}).values
