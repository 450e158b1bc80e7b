"""The audit chain, summaries, recordings, sessions, recipes, deployments and traffic."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from octant.core.audit import ChainHead, next_head

revision = "0002"
down_revision = "0001"

_PAGE = 1_000
_KEPT = ("tenant", "request_id", "action", "at_unix_ns", "record")


def upgrade() -> None:
    op.add_column("outcomes", sa.Column("summary", sa.Text))
    op.add_column("traces", sa.Column("recording", sa.LargeBinary))
    op.add_column("manifests", sa.Column("session", sa.Text))
    op.create_index(
        "ix_manifests_session",
        "manifests",
        ["session"],
        sqlite_where=sa.text("session IS NOT NULL"),
    )
    _chain_audit()
    _create_sessions()
    _create_releases()


def downgrade() -> None:
    for table in (
        "traffic",
        "deployments",
        "recipes",
        "session_placeholders",
        "session_turns",
        "sessions",
    ):
        op.drop_table(table)
    op.drop_column("audit", "digest")
    op.drop_column("audit", "previous")
    op.drop_index("ix_manifests_session", "manifests")
    op.drop_column("manifests", "session")
    op.drop_column("traces", "recording")
    op.drop_column("outcomes", "summary")


def _chain_audit() -> None:
    """Copies the records in their order into a table with a chain; places are counted anew."""
    op.drop_index("ix_audit_tenant_seq", "audit")
    op.rename_table("audit", "audit_0001")
    chained = op.create_table(
        "audit",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("at_unix_ns", sa.BigInteger, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Index("ix_audit_tenant_seq", "tenant", "seq"),
    )
    head, after = ChainHead(), None
    while rows := _records(after):
        links: list[dict[str, Any]] = []
        for row in rows:
            previous, head = head, next_head(head, row["record"].encode())
            kept = {name: row[name] for name in _KEPT}
            place = {"seq": head.seq, "previous": previous.digest, "digest": head.digest}
            links.append(kept | place)
        op.get_bind().execute(sa.insert(chained), links)
        after = rows[-1]["seq"]
    op.drop_table("audit_0001")


def _records(after: int | None) -> list[sa.RowMapping]:
    """The next page behind place `after`, or the first one."""
    unchained = sa.table("audit_0001", sa.column("seq"), *map(sa.column, _KEPT))
    query = sa.select(unchained).order_by(unchained.c.seq).limit(_PAGE)
    if after is not None:
        query = query.where(unchained.c.seq > after)
    return list(op.get_bind().execute(query).mappings())


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.id"), primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("updated_unix_ns", sa.BigInteger, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Index("ix_sessions_tenant_updated", "tenant", "updated_unix_ns"),
    )
    op.create_table(
        "session_turns",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("session", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("request_id", sa.Text, sa.ForeignKey("outcomes.request_id"), nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["tenant", "session"], ["sessions.tenant", "sessions.id"]),
    )
    op.create_table(
        "session_placeholders",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("session", sa.Text, primary_key=True),
        sa.Column("placeholder", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["tenant", "session"], ["sessions.tenant", "sessions.id"]),
    )


def _create_releases() -> None:
    op.create_table(
        "recipes",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "deployments",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("recipe_digest", sa.Text, sa.ForeignKey("recipes.digest"), nullable=False),
        sa.Column("created_unix_ns", sa.BigInteger, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "traffic",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("changed_unix_ns", sa.BigInteger, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
