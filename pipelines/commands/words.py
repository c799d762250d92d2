"""Commands whose words belong to a parser of their own: how such words are spelled, completed and handed on."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from typer.core import TyperCommand

#: How a command is registered whose words all belong to its parser.
ALL_WORDS: dict[str, Any] = {
    "add_help_option": False,
    "context_settings": {
        "ignore_unknown_options": True,
        "allow_extra_args": True,
        "allow_interspersed_args": False,
    },
    "options_metavar": "OPTIONS",
}


@dataclass(frozen=True)
class Offer:
    """What the shell may put in the place of a word, in the form in which Typer hands it on."""

    value: str
    help: str | None = None
    type: str = "plain"


def taken_by(make_parser: Callable[[], argparse.ArgumentParser]) -> type[TyperCommand]:
    """A command that leaves its words to a parser, and completes them by it."""

    class Command(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            rest = super().parse_args(ctx, args)
            # Nothing begins an option that completion may take apart: it would drop the name before an equals sign.
            ctx._opt_prefixes = set()
            return rest

        def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
            return offers(make_parser(), ctx.args, incomplete)

    return Command


def with_underscores(argument: str) -> str:
    """The job's spelling of an argument: ``--service-url=…`` becomes ``--service_url=…``. Values stay as they are."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}"


def with_hyphens(text: str) -> str:
    """The same text, with the names of options in it in this command's spelling."""
    return re.sub(r"(?<![\w-])--[a-z]+(?:_[a-z]+)+\b", lambda found: found[0].replace("_", "-"), text)


def offers(parser: argparse.ArgumentParser, before: Sequence[str], word: str) -> list[Offer]:
    """What may be put in the place of ``word``, behind the words ``before``: an option, or its value.

    Nothing where many values are right; shells offer files there.
    """
    options = {
        with_hyphens(name): action
        for action in parser._actions
        for name in action.option_strings
        if name.startswith("--")
    }
    # Bash makes a word of its own of an equals sign.
    words = [each for each in before if each != "="]
    name, equals, value = word.partition("=")
    asked, start = (name, name + equals) if name and equals else (words[-1] if words else "", "")
    option = options.get(with_hyphens(asked))
    if option is not None and option.nargs != 0:
        typed = value if equals else word
        return [Offer(start + choice) for choice in option.choices or () if choice.startswith(typed)]
    given = {with_hyphens(each.partition("=")[0]) for each in words}
    return [
        # Typer breaks the lines of longer texts, which shells would take for further offers.
        Offer(name, textwrap.shorten(option.help or "", 40, placeholder="…"))
        for name, option in options.items()
        if name.startswith(word) and (name not in given or isinstance(option, argparse._AppendAction))
    ]
