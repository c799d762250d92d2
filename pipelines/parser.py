"""The options of the job, declared once, and the help that shows them. Loads in a moment: neither Beam nor an SDK.

Names are a contract. They have Beam's underscores; Beam's and the runner's own options pass through unchanged.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from typing import Any, NoReturn

from pipelines.logs import FORMATS
from transforms.errors import ConfigurationError
from transforms.files.naming import DEFAULT_PATH

_EPILOG = """\
examples:
  to a bucket, with a token, and with a subscription, for which the broker keeps what is not stored yet:
    %(prog)s --service_url=pulsar://10.0.0.7:6650 --token=env:PULSAR_TOKEN --topic=pulsar-abc123/shop/orders \
--subscription=backup --destination=cos://backup-1250000000/pulsar/ --cos_region=ap-guangzhou
  to a folder on this machine:
    %(prog)s --service_url=pulsar://127.0.0.1:6650 --topic=orders --destination=file:///tmp/backup/
  one day of history:
    %(prog)s --start=2026-11-22T00:00:00Z --end=2026-11-23T00:00:00Z --service_url=pulsar://127.0.0.1:6650 \
--topic=orders --destination=file:///tmp/one-day/
  before the first run, see what it would do:
    %(prog)s --check --service_url=pulsar://127.0.0.1:6650 --topic=orders --destination=file:///tmp/backup/

exit codes:
  0 done, 1 unexpected, or Flink or a worker process failed, 2 configuration, 3 authentication or permission, \
4 source, 5 destination, 130 interrupted, 143 terminated

Beam's own options pass through."""
_COMMAND_MARGIN = "    "


class Parser(argparse.ArgumentParser):
    """Raises ConfigurationError where argparse would print and end the process."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Let every value pass: ``parse_options`` tells all that are wrong, not the first."""

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Refuse ``--option=--``, which argparse before Python 3.13 takes for an option without a value."""
        values = super()._get_values(action, arg_strings)
        if action.nargs is None and values == []:
            raise argparse.ArgumentError(action, "expected one argument")
        return values

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print, so that it is told as all errors are."""
        said = re.sub(r"^argument (--[\w-]+):", r"\1:", message).replace("expected one argument", "needs a value")
        raise ConfigurationError(f"{said}. --help lists the options.")


class Help(argparse.HelpFormatter):
    """Shows defaults where there are any, and breaks lines at blanks only, so that what is copied is right."""

    def _get_help_string(self, action: argparse.Action) -> str:
        shown = action.default not in (None, False, argparse.SUPPRESS)
        return f"{action.help} (default: %(default)s)" if shown else f"{action.help}"

    def _format_usage(self, *args: Any) -> str:
        margin = " " * len("usage: ")
        return f"{_wrapped(super()._format_usage(*args), self._width, '', margin)}\n\n"

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrapped(text, width).splitlines()

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Keep lines and their margins; a command goes on in the next line behind a backslash."""
        lines = []
        for line in text.splitlines():
            margin = indent + line[: len(line) - len(line.lstrip())]
            if margin == _COMMAND_MARGIN:
                lines.append(_wrapped(line, width - 2, margin, 2 * margin).replace("\n", " \\\n"))
            else:
                lines.append(_wrapped(line, width, margin, margin))
        return "\n".join(lines)


def _wrapped(text: str, width: int, first: str = "", further: str = "") -> str:
    return textwrap.fill(
        text.strip(),
        max(width, 1),
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def job_parser() -> Parser:
    """The parser of our options; its help is what ``--help`` shows."""
    parser = Parser(
        prog="python -m pipelines.backup",
        usage="%(prog)s --service_url=URL --topic=NAME --destination=URL [OPTION ...]",
        description="Copy what a Pulsar cluster holds between a start and an end point into Avro or JSON-lines files "
        "in a COS bucket or a folder. Running it again completes what is missing, and writes nothing twice.",
        epilog=_EPILOG,
        allow_abbrev=False,
        formatter_class=Help,
    )
    # From Python 3.14 on help has colours, which the spelling of names and the width of lines would have to know of.
    vars(parser)["color"] = False
    source = parser.add_argument_group("source")
    source.add_argument("--service_url", metavar="URL", help="broker address; required")
    source.add_argument("--admin_url", metavar="URL", help="admin REST address; without it fewer checks are made")
    source.add_argument("--topic", action="append", metavar="NAME", help="topic, or one partition; repeatable")
    source.add_argument("--topic_pattern", metavar="PATTERN", help="all topics that match: tenant/namespace/EXPRESSION")
    source.add_argument(
        "--discovery_interval",
        default="1m",
        metavar="TIME",
        help="how often a stream looks for what was added",
    )
    source.add_argument("--subscription", metavar="NAME", help="durable subscription that keeps data on the broker")
    source.add_argument(
        "--start",
        default="earliest",
        metavar="POINT",
        help="earliest, latest, subscription, a date-time with a zone, epoch milliseconds, or ledger:entry[:batch]",
    )
    source.add_argument(
        "--end", default="now", metavar="POINT", help="now, a date-time, epoch milliseconds, or ledger:entry[:batch]"
    )
    source.add_argument("--token", metavar="REF", help="role key by reference: env:NAME or file:PATH")
    source.add_argument("--tls_trust_certs", metavar="PATH", help="certificates that are trusted")
    source.add_argument("--tls_cert", metavar="PATH", help="our certificate, for mutual TLS")
    source.add_argument("--tls_key", metavar="PATH", help="its key")
    source.add_argument("--listener_name", metavar="NAME", help="the broker's advertised listener")
    source.add_argument("--read_compacted", action="store_true", help="the last message of each key only")
    source.add_argument(
        "--on_trimmed",
        choices=("fail", "continue"),
        default="fail",
        help="what to do where the broker has deleted what was to be read",
    )
    source.add_argument(
        "--acknowledge",
        choices=("after-upload", "never"),
        help="move the subscription once everything before is stored; after-upload with a subscription",
    )
    target = parser.add_argument_group("destination")
    target.add_argument("--destination", metavar="URL", help="cos://bucket-appid/prefix/ or file:///folder/; required")
    target.add_argument("--cos_region", metavar="ID", help="region of the bucket, such as ap-guangzhou")
    target.add_argument("--cos_endpoint", metavar="URL", help="another endpoint, such as http://127.0.0.1:9000")
    target.add_argument(
        "--cos_credentials",
        default="env",
        metavar="REF",
        help="env (COS_SECRET_ID, COS_SECRET_KEY, COS_TOKEN), file:PATH or cvm-role:NAME",
    )
    target.add_argument("--storage_class", metavar="NAME", help="STANDARD, STANDARD_IA, ARCHIVE, …")
    target.add_argument("--server_side_encryption", metavar="NAME", help="AES256, kms or kms:KEY-ID")
    target.add_argument("--acl", metavar="NAME", help="ACL of the objects, such as private")
    target.add_argument("--tag", action="append", metavar="KEY=VALUE", help="tag of the objects; repeatable")
    target.add_argument("--metadata", action="append", metavar="KEY=VALUE", help="user metadata; repeatable")
    target.add_argument(
        "--retry_deadline", default="10m", metavar="TIME", help="for how long COS or the broker may be away"
    )
    _add_file_options(parser.add_argument_group("files"))
    run = parser.add_argument_group("run")
    run.add_argument(
        "--runner", default="DirectRunner", metavar="NAME", help="DirectRunner: on this machine; or FlinkRunner"
    )
    run.add_argument("--streaming", action="store_true", help="without an end, until somebody stops it; on Flink")
    run.add_argument(
        "--local_workers",
        metavar="N",
        help="processes on this machine that the partitions are spread over; one for each core unless given",
    )
    run.add_argument(
        "--memory_budget",
        default="256MB",
        metavar="SIZE",
        help="memory beyond the interpreter: of all local workers together, or of a worker process on Flink",
    )
    run.add_argument("--summary_file", metavar="PATH", help="write the result as JSON")
    run.add_argument("--check", action="store_true", help="check everything, say what a run would do, and do nothing")
    add_log_options(run)
    return parser


def add_log_options(run: argparse._ArgumentGroup) -> None:
    """What is said on stderr, and how: of every job."""
    run.add_argument(
        "--log_level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO", help="what is logged on stderr"
    )
    run.add_argument(
        "--log_format",
        choices=FORMATS,
        default="text",
        help="json, for services: each line on stderr is a JSON object, and so is the result on stdout",
    )


def _add_file_options(files: argparse._ArgumentGroup) -> None:
    files.add_argument("--granularity", default="5m", metavar="TIME", help="window that is gathered: 90s, 5m, 1h")
    files.add_argument(
        "--window_by",
        choices=("publish_time", "event_time"),
        default="publish_time",
        help="which time decides the window; messages without an event time fall back to publish time",
    )
    files.add_argument(
        "--allowed_disorder", default="30s", metavar="TIME", help="by how much publish times may be out of order"
    )
    files.add_argument("--max_file_messages", default="5000", metavar="N", help="messages in a file")
    files.add_argument(
        "--max_file_bytes", default="500MB", metavar="SIZE", help="uncompressed records in a file; MB, MiB, …"
    )
    files.add_argument("--format", default="avro", metavar="NAME", help="avro or jsonl")
    files.add_argument(
        "--codec",
        metavar="NAME[:LEVEL]",
        help="avro: null, deflate, snappy, zstandard; jsonl: none, gzip, zstd; deflate and gzip unless given",
    )
    files.add_argument("--payload", default="bytes", metavar="NAME", help="bytes, json (jsonl only) or value")
    files.add_argument(
        "--path_template",
        default=DEFAULT_PATH,
        metavar="PATH",
        help="folder of a window, with strftime directives",
    )
    files.add_argument("--timezone", default="UTC", metavar="NAME", help="of the dates in the path")
    files.add_argument(
        "--manifest",
        choices=("on", "off"),
        default="on",
        help="write a manifest beside the files of each window, and a record of the run: what proves a backup complete",
    )
