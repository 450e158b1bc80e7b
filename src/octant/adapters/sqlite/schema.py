"""The tables, as the newest migration leaves them.

Law: `record` columns hold the whole value as JSON, fields of newer writers included, and are what a
read returns; the columns beside them exist to be searched, joined and summed. Amounts are integers.
Rows of `outcomes`, `ledger`, `manifests`, `audit`, `recipes` and `traffic` are only ever added;
`budgets` is always the sum of `ledger`; `audit` is one chain (`chain.py`); a session has as many
turns as its version says. A change here needs a migration, and a test compares the two.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

HEAD = "0002"

metadata = MetaData()

tenants = Table(
    "tenants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("budget_nano_usd", BigInteger),
    Column("created_unix_ns", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, ForeignKey("tenants.id"), nullable=False, index=True),
    Column("prefix", Text, nullable=False, unique=True),
    Column("created_unix_ns", BigInteger, nullable=False),
    Column("expires_unix_ns", BigInteger),
    Column("revoked_unix_ns", BigInteger),
    Column("record", Text, nullable=False),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("request_id", Text, nullable=False, unique=True),
    Column("tenant", Text, ForeignKey("tenants.id"), nullable=False),
    Column("key_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("failure_kind", Text),
    Column("received_unix_ns", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
    Column("summary", Text),
    Index("ix_outcomes_tenant_seq", "tenant", "seq"),
)

ledger = Table(
    "ledger",
    metadata,
    Column("request_id", Text, ForeignKey("outcomes.request_id"), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("month", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cost_nano_usd", BigInteger, nullable=False),
    Index("ix_ledger_tenant_month", "tenant", "month"),
)

budgets = Table(
    "budgets",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("month", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("spent_nano_usd", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("request_id", Text),
    Column("action", Text, nullable=False),
    Column("at_unix_ns", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Index("ix_audit_tenant_seq", "tenant", "seq"),
)

manifests = Table(
    "manifests",
    metadata,
    Column("request_id", Text, ForeignKey("outcomes.request_id"), primary_key=True),
    Column("record", Text, nullable=False),
    Column("session", Text),
    Index("ix_manifests_session", "session", sqlite_where=text("session IS NOT NULL")),
)

traces = Table(
    "traces",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("request_id", Text, ForeignKey("outcomes.request_id"), nullable=False, unique=True),
    Column("events", LargeBinary, nullable=False),
    Column("recording", LargeBinary),
)

sessions = Table(
    "sessions",
    metadata,
    Column("tenant", Text, ForeignKey("tenants.id"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("updated_unix_ns", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
    Index("ix_sessions_tenant_updated", "tenant", "updated_unix_ns"),
)

session_turns = Table(
    "session_turns",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("request_id", Text, ForeignKey("outcomes.request_id"), nullable=False),
    Column("record", Text, nullable=False),
    ForeignKeyConstraint(["tenant", "session"], ["sessions.tenant", "sessions.id"]),
)

session_placeholders = Table(
    "session_placeholders",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("placeholder", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("value", Text, nullable=False),
    ForeignKeyConstraint(["tenant", "session"], ["sessions.tenant", "sessions.id"]),
)

recipes = Table(
    "recipes",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("record", Text, nullable=False),
)

deployments = Table(
    "deployments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("recipe_digest", Text, ForeignKey("recipes.digest"), nullable=False),
    Column("created_unix_ns", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
)

traffic = Table(
    "traffic",
    metadata,
    Column("model", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("changed_unix_ns", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
)
