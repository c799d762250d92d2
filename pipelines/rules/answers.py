"""Whether a value fits a field of a rule of which other fields are not known yet."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.rules.arguments import check_rule, field_of, in_names_of_fields
from pipelines.rules.choices import Choices, connection_of, is_one_of
from pipelines.rules.model import read_rule
from transforms.errors import AccessError, BackupError, ConfigurationError
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.ends import check_reachable


def problems(field: str, values: Mapping[str, Any], *also: str) -> list[str]:
    """Sentences about a field, and of what is ``also`` settled by it; none where it fits. Asks nobody.

    ``values`` are those known so far, the rule's name among them.
    """
    try:
        check_rule(read_rule(values))
    except ConfigurationError as error:
        return [each for each in error.problems if field_of(each) in (field, *also)]
    return []


def login_problems(values: Mapping[str, Any], *, final: bool) -> list[str]:
    """Sentences about how the cluster is reached and lets us in, in the names of fields; asks it.

    Unless it is ``final``, a key that is not given yet is none of them.
    """
    connection = connection_of(values)
    if connection.problems():
        return []  # each of them is one of its field
    try:
        check_reachable(connection, "persistent://public/default/any")
        if connection.admin_url is not None:
            PulsarAdmin(connection).check_login()
    except AccessError as error:
        return [in_names_of_fields(str(error))] if final else []
    except BackupError as error:
        return in_names_of_fields(str(error)).splitlines()
    return []


def unknown(field: str, given: tuple[str, ...], found: Choices) -> Iterator[str]:
    """Sentences about names that the cluster does not have."""
    for each in given if found.whole else ():
        if not is_one_of(each, found):
            near = difflib.get_close_matches(each, found.values, n=1)
            yield f"{field}={each}: the cluster has none of that name.{f' Did you mean {near[0]}?' if near else ''}"
