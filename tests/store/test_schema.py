"""The migrations, the tables and the constant of the newest version say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from reaper.store import StoreError, open_store, schema
from reaper.store.schema import MIGRATIONS, VERSION_TABLE, VERSIONS
from reaper.store.tables import metadata
from tests.store.helpers import REGISTRY


def test_the_known_versions_are_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    assert tuple(step.revision for step in script.walk_revisions())[::-1] == VERSIONS
    assert script.get_current_head() == VERSIONS[-1]


def test_the_migrations_make_the_tables(url: str) -> None:
    with open_store(url) as store, store._database.writing() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_the_migrations_make_the_very_same_sqlite_tables(sqlite_url: str, tmp_path: Path) -> None:
    """Also what alembic does not compare, such as WITHOUT ROWID and the names of constraints."""
    query = text("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name <> :table")
    with open_store(sqlite_url) as store, store._database.reading() as connection:
        migrated = {row.name: row.sql for row in connection.execute(query, {"table": VERSION_TABLE})}
    engine = create_engine(f"sqlite:///{tmp_path}/plain.db")
    with engine.begin() as connection:
        metadata.create_all(connection)
        made = {row.name: row.sql for row in connection.execute(query, {"table": VERSION_TABLE})}
    engine.dispose()

    def parts(sql: str) -> list[str]:
        return sorted(part.strip() for part in re.split(r"[,\n]", sql) if part.strip())

    assert {name: parts(sql) for name, sql in migrated.items()} == {
        name: parts(sql) for name, sql in made.items()
    }


def test_a_newer_database_is_refused_and_left_alone(url: str) -> None:
    with open_store(url) as store, store._database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    for read_only in (False, True):
        with pytest.raises(StoreError, match="newer reaper"):
            open_store(url, read_only=read_only)


def test_an_older_database_is_not_migrated_by_a_reader(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(url).close()
    monkeypatch.setattr(schema, "VERSIONS", (*VERSIONS, "9999"))
    with pytest.raises(StoreError, match="not ready for this version"):
        open_store(url, read_only=True)


def test_a_migration_that_fails_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = op.create_index

    def fail(name: str, table: str, columns: list[str], *, unique: bool = False) -> None:
        if name == "ix_runs_registry_started_at":
            raise RuntimeError("power cut")
        real(name, table, columns, unique=unique)

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_index", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            open_store(url)
    with open_store(url) as store:
        store.observations.set_fact(REGISTRY, "a", "b")
        assert store.observations.fact(REGISTRY, "a") == "b"
