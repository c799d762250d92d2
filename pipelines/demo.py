"""``python -m pipelines.demo``: the whole way, on this machine, without an account and without Java.

Starts a small broker and a COS server of our own on the loopback interface, produces messages, runs the real job
through its real COS sink in both formats, reads every object back and counts. Exit code 0 if every message was found
exactly once and unchanged and a second run wrote nothing, 1 if not, 130 after Ctrl-C, 143 after SIGTERM.

Both servers are stand-ins. pulsar-lite has no partitions, no tokens and no admin REST, and it forgets what was
acknowledged. The COS server checks signatures and keeps COS's documented rules, and is not COS.
"""

# Beam takes seconds to load: it is imported where Ctrl-C is already taken care of.
# ruff: noqa: PLC0415

from __future__ import annotations

import argparse
import gzip
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from pipelines import terminal

if TYPE_CHECKING:
    from pipelines.demo_messages import Produced
    from pipelines.options import BackupConfig
    from pipelines.summary import Summary
    from transforms.testing.cos_server import CosServer

BUCKET = "demo-1250000000"
PREFIX = "backup/"
FORMATS = {"avro": "Avro", "jsonl": "JSON lines"}
QUERY = """\
SELECT split_part(topic, '/', -1) AS topic,
       strftime(time_bucket(INTERVAL 5 minutes, epoch_ms(event_time)), '%H:%M') AS "window",
       count(*) AS messages,
       count(*) FILTER (payload IS NULL AND payload_base64 IS NULL) AS tombstones,
       count(DISTINCT key) AS keys
FROM read_json('FOLDER/**/*.jsonl.gz', union_by_name = true, sample_size = -1)
GROUP BY ALL ORDER BY ALL"""

_PIPED_WIDTH = 132
_VALUE_SHOWN = 70
_LINE_SHOWN = 500

_signalled: list[int] = []
"""Ctrl-C and SIGTERM that came."""


def _break_off(number: int, _: object) -> None:
    _signalled.append(number)
    raise KeyboardInterrupt


@dataclass(frozen=True)
class Place:
    """Where the demo's servers are, the file with the key for COS, and the folder for the objects."""

    service_url: str
    endpoint: str
    credentials: Path
    folder: Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code. Does not return when it is interrupted: the process ends."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.demo", description="Back up three topics on this machine, and check every message."
    )
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="leave the objects there, as files")
    keep: Path | None = parser.parse_args(argv).keep
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        print(f"error: --keep={keep}: not an empty folder.", file=sys.stderr)
        return 2
    cast(Any, sys.stdout).reconfigure(errors="replace")  # the messages hold many scripts, and not every terminal does
    console = terminal.console(piped_width=_PIPED_WIDTH)
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _break_off)
        return _demo(console, keep)
    except BaseException:
        # What is raised in the midst of a runner comes out of it as an error of its own.
        if not _signalled:
            raise
        console.print("\ninterrupted")
        sys.stdout.flush()
        # Not sys.exit: that waits for the threads of a runner that was broken off.
        os._exit(128 + _signalled[0])


def _demo(console: Console, keep: Path | None) -> int:
    started = time.monotonic()
    missing = [name for name in ("duckdb", "pulsar_lite") if find_spec(name) is None]
    if missing:
        print(f"error: the demo needs {' and '.join(missing)}: run make demo, or install them.", file=sys.stderr)
        return 1
    from transforms.errors import BackupError
    from transforms.testing.cos_server import CosServer
    from transforms.testing.pulsar_lite import PulsarLite

    secret_id, secret_key = f"AKID{secrets.token_hex(8)}", secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="tdmq-backup-demo-", ignore_cleanup_errors=True) as scratch:
        credentials = Path(scratch, "credentials")
        credentials.touch(mode=0o600)
        credentials.write_text(f"COS_SECRET_ID={secret_id}\nCOS_SECRET_KEY={secret_key}\n", encoding="utf-8")
        server = CosServer(Path(scratch, "cos"), buckets=[BUCKET], secret_id=secret_id, secret_key=secret_key)
        with server, PulsarLite() as broker:
            place = Place(broker.service_url, server.endpoint, credentials, keep or Path(scratch, "objects"))
            _title(console, "Two servers on this machine")
            console.print(f"broker  {place.service_url}  pulsar-lite, a stand-in for Pulsar; keeps messages in memory")
            console.print(f"COS     {place.endpoint}    a stand-in for COS; checks signatures; bucket {BUCKET}")
            try:
                right = _back_up_and_compare(console, place, server)
            except BackupError as error:
                print(f"error: {error}", file=sys.stderr)
                return error.exit_code
    console.print(f"{time.monotonic() - started:.1f} s in all." + (f" The objects are in {keep}." if keep else ""))
    return 0 if right else 1


def _back_up_and_compare(console: Console, place: Place, server: CosServer) -> bool:
    from pipelines.demo_messages import compare, produce, read_back
    from pipelines.options import parse_options
    from pipelines.summary import print_summary

    _title(console, "Messages")
    produced = produce(place.service_url)
    _show_produced(console, produced)
    configs = {}
    for name, words in FORMATS.items():
        _title(console, f"The job, writing {words}")
        arguments = _arguments(place, name)
        console.print("$ python -m pipelines.backup" + "".join(f" \\\n    {each}" for each in arguments), style="dim")
        configs[name] = parse_options([*arguments, "--log_level=WARNING"])
        print_summary(_run(configs[name]), console)
    objects = {name: _download(config, place.folder / name) for name, config in configs.items()}
    _title(console, "Objects")
    _show_objects(console, objects)
    _title(console, "Records, read back")
    _show_records(console, place.folder)
    _title(console, "DuckDB on the JSON lines")
    _show_query(console, place.folder / "jsonl")

    _title(console, "The job again, in both formats")
    before = _standing(server)
    again = {name: _run(config) for name, config in configs.items()}
    for name, summary in again.items():
        console.print(
            f"{name}: {summary.messages:,} messages read, {summary.already_stored:,} of them stored already, "
            f"{summary.files} objects written"
        )
    untouched = _standing(server) == before and not any(summary.files for summary in again.values())
    same = "No object was added or changed, but for a record of each run."
    console.print(same if untouched else "OBJECTS WERE ADDED OR CHANGED.")

    _title(console, "Every object read, every message compared with what was produced")
    comparisons = {name: compare(produced, read_back(place.folder / name)) for name in configs}
    for name, comparison in comparisons.items():
        console.print(f"{name}: {comparison}")
    right = untouched and all(comparison.equal for comparison in comparisons.values())
    if right:
        console.print("Every message was counted exactly once, in both formats.", style="bold green")
    else:
        console.print("NOT every message was counted exactly once.", style="bold red")
    return right


def _arguments(place: Place, name: str) -> list[str]:
    from pipelines.demo_messages import KINDS

    return [
        f"--service_url={place.service_url}",
        *(f"--topic={kind.topic}" for kind in KINDS),
        "--subscription=demo",
        f"--destination=cos://{BUCKET}/{PREFIX}{name}/",
        f"--cos_endpoint={place.endpoint}",
        f"--cos_credentials=file:{place.credentials}",
        "--granularity=5m",
        "--window_by=event_time",
        f"--format={name}",
    ]


def _run(config: BackupConfig) -> Summary:
    from pipelines import logs
    from pipelines.backup import run

    logs.set_up(config.log_level, config.log_format)
    return run(config)


def _download(config: BackupConfig, folder: Path) -> dict[str, int]:
    """Fetch every object, through the store that the job writes with; sizes by key."""
    from transforms.cos.cos_store import CosStore
    from transforms.cos.destination import open_store

    store = cast(CosStore, open_store(config.destination))
    sizes = {}
    for key in store.list_keys(config.destination.prefix):
        content = b"".join(store.read(key))
        target = folder / key.removeprefix(config.destination.prefix)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        sizes[key] = len(content)
    return sizes


def _standing(server: CosServer) -> set[tuple[str, str, float]]:
    """What stands in the bucket, without records of runs: keys, checksums, and when each was written."""
    listed = server.disk.list(BUCKET, "", "", -1)
    return {(each.key, each.content.crc, each.modified) for each in listed if "/_runs/" not in each.key}


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(text, style="bold cyan")


def _show_produced(console: Console, produced: Produced) -> None:
    from pipelines.demo_messages import KINDS, LATE_EVERY, WINDOWS

    table = _table("topic", "messages", "what")
    for kind in KINDS:
        messages = sum(1 for message_id in produced if message_id.topic == kind.topic)
        table.add_row(kind.topic.removeprefix("persistent://"), f"{messages:,}", kind.about)
    console.print(table)
    times = [message.event_time for message in produced.values()]
    console.print(
        f"They were published just now. Their event times lie between {_clock(min(times))} and {_clock(max(times))} "
        f"UTC, in {WINDOWS} windows of 5 minutes, so the job is told to gather by event time. One message in "
        f"{LATE_EVERY:,} comes a whole window late."
    )


def _show_objects(console: Console, objects: dict[str, dict[str, int]]) -> None:
    from pipelines.demo_messages import is_document

    tree = Tree(f"cos://{BUCKET}/{PREFIX}")
    for name, sizes in objects.items():
        files = {key: size for key, size in sizes.items() if not is_document(PurePath(key))}
        documents = len(sizes) - len(files)
        branch = tree.add(
            Text(f"{name}/  {len(files)} objects of messages, {sum(files.values()):,} bytes; {documents} documents")
        )
        folders: dict[str, Tree] = {}
        for key, size in sizes.items():
            folder, _, file = key.removeprefix(f"{PREFIX}{name}/").rpartition("/")
            if folder not in folders:
                folders[folder] = branch.add(Text(f"{folder}/"))
            folders[folder].add(Text(f"{file}  {size:,}"))
    console.print(tree)


def _show_records(console: Console, folder: Path) -> None:
    from pipelines.demo_messages import records

    def paths(name: str, topic: str) -> list[Path]:
        return sorted((folder / name).rglob(f"{topic}/**/*.*"))[:1]

    orders = list(records(paths("avro", "orders")))
    for record in (orders[0], next(each for each in orders if each["payload"] is None)):
        console.print(
            "Avro: ", ", ".join(f"{field} {_short(value)}" for field, value in record.items()), soft_wrap=True
        )
    for topic in ("orders", "sensors"):
        with gzip.open(paths("jsonl", topic)[0], "rt", encoding="utf-8") as lines:
            console.print("JSON lines: ", next(lines)[:_LINE_SHOWN].rstrip(), soft_wrap=True)


def _short(value: Any) -> str:
    text = value.isoformat(" ", "milliseconds") if isinstance(value, datetime) else repr(value)
    return text if len(text) <= _VALUE_SHOWN else f"{text[:_VALUE_SHOWN]}…"


def _show_query(console: Console, folder: Path) -> None:
    import duckdb

    console.print(QUERY.replace("FOLDER", "jsonl"), style="dim")
    with duckdb.connect() as database:
        result = database.sql(QUERY.replace("FOLDER", str(folder).replace("'", "''")))
        table = _table(*result.columns)
        for row in result.fetchall():
            table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row))
    console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in ("topic", "what", "window") else "right")
    return table


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, tz=timezone.utc).strftime("%H:%M:%S")


if __name__ == "__main__":
    sys.exit(main())
