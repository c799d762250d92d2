"""What becomes of that which a deleted rule leaves behind."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.rules.arguments import check_rule
from pipelines.rules.model import Rule
from transforms.errors import BackupError, SourceError


def stays(rule: Rule, *, unsubscribe: bool, purge: bool) -> list[str]:
    """What to know before a rule is deleted, a sentence each."""
    place = f"{rule.bucket}, below {rule.destination_path}" if rule.destination_path else f"{rule.bucket}"
    found = [f"What rule {rule.name} has stored stays in {place}."]
    if unsubscribe:
        found.append(
            f"Its subscription {rule.subscription} is deleted: the broker no longer keeps what is not stored yet."
        )
    else:
        found.append(
            f"Its subscription {rule.subscription} stays, and its backlog grows from now on: the broker keeps all that "
            "comes, until somebody deletes it. --unsubscribe does."
        )
    if purge:
        found.append("Its log is forgotten.")
    else:
        found.append(
            f"Its log stays: tdmq-backup log {rule.name} shows it, and rule delete {rule.name} --purge forgets it."
        )
    return found


def unsubscribe(rule: Rule) -> Iterator[str]:
    """Delete the rule's subscription of each partition that has it, and give their names. Imports the client.

    Raises BackupError with the partitions where that was not possible; the others are done all the same.
    """
    from pipelines.rules.checking import told_in_names_of_fields  # noqa: PLC0415
    from transforms.pulsar.ends import partitions_of  # noqa: PLC0415
    from transforms.pulsar.subscriptions import delete_subscription  # noqa: PLC0415

    config = check_rule(rule)
    name = str(rule.subscription)
    failed: list[BackupError] = []
    with told_in_names_of_fields():
        for topic in config.request.all_topics():
            for partition in partitions_of(config.connection, topic):
                try:
                    if delete_subscription(config.connection, partition, name):
                        yield partition.name
                except BackupError as error:
                    failed.append(error)
        if failed:
            raise SourceError(
                "\n".join(
                    [
                        *map(str, failed),
                        f"The rule is deleted, and there its subscription {name} is not: delete it with pulsar-admin "
                        f"topics unsubscribe -s {name} TOPIC, or in the console.",
                    ]
                )
            )
