"""A real database for each test: SQLite, and PostgreSQL too where REAPER_TEST_POSTGRESQL holds its URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from reaper.store import Store, open_store
from reaper.store.schema import VERSION_TABLE
from reaper.store.tables import metadata

POSTGRESQL = os.environ.get("REAPER_TEST_POSTGRESQL")


def empty_postgresql(url: str) -> None:
    """Drop all that reaper made in the database."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {VERSION_TABLE}")
    engine.dispose()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite database that does not exist yet."""
    return f"sqlite:///{tmp_path}/state/reaper.db"


@pytest.fixture(params=["sqlite", "postgresql"] if POSTGRESQL else ["sqlite"])
def url(request: pytest.FixtureRequest, sqlite_url: str) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return sqlite_url
    assert POSTGRESQL is not None
    empty_postgresql(POSTGRESQL)
    return POSTGRESQL


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An open store on an empty database."""
    with open_store(url) as opened:
        yield opened
