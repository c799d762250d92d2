"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create all tables."""
    moment = sa.String(32)
    op.create_table(
        "rule",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("next_turn", moment),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("retry_at", moment),
        sa.Column("trouble", sa.Text),
        sa.Column("trouble_code", sa.Integer, nullable=False, server_default="0"),
        sa.Column("trouble_since", moment),
        sa.Column("deleted", moment),
    )
    alive = sa.text("deleted IS NULL")
    op.create_index("rule_name", "rule", ["name"], unique=True, sqlite_where=alive, postgresql_where=alive)
    op.create_table(
        "revision",
        sa.Column("rule_id", sa.String(32), sa.ForeignKey("rule.id"), primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("changed", moment, nullable=False),
        sa.Column("changed_by", sa.String(255), nullable=False),
    )
    op.create_table(
        "position",
        sa.Column("rule_id", sa.String(32), sa.ForeignKey("rule.id"), primary_key=True),
        sa.Column("partition", sa.String(1024), primary_key=True),
        sa.Column("origin", sa.String(80), nullable=False),
        sa.Column("upto", sa.String(80), nullable=False),
        sa.Column("found", moment, nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("rule_id", sa.String(32), sa.ForeignKey("rule.id"), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("trigger", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("started", moment, nullable=False),
        sa.Column("holder", sa.String(255), nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("due", moment),
        sa.Column("turns", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("ended", moment),
        sa.Column("seen", moment),
        sa.Column("exit_code", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("log_file", sa.Text),
        sa.Column("messages", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("files", sa.BigInteger, nullable=False),
        sa.Column("already_stored", sa.BigInteger, nullable=False),
        sa.Column("gaps", sa.Integer, nullable=False),
        sa.Column("retries", sa.Integer, nullable=False),
        sa.Column("partitions", sa.JSON, nullable=False),
        sa.Column("warnings", sa.JSON, nullable=False),
        sa.Column("flink_job", sa.String(64)),
        sa.Column("savepoint", sa.Text),
    )
    op.create_index("run_of_rule", "run", ["rule_id", "started"])
    op.create_table(
        "lease",
        sa.Column("rule_id", sa.String(32), sa.ForeignKey("rule.id"), primary_key=True),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("expires", moment, nullable=False),
    )
