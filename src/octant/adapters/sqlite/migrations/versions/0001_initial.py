"""Tenants, keys, settled requests with their ledger, budgets, audit, manifests and traces."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("budget_nano_usd", sa.BigInteger),
        sa.Column("created_unix_ns", sa.BigInteger, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.id"), nullable=False, index=True),
        sa.Column("prefix", sa.Text, nullable=False, unique=True),
        sa.Column("created_unix_ns", sa.BigInteger, nullable=False),
        sa.Column("expires_unix_ns", sa.BigInteger),
        sa.Column("revoked_unix_ns", sa.BigInteger),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "outcomes",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("request_id", sa.Text, nullable=False, unique=True),
        sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("failure_kind", sa.Text),
        sa.Column("received_unix_ns", sa.BigInteger, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Index("ix_outcomes_tenant_seq", "tenant", "seq"),
    )
    _create_accounting()
    _create_evidence()


def _create_accounting() -> None:
    op.create_table(
        "ledger",
        sa.Column("request_id", sa.Text, sa.ForeignKey("outcomes.request_id"), primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("month", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("completion_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_nano_usd", sa.BigInteger, nullable=False),
        sa.Index("ix_ledger_tenant_month", "tenant", "month"),
    )
    op.create_table(
        "budgets",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("month", sa.Text, primary_key=True),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("spent_nano_usd", sa.BigInteger, nullable=False),
    )


def _create_evidence() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("at_unix_ns", sa.BigInteger, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Index("ix_audit_tenant_seq", "tenant", "seq"),
    )
    op.create_table(
        "manifests",
        sa.Column("request_id", sa.Text, sa.ForeignKey("outcomes.request_id"), primary_key=True),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "traces",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column(
            "request_id",
            sa.Text,
            sa.ForeignKey("outcomes.request_id"),
            nullable=False,
            unique=True,
        ),
        sa.Column("events", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    for table in (
        "traces",
        "manifests",
        "audit",
        "budgets",
        "ledger",
        "outcomes",
        "api_keys",
        "tenants",
    ):
        op.drop_table(table)
