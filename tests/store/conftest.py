"""A real, empty database for each test: SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.postgresql import PostgresqlServer
from reaper.store import Store, open_store


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite database that does not exist yet."""
    return f"sqlite:///{tmp_path}/state/reaper.db"


@pytest.fixture
def postgresql_url(postgresql: PostgresqlServer) -> str:
    """An empty PostgreSQL database."""
    return postgresql.make_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An open store on an empty database."""
    with open_store(url) as opened:
        yield opened
