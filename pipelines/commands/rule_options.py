"""The options of ``rule create`` and ``rule edit``: one for each field of a rule, made of what the model says of it."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.parser import Help, Parser, job_parser
from pipelines.rules.model import Rule, fields_by_group
from transforms.errors import ConfigurationError

_CREATE_EPILOG = """\
examples:
  a topic into a bucket, every quarter of an hour:
    %(prog)s orders --schedule="every 15m" --address=pulsar://10.0.0.7:6650 --role-key=env:PULSAR_TOKEN \
--cluster=pulsar-abc123 --namespace=shop --topic=orders --subscription=backup --bucket=backup-1250000000 \
--region=ap-guangzhou --destination-path=pulsar/
  into a folder on this machine, by hand only:
    %(prog)s orders --address=pulsar://127.0.0.1:6650 --cluster=public --namespace=default --topic=orders \
--subscription=backup --bucket=file:///tmp/backup/
  what a file says, with another topic:
    %(prog)s payments --file=orders.yaml --topic=payments
  field by field, with what the cluster has to choose from:
    %(prog)s orders --interactive

Creating checks everything as a run would, writes and removes nothing in the bucket but an object that it makes for \
that, and shows a sample. No secret is ever kept: a key is given by reference, as env:NAME or file:PATH.

exit codes:
  0 created, 1 unexpected, 2 configuration, 3 authentication or permission, 4 source, 5 destination"""
_EDIT_EPILOG = """\
examples:
  other turns:
    %(prog)s orders --schedule="0 * * * *"
  one topic more: a field that may be repeated is given as a whole
    %(prog)s orders --topic=orders --topic=payments
  back to the default, here no codec of one's own:
    %(prog)s orders --unset=codec
  in an editor ($EDITOR), as YAML:
    %(prog)s orders --editor

A run that goes on keeps the rule as it was when it began; the next one has what is new. The name is never changed.

exit codes:
  0 edited or nothing to change, 1 unexpected, 2 configuration, and where somebody else has edited the rule meanwhile, \
3 authentication or permission, 4 source, 5 destination"""
_METAVARS = {
    "schedule": "TURNS",
    "retries": "N",
    "keep_log": "DAYS",
    "enabled": "yes|no",
    "topic": "NAME",
    "tags": "KEY=VALUE",
    "metadata": "KEY=VALUE",
    "runner_options": "--NAME=VALUE",
    "address": "URL",
    "admin_url": "URL",
    "cos_endpoint": "URL",
    "role_key": "REF",
    "cos_credentials": "REF",
}


@dataclass(frozen=True)
class Asked:
    """What a command line asks for."""

    name: str
    values: dict[str, Any]
    """Fields of the rule that are given as options."""
    options: argparse.Namespace = field(default_factory=argparse.Namespace)


def create_parser() -> Parser:
    """The parser of ``rule create``."""
    parser = _parser("create", "Make a new rule: a backup with a name, a schedule and a log.", _CREATE_EPILOG)
    command = _command_group(parser, "fields from a YAML or JSON file, or - for stdin; options win over it")
    command.add_argument("--interactive", action="store_true", help="ask field by field")
    return parser


def edit_parser() -> Parser:
    """The parser of ``rule edit``."""
    parser = _parser("edit", "Change fields of a rule; those that are not given stay as they are.", _EDIT_EPILOG)
    command = _command_group(
        parser, "the whole rule from a YAML or JSON file, or - for stdin; what it leaves out gets its default"
    )
    command.add_argument(
        "--unset", action="append", metavar="FIELD", choices=tuple(Rule.model_fields), help="back to its default"
    )
    command.add_argument("--editor", action="store_true", help="change it in $EDITOR, as YAML")
    command.add_argument("--revision", type=int, metavar="N", help="the revision you have seen; refused if it is older")
    command.add_argument(
        "--forget-positions", action="store_true", help="let the next run begin at the start point once more"
    )
    return parser


def read_words(parser: Parser, words: Sequence[str]) -> Asked:
    """Read a command line. Raises ConfigurationError with all that is not understood."""
    options, rest = parser.parse_known_args([_spelled(each) for each in words])
    unknown = [_unknown(parser, each) for each in rest]
    if options.name is None:
        unknown.insert(0, "The name of the rule is missing: it stands before the options.")
    if unknown:
        raise ConfigurationError(*unknown)
    values = {name: value for name, value in vars(options).items() if name in Rule.model_fields and name != "name"}
    return Asked(options.name, values, options)


def _parser(verb: str, description: str, epilog: str) -> Parser:
    parser = Parser(
        prog=f"tdmq-backup rule {verb}",
        usage="%(prog)s NAME [OPTION ...]",
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=Help,
    )
    # From Python 3.14 on help has colours, which the width of lines would have to know of.
    vars(parser)["color"] = False
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the rule; letters, digits, - and _")
    choices = _choices()
    for title, names in fields_by_group().items():
        group = parser.add_argument_group(title)
        for name in names:
            if name != "name":
                _add_field(group, name, choices.get(name))
    return parser


def _add_field(group: Any, name: str, choices: tuple[str, ...] | None) -> None:
    about = Rule.model_fields[name]
    default = about.get_default(call_default_factory=True)
    shown = {True: "yes", False: "no"}.get(default, default) if isinstance(default, bool) else default
    said = f"{about.description}".replace("%", "%%")
    repeated = isinstance(default, tuple | dict)
    group.add_argument(
        f"--{name.replace('_', '-')}",
        action="append" if repeated else "store",
        default=argparse.SUPPRESS,
        metavar=_METAVARS.get(name, name.rpartition("_")[2].upper()),
        choices=choices,
        help=said if shown in (None, "", (), {}) else f"{said} (default: {str(shown).replace('%', '%%')})",
    )


def _choices() -> dict[str, tuple[str, ...]]:
    """What completion offers; other values pass, and are judged with the rest of the rule."""
    own = {
        "enabled": ("yes", "no"),
        "format": ("avro", "jsonl"),
        "payload": ("bytes", "json", "value"),
        "runner": ("DirectRunner", "FlinkRunner"),
        "codec": ("null", "deflate", "snappy", "zstandard", "none", "gzip", "zstd"),
    }
    of_job = {action.dest: tuple(action.choices) for action in job_parser()._actions if action.choices}
    return {**of_job, **own}


def _command_group(parser: Parser, file_help: str) -> Any:
    group = parser.add_argument_group("command")
    group.add_argument("--file", metavar="PATH", help=file_help)
    group.add_argument(
        "--no-check", action="store_true", help="do not ask the cluster and the bucket, which may be out of reach here"
    )
    group.add_argument("--json", action="store_true", help="the result as JSON")
    group.add_argument(
        "--store",
        metavar="URL",
        help="the store of rules: sqlite:////PATH or postgresql://USER@HOST/DATABASE; TDMQ_BACKUP_STORE, or a file of "
        "this user's, unless given",
    )
    return group


def _spelled(word: str) -> str:
    """Names of options with hyphens, however they are written."""
    name, equals, value = word.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}" if word.startswith("--") else word


def _unknown(parser: Parser, word: str) -> str:
    # Not quoted, where it is no option: it may be a secret.
    if not word.startswith("-"):
        return "A word of the command line belongs to no option. Quote values that hold blanks."
    name = word.partition("=")[0]
    if name == "--name":
        return "name: is never changed. Create another rule, from rule export of this one."
    known = [each for action in parser._actions for each in action.option_strings]
    near = difflib.get_close_matches(name, known, n=1)
    return f"{name}: no such option. {f'Did you mean {near[0]}?' if near else '--help lists the options.'}"
