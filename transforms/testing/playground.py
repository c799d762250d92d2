"""``python -m transforms.testing.playground``: a Pulsar cluster and a bucket on this machine, to try things on.

A real Pulsar broker with tokens and permissions, a COS server of ours, and a producer that writes five messages a
second into ``shop/web/orders``, which has two partitions. What a backup needs to know of them is in the file ``env`` of
the folder. They run until Ctrl-C or ``quit``. Words on standard input break and repair them: see ``_HELP``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pulsar

from transforms.testing.cos_server import TEST_BUCKET, TEST_SECRET_ID, TEST_SECRET_KEY, CosServer
from transforms.testing.pulsar_admin import AdminError
from transforms.testing.pulsar_standalone import SUPERUSER, PulsarStandalone

TENANT, NAMESPACE, TOPIC = "shop", "shop/web", "persistent://shop/web/orders"
ROLE = "backup"
_PARTITIONS = 2
_PAUSE = 0.2
_HELP = """\
  cos off      the bucket does not answer any more
  cos on       it does again; what was stored is there
  token off    the role "backup" loses its permission to consume
  token on     it has it again
  quit         stop everything; the folder stays"""


class Playground:
    """Both servers and the producer, in a folder; a context manager. Starting takes about twenty seconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._broker = PulsarStandalone(authentication=True)
        self._cos = CosServer(folder / "bucket")
        self._cos_is_on = False
        self._ended = threading.Event()
        self._producer = threading.Thread(target=self._produce, name="producer", daemon=True)

    def __enter__(self) -> Playground:
        self._broker.start()
        admin = self._broker.admin
        admin.create_tenant(TENANT)
        admin.create_namespace(NAMESPACE)
        admin.create_partitioned_topic(TOPIC, _PARTITIONS)
        self.say("token on")
        self.say("cos on")
        self._write_env()
        self._producer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._producer.join()
        self.say("cos off")
        self._broker.close()

    def say(self, words: str) -> str:
        """Do what one of the words of ``_HELP`` says; gives what is to be told."""
        actions: dict[str, Callable[[], str]] = {
            "cos off": self._cos_off,
            "cos on": self._cos_on,
            "token off": self._token_off,
            "token on": self._token_on,
        }
        action = actions.get(" ".join(words.split()))
        return _HELP if action is None else action()

    def _cos_off(self) -> str:
        if self._cos_is_on:
            self._cos.stop()
            self._cos_is_on = False
        return "The bucket does not answer."

    def _cos_on(self) -> str:
        if not self._cos_is_on:
            port = int(self._cos.endpoint.rpartition(":")[2])
            if self._cos.stopping.is_set():
                self._cos = CosServer(self._folder / "bucket", port=port)
            self._cos.start()
            self._cos_is_on = True
        return "The bucket answers."

    def _token_off(self) -> str:
        try:
            self._broker.admin.request("DELETE", f"namespaces/{NAMESPACE}/permissions/{ROLE}")
        except AdminError as error:
            return str(error)
        return "The role may not consume."

    def _token_on(self) -> str:
        self._broker.admin.grant(NAMESPACE, ROLE, ["consume"])
        return "The role may consume."

    def _write_env(self) -> None:
        token = self._folder / "token"
        token.touch(mode=0o600)
        token.write_text(self._broker.token(ROLE), encoding="utf-8")
        values = {
            "COS_SECRET_ID": TEST_SECRET_ID,
            "COS_SECRET_KEY": TEST_SECRET_KEY,
            "COS_ENDPOINT": self._cos.endpoint,
            "BUCKET": TEST_BUCKET,
            "ADDRESS": self._broker.service_url,
            "TOKEN_FILE": str(token.resolve()),
            "TDMQ_BACKUP_STORE": f"sqlite:///{(self._folder / 'rules.sqlite3').resolve()}",
        }
        lines = [f"export {name}='{value}'\n" for name, value in values.items()]
        (self._folder / "env").write_text("".join(lines), encoding="utf-8")

    def _produce(self) -> None:
        authentication = pulsar.AuthenticationToken(self._broker.token(SUPERUSER))
        client = pulsar.Client(
            self._broker.service_url,
            authentication=authentication,
            logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull),
        )
        producer = client.create_producer(TOPIC, block_if_queue_full=True)
        number = 0
        while not self._ended.wait(_PAUSE):
            producer.send(b'{"order": %d}' % number, partition_key=f"customer-{number % 10}")
            number += 1
        client.close()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM as Ctrl-C."""

    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        print("stopped", flush=True)
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str] | None = None) -> None:
    """Start everything, and do what is said on standard input."""
    parser = argparse.ArgumentParser(description="A Pulsar cluster and a bucket on this machine, to try things on.")
    parser.add_argument("--folder", type=Path, default=Path("build/playground"), help="for everything; emptied first")
    folder: Path = parser.parse_args(arguments).folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print("Starting a Pulsar broker and a COS server …", flush=True)
    with _ended_by_signals(), Playground(folder) as playground:
        print(f"They run. In another terminal:  . {folder}/env\nHere:\n{_HELP}", flush=True)
        for line in sys.stdin:
            if line.strip() == "quit":
                return
            print(playground.say(line), flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
