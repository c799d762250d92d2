"""What a person can get wrong, and what can be broken around a run: each case, and the sentences it gives.

``python -m tests.pipelines.wrong_inputs`` plays all and prints the table. The cases stand in the modules that
``all_cases`` names.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pulsar
from rich.console import Console
from rich.table import Table

from tests.pipelines.producing import connected, numbered, send
from transforms.testing.certificates import Authority
from transforms.testing.cos_server import TEST_BUCKET, TEST_SECRET_ID, TEST_SECRET_KEY, CosServer
from transforms.testing.pulsar_standalone import PulsarStandalone
from transforms.testing.server_process import free_ports

#: Nobody should wait longer for being told.
SECONDS = 10.0
WIDTH = 160


@dataclass
class World:
    """The surroundings that all cases share; ``names`` stand in options and sentences, as ``{name}``."""

    broker: PulsarStandalone
    secured: PulsarStandalone
    cos: CosServer
    folder: Path
    client: pulsar.Client
    names: dict[str, str] = field(default_factory=dict)

    def filled(self, text: str) -> str:
        """The text with names put in; other braces stay."""
        return re.sub(r"\{(\w+)\}", lambda found: self.names.get(found[1], found[0]), text)


Surroundings = Callable[[World], AbstractContextManager[object]]


@dataclass(frozen=True)
class Case:
    """One thing that is wrong. ``options`` replace those of a run that works; a name alone takes one away."""

    name: str
    code: int
    options: Sequence[str]
    sentences: Sequence[str]
    """The lines of the error, without ``error: ``; ``…`` stands for anything."""
    around: Surroundings | None = None
    environment: dict[str, str] = field(default_factory=dict)
    """Variables; an empty value takes one away."""
    process: bool = False
    """Played as a process of its own."""


@dataclass(frozen=True)
class Outcome:
    """What a case gave."""

    code: int
    lines: tuple[str, ...]
    stderr: str
    seconds: float


def all_cases() -> list[Case]:
    """Every case: options that are wrong in themselves, told before anything is asked of anyone, and then the others."""
    from tests.pipelines import (
        wrong_addresses,
        wrong_destination_options,
        wrong_destinations,
        wrong_flink_options,
        wrong_options,
        wrong_source_options,
        wrong_sources,
    )

    options = [*wrong_options.CASES, *wrong_source_options.CASES, *wrong_destination_options.CASES]
    options += wrong_flink_options.CASES
    return [*options, *wrong_addresses.CASES, *wrong_sources.CASES, *wrong_destinations.CASES]


@contextlib.contextmanager
def world(broker: PulsarStandalone, secured: PulsarStandalone, folder: Path) -> Iterator[World]:
    """Prepare what the cases need."""
    with ExitStack() as stack:
        cos = stack.enter_context(CosServer(folder / "cos", region="ap-guangzhou"))
        client = connected(broker.service_url)
        stack.callback(client.close)
        made = World(broker, secured, cos, folder, client)
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        (closed,) = free_ports(1)
        (folder / "file").write_text("no folder")
        (folder / "token").write_text(secured.token("reader"))
        (folder / "empty").write_text("")
        (folder / "not.pem").write_text("no certificate")
        assert secured.authority is not None
        reader = secured.authority.sign("reader")
        stranger = secured.authority.sign("stranger")
        unknown = Authority(folder, "unknown").sign("reader")
        made.names |= {
            "broker": broker.service_url.partition("://")[2],
            "admin": broker.admin_url.partition("://")[2],
            "secured": secured.service_url.partition("://")[2],
            "secured_admin": secured.admin_url.partition("://")[2],
            "tls": secured.tls_service_url.partition("://")[2],
            "tls_port": secured.tls_service_url.rpartition(":")[2],
            "tls_admin": secured.tls_admin_url.partition("://")[2],
            "ca": str(secured.authority.certificate),
            "cert": str(reader.certificate),
            "key": str(reader.key),
            "other_cert": str(stranger.certificate),
            "other_key": str(stranger.key),
            "unknown_cert": str(unknown.certificate),
            "unknown_key": str(unknown.key),
            "cos": cos.endpoint.partition("://")[2],
            "bucket": TEST_BUCKET,
            "closed": f"127.0.0.1:{closed}",
            "silent": f"127.0.0.1:{silent.getsockname()[1]}",
            "folder": str(folder),
            "reader": secured.token("reader"),
            "stranger": secured.token("stranger"),
            "expired": secured.token("reader", expires_in=-3600),
        }
        _fill(made)
        yield made


def _fill(made: World) -> None:
    """Topics, with messages."""
    run = os.urandom(3).hex()
    for server in (made.broker, made.secured):
        server.admin.create_tenant("test")
    names = {"ns": f"test/wrong-{run}", "shut": f"test/shut-{run}", "brief": f"test/brief-{run}"}
    made.names |= names
    made.broker.admin.create_namespace(names["ns"])
    made.broker.admin.create_namespace(names["shut"])
    made.broker.admin.forbid_new_subscriptions(names["shut"])
    made.secured.admin.create_namespace(names["ns"])
    made.secured.admin.grant(names["ns"], "reader", ["consume"])
    made.secured.admin.create_topic(f"persistent://{names['ns']}/orders")
    for namespace in (names["ns"], names["shut"]):
        send(made.client, f"persistent://{namespace}/orders", numbered(3))
    made.broker.admin.create_partitioned_topic(f"persistent://{names['ns']}/parts", 3)


def arguments(made: World, case: Case) -> list[str]:
    """The command line of a case."""
    given = [made.filled(option) for option in case.options]
    named = {option.partition("=")[0] for option in given}
    usual = [
        "--service_url=pulsar://{broker}",
        "--topic={ns}/orders",
        "--destination=cos://{bucket}/backup/",
        "--cos_region=ap-guangzhou",
        "--cos_endpoint=http://{cos}",
    ]
    if any(option.startswith("--destination=file:") for option in given):
        usual = usual[:2]
    kept = [made.filled(option) for option in usual if option.partition("=")[0] not in named]
    takes_away = {option for option in given if option.startswith("-") and "=" not in option and option in _TAKEN}
    return [*kept, *(option for option in given if option not in takes_away)]


_TAKEN = ("--service_url", "--topic", "--destination", "--cos_region", "--cos_endpoint")


def play(made: World, case: Case) -> Outcome:
    """Run the job as the case says."""
    from tests.pipelines.backups import run_job, run_process

    secrets = {"COS_SECRET_ID": TEST_SECRET_ID, "COS_SECRET_KEY": TEST_SECRET_KEY}
    wanted = {**secrets, **{name: made.filled(value) for name, value in case.environment.items()}}
    environment = {name: value for name, value in wanted.items() if value}
    argv = arguments(made, case)
    with ExitStack() as stack:
        if case.around is not None:
            stack.enter_context(case.around(made))
        if case.process:
            begun = time.monotonic()
            run = run_process(argv, environment, seconds=60)
        else:
            clean = {name: value for name, value in os.environ.items() if not name.startswith(("COS_", "PULSAR_"))}
            stack.enter_context(mock.patch.dict(os.environ, {**clean, **environment}, clear=True))
            begun = time.monotonic()
            run = run_job(
                argv, summary=not any(option.startswith(("--summary_file", "--streaming")) for option in argv)
            )
        seconds = time.monotonic() - begun
    made.cos.faults.clear()
    lines = [line.removeprefix("error: ") for line in run.errors.splitlines() if line.startswith("error: ")]
    return Outcome(run.code, tuple(lines), run.errors, seconds)


def fits(made: World, case: Case, outcome: Outcome) -> bool:
    """Whether the exit code and all sentences are those of the case."""
    if outcome.code != case.code or len(outcome.lines) != len(case.sentences):
        return False
    pairs = zip(outcome.lines, case.sentences, strict=True)
    return all(
        re.fullmatch(".*".join(map(re.escape, made.filled(sentence).split("…"))), line) for line, sentence in pairs
    )


def main() -> int:
    """Play all cases and print the table; 0 if all are as they should be."""
    table = Table(title="Wrong inputs and broken surroundings", title_justify="left", show_lines=True)
    for name in ("case", "code", "s"):
        table.add_column(name)
    table.add_column("what is said", overflow="fold")
    wrong = []
    cases = all_cases()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        broker = stack.enter_context(PulsarStandalone())
        secured = stack.enter_context(PulsarStandalone(authentication=True, tls=True))
        with world(broker, secured, Path(folder)) as made:
            for case in cases:
                outcome = play(made, case)
                if not fits(made, case, outcome) or "Traceback" in outcome.stderr or outcome.seconds > SECONDS:
                    wrong.append(case.name)
                table.add_row(case.name, str(outcome.code), f"{outcome.seconds:.1f}", "\n".join(outcome.lines))
    from tests.pipelines.rules import wrong_rules

    with tempfile.TemporaryDirectory() as folder:
        for each in wrong_rules.CASES:
            begun = time.monotonic()
            said = wrong_rules.play(each, Path(folder), f"sqlite:///{folder}/rules.sqlite3")
            if not wrong_rules.fits(each, said, Path(folder)):
                wrong.append(each.name)
            seconds = f"{time.monotonic() - begun:.1f}"
            table.add_row(f"rule: {each.name}", str(said.code), seconds, "\n".join(said.sentences))
    count = len(cases) + len(wrong_rules.CASES)
    console = Console(width=WIDTH, markup=False, highlight=False)
    console.print(table)
    console.print(f"{count} cases, {count - len(wrong)} as they should be. {', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
