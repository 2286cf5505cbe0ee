"""Run by alembic: migrates on the connection, and in the transaction, of `reaper.store.schema`."""

from alembic import context

from reaper.store.schema import VERSION_TABLE
from reaper.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
