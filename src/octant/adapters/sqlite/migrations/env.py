"""What alembic runs: migrations on the connection that `octant.adapters.sqlite.database` hands in.

The caller owns the transaction, so a migration that fails leaves the file as it was.
"""

from alembic import context

from octant.adapters.sqlite.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
