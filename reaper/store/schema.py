"""The schema's version: which one a database has, and how it comes to be the newest."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select

from reaper.store.database import Database
from reaper.store.errors import StoreError
from reaper.store.tables import metadata

#: All versions in their order; the files in ``migrations/versions`` say the same. Known here so that a
#: database at the newest one opens without the import of alembic, which takes longer than all the rest.
VERSIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006")

MIGRATIONS: Final = Path(__file__).with_name("migrations")
VERSION_TABLE: Final = "reaper_version"

_version = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), primary_key=True))


def prepare(database: Database) -> None:
    """Bring the database to the newest version, or leave it exactly as it was.

    Raises:
        StoreError: the database is a newer reaper's, or somebody else's, or may not be changed.
    """
    with database.reading() as connection:
        version = _version_of(connection, database)
    if version == VERSIONS[-1]:
        return
    if database.read_only:
        raise StoreError(
            f"the database {database.name} is not ready for this version of reaper",
            hint="run reaper once with the right to write to it, such as reaper --dry-run",
        )
    with database.writing() as connection:
        database.exclude_other_migrations(connection)
        # Another process may have been faster.
        if _version_of(connection, database) != VERSIONS[-1]:
            _migrate(connection)


def _version_of(connection: Connection, database: Database) -> str | None:
    """Return the version of the schema, or None of an empty database."""
    present = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in present:
        # A SQLite file is one program's; a PostgreSQL database may be shared, as long as no name is taken.
        foreign = present if database.is_sqlite else present & metadata.tables.keys()
        if foreign:
            raise StoreError(
                f"the database {database.name} belongs to another program: it has a table {min(foreign)!r}",
                hint="name another file or database (store.url)",
            )
        return None
    version = connection.execute(select(_version.c.version_num)).scalar_one_or_none()
    if version is not None and version not in VERSIONS:
        raise StoreError(
            f"the database {database.name} was written by a newer reaper"
            f" (schema {version}; this reaper knows {VERSIONS[-1]})",
            hint="run the newer reaper, or use a backup from before the upgrade",
        )
    return version


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")
