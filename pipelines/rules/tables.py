"""The tables of the store, as the newest migration leaves them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text, text
from sqlalchemy.types import TypeDecorator


class Moment(TypeDecorator[datetime]):
    """A moment as text in UTC: one form in all databases, whose order is that of time."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> str | None:
        """Write it."""
        return None if value is None else value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def process_result_value(self, value: Any, dialect: Any) -> datetime | None:
        """Read it."""
        return None if value is None else datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%f%z")


metadata = MetaData()

rules = Table(
    "rule",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("next_turn", Moment),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("retry_at", Moment),
    Column("trouble", Text),
    Column("trouble_code", Integer, nullable=False, server_default="0"),
    Column("trouble_since", Moment),
    Column("deleted", Moment),
    Index(
        "rule_name", "name", unique=True, sqlite_where=text("deleted IS NULL"), postgresql_where=text("deleted IS NULL")
    ),
)

revisions = Table(
    "revision",
    metadata,
    Column("rule_id", ForeignKey("rule.id"), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("document", JSON, nullable=False),
    Column("changed", Moment, nullable=False),
    Column("changed_by", String(255), nullable=False),
)

positions = Table(
    "position",
    metadata,
    Column("rule_id", ForeignKey("rule.id"), primary_key=True),
    Column("partition", String(1024), primary_key=True),
    Column("origin", String(80), nullable=False),
    Column("upto", String(80), nullable=False),
    Column("found", Moment, nullable=False),
    Column("run_id", String(64), nullable=False),
)

runs = Table(
    "run",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("rule_id", ForeignKey("rule.id"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("trigger", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("started", Moment, nullable=False),
    Column("holder", String(255), nullable=False),
    Column("command", Text, nullable=False),
    Column("due", Moment),
    Column("turns", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("ended", Moment),
    Column("seen", Moment),
    Column("exit_code", Integer),
    Column("error", Text),
    Column("log_file", Text),
    Column("messages", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("files", BigInteger, nullable=False),
    Column("already_stored", BigInteger, nullable=False),
    Column("gaps", Integer, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("partitions", JSON, nullable=False),
    Column("warnings", JSON, nullable=False),
    Column("flink_job", String(64)),
    Column("savepoint", Text),
    Index("run_of_rule", "rule_id", "started"),
)

leases = Table(
    "lease",
    metadata,
    Column("rule_id", ForeignKey("rule.id"), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("expires", Moment, nullable=False),
)
