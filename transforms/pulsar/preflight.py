"""What can be known of the source before the first message is read, each failure in a sentence of its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from transforms.at_once import at_once
from transforms.errors import AccessError, BackupError
from transforms.pulsar.admin import PulsarAdmin
from transforms.pulsar.ends import check_reachable
from transforms.pulsar.request import Request, Resolution
from transforms.pulsar.resolve import examine

#: Messages should stay for so many windows at least: a window is stored when it is over, and runs have pauses.
_WINDOWS_KEPT = 4


def check_source(request: Request, granularity: int) -> tuple[Resolution, list[str]]:
    """Reach broker and admin REST, log in, and find topics, subscription, start and end. Creates nothing.

    Gives what was found, and warnings about what the broker deletes; ``granularity``, the length of a window in
    seconds, is for those. Raises what ``examine`` raises, and SourceError or AccessError where broker or admin REST
    cannot be reached or refuse the login.
    """
    asked = request.topics[0] if request.topics else f"persistent://{request.namespace}/any"
    checks = [partial(check_reachable, request.connection, asked)]
    if request.connection.admin_url is not None:
        checks.append(partial(PulsarAdmin(request.connection).check, asked))
    at_once(checks)
    resolution = examine(request)
    topics = list(dict.fromkeys(each.partition.topic for each in resolution.ranges))
    return resolution, _policy_warnings(request, topics, granularity)


def _policy_warnings(request: Request, topics: Sequence[str], granularity: int) -> list[str]:
    """What message TTL and retention of each topic may take away before it is stored."""
    if request.connection.admin_url is None:
        return []
    admin = PulsarAdmin(request.connection)
    warnings = []
    for topic in topics:
        try:
            ttl, (minutes, megabytes) = admin.message_ttl(topic), admin.retention(topic)
        except AccessError:
            warnings.append(
                f"{topic}: the role of --token may not read message TTL and retention, so whether they keep messages "
                "long enough was not looked at. Ask who runs the cluster."
            )
            continue
        except BackupError as error:
            warnings.append(
                f"{topic}: whether message TTL and retention keep messages long enough is not told. {error}"
            )
            continue
        if 0 < ttl < _WINDOWS_KEPT * granularity:
            warnings.append(
                f"{topic}: messages expire {ttl} s after they were published, whether a subscription holds them or not "
                f"(message TTL), and a window has {granularity} s. Set the TTL well above the time between two runs."
            )
        short = 0 <= minutes * 60 < _WINDOWS_KEPT * granularity
        if request.subscription is None and (short or megabytes == 0):
            kept = "not at all" if 0 in (minutes, megabytes) else f"for {minutes} min"
            warnings.append(
                f"{topic}: messages that no subscription holds are kept {kept} (retention), and a window has "
                f"{granularity} s. Give --subscription, or have the retention set well above the time between two runs."
            )
    return warnings
