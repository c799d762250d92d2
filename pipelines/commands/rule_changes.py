"""``tdmq-backup rule edit``, ``enable`` and ``disable``."""

# Only what runs imports what takes long to load, so that help and completion come at once.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pipelines.commands.runs import RuleName, StoreUrl, opened
from pipelines.commands.shown import told

if TYPE_CHECKING:
    from pipelines.commands.rule_options import Asked
    from pipelines.rules.model import Rule
    from pipelines.rules.records import RunRecord, StoredRule


def edit(context: typer.Context) -> None:
    """Change fields of a rule; --help lists them."""
    from pipelines.commands.rule_checks import checked, helped
    from pipelines.commands.rule_options import edit_parser, read_words

    if helped(context, edit_parser):
        return
    from pipelines import logs, signals

    signals.listen()
    logs.set_up("WARNING", "text", client=False)
    with told():
        from pipelines.rules.editing import Edit, edited
        from pipelines.rules.errors import changed_meanwhile

        asked = read_words(edit_parser(), context.args)
        options = asked.options
        store = opened(options.store)
        before = store.get(asked.name)
        seen = before.revision if options.revision is None else options.revision
        if seen != before.revision:
            raise changed_meanwhile(before, seen)
        text = _whole(asked, before)
        after = edited(before.rule, asked.values, unset=options.unset or (), whole=text)
        found = Edit(before, after, options.forget_positions)
        if not found.changes:
            print("Nothing to change.")
            return
        positions = store.positions(before.id)
        facts: dict[str, Any] = {"has_positions": bool(positions), "running": asked.name in store.running()}
        if not options.json:
            for line in [*found.lines(), *found.effects(**facts)]:
                print(line)
        plan = checked(
            after,
            check=not options.no_check,
            as_json=options.json,
            positions={} if options.forget_positions else positions,
        )
        kept = store.edit(after, seen, forget_positions=options.forget_positions)
        if options.json:
            print(json.dumps({**found.as_json(**facts), "revision": kept.revision, **plan}, indent=2))
        else:
            print(f"Rule {asked.name} is changed; it has revision {kept.revision} now.")


def enable(name: RuleName, store: StoreUrl = None) -> None:
    """Let the schedule run a rule."""
    _switch(name, store, on=True)


def disable(name: RuleName, store: StoreUrl = None) -> None:
    """Let the schedule run a rule no more; by hand it may be run.

    A run that has begun goes on. The job of a rule without an end is stopped, with a savepoint, by the service.
    """
    _switch(name, store, on=False)


def _switch(name: str, url: str | None, *, on: bool) -> None:
    from pipelines.commands.rule_checks import when

    with told():
        store = opened(url)
        found = store.get(name)
        word = "enabled" if on else "disabled"
        if found.rule.enabled is on:
            print(f"Rule {name} is {word} already.")
            return
        kept = store.edit(found.rule.model_copy(update={"enabled": on}), found.revision)
        running = store.running().get(name)
        rest = when(kept) if on else "" if running is None else _what_becomes_of(running, found.rule)
        print(f"Rule {name} is {word}. {rest}".rstrip())


def _what_becomes_of(running: RunRecord, rule: Rule) -> str:
    """What a rule's being disabled is to its run, in a sentence; see ``streams.keep``."""
    from pipelines.rules.records import Trigger

    if rule.continuous and running.trigger is not Trigger.MANUAL:
        return "The service that watches its job stops it with a savepoint."
    return f"Its run {running.id} goes on."


def _whole(asked: Asked, before: StoredRule) -> dict[str, Any] | None:
    """All fields, from a file or from an editor; None where only some are given."""
    from pipelines.rules.documents import read_document, read_file
    from pipelines.rules.editing import edited
    from transforms.errors import ConfigurationError

    if asked.options.file:
        return read_file(asked.options.file)
    if not asked.options.editor:
        return None
    path = _edited_file(before)
    try:
        found = read_document(path.read_text(encoding="utf-8"), "the text")
        edited(before.rule, asked.values, unset=asked.options.unset or (), whole=found)
    except (ConfigurationError, UnicodeDecodeError) as error:
        said = error.problems if isinstance(error, ConfigurationError) else ["the text: is not UTF-8."]
        raise ConfigurationError(
            *said, f"What you wrote is kept: mend it, and rule edit {asked.name} --file={path} takes it."
        ) from None
    path.unlink()
    return found


def _edited_file(before: StoredRule) -> Path:
    """A file with the rule, as the editor has left it."""
    from pipelines.rules.documents import written
    from transforms.errors import ConfigurationError

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise ConfigurationError("--editor: no editor is known. Set EDITOR, or give fields as options.")
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix=f"{before.rule.name}-", suffix=".yaml", delete=False
    ) as file:
        file.write(f"# Revision {before.revision}. Fields that are left out get their defaults.\n")
        file.write(written(before.rule))
    try:
        words = [*shlex.split(editor), file.name]
        code = subprocess.run(words, check=False).returncode  # noqa: S603 - the person's own editor
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--editor: {editor} cannot be started ({error}).") from None
    if code:
        raise ConfigurationError(f"--editor: {editor} ended with {code}. Nothing is changed.")
    return Path(file.name)
