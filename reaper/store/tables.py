"""The tables, and how their values are stored. A change here needs a migration and its number in `schema`."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware datetime, as microseconds since 1970 in UTC: sorts alike in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Return the microseconds; a naive datetime is a ValueError."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        # An image's config may say year 1 with an offset: in UTC that is before the first datetime.
        return (min(max(value, _EARLIEST), _LATEST) - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return the instant in UTC."""
        return None if value is None else _EPOCH + value * _MICROSECOND


class Json(TypeDecorator[Any]):
    """A JSON value as text in ASCII."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Return the value's text; None is NULL."""
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Return the text's value."""
        return None if value is None else json.loads(value)


class Compressed(TypeDecorator[bytes]):
    """Bytes, stored with zlib: manifests and reports are JSON, and shrink to a third or less."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        """Return the compressed bytes."""
        return None if value is None else zlib.compress(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        """Return the exact bytes that were stored."""
        return None if value is None else zlib.decompress(value)


class FreeText(TypeDecorator[str]):
    """Text from outside, such as a registry's error: what a database refuses in a text is escaped."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the text without NUL (PostgreSQL) and without lone surrogates (UTF-8)."""
        if value is None:
            return None
        return value.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


# SQLite numbers rows by itself only in a column that is an INTEGER to the letter.
_ROW_ID: Final = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

#: Content-addressed, of all registries: a manifest is fetched once in its life.
manifests = Table(
    "manifests",
    metadata,
    Column("digest", String, primary_key=True),
    Column("media_type", String, nullable=False),
    Column("content", Compressed, nullable=False),
    Column("config_created", Instant),
    Column("config_read", Boolean, nullable=False),
    Column("config_platform", String),
)

repositories = Table(
    "repositories",
    metadata,
    Column("id", _ROW_ID, primary_key=True),
    Column("registry", String, nullable=False),
    Column("name", String, nullable=False),
    Column("first_seen", Instant, nullable=False),
    Column("inventoried_since", Instant),
    Column("last_inventory", Instant),
    Column("tag_count", Integer, nullable=False),
    Column("policies", String),
    Index(None, "registry", "name", unique=True),
)


def _repository_id() -> Column[int]:
    return Column("repository_id", ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True)


# Without SQLite's hidden row number the rows stand in the primary key itself, which saves an index.
tags = Table(
    "tags",
    metadata,
    _repository_id(),
    Column("name", String, primary_key=True),
    Column("digest", String, nullable=False),
    Column("first_seen", Instant, nullable=False),
    Column("last_seen", Instant, nullable=False),
    Column("pushed_event", Instant),
    Column("pulled", Instant),
    Column("kept", Boolean),
    Column("product_pushed", Instant),
    sqlite_with_rowid=False,
)

repository_manifests = Table(
    "repository_manifests",
    metadata,
    _repository_id(),
    Column("digest", String, primary_key=True),
    Column("first_seen", Instant, nullable=False),
    Column("last_seen", Instant, nullable=False),
    Column("untagged_since", Instant),
    Column("pushed_event", Instant),
    Column("pulled", Instant),
    Column("product_pushed", Instant),
    Column("product_pulled", Instant),
    sqlite_with_rowid=False,
)

registry_facts = Table(
    "registry_facts",
    metadata,
    Column("registry", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", FreeText, nullable=False),
)

#: Of all registries: which of them an image belongs to is for the settings of the day to say.
images_in_use = Table(
    "images_in_use",
    metadata,
    Column("source", String, primary_key=True),
    Column("image", String, primary_key=True),
    Column("user", FreeText, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Index(None, "seen_at"),
    sqlite_with_rowid=False,
)

# The content is stored as it is, not compressed, so that it can be put back by hand should all else fail.
# AUTOINCREMENT: a pruned entry's number is never given again.
journal = Table(
    "journal",
    metadata,
    Column("id", _ROW_ID, primary_key=True),
    Column("registry", String, nullable=False),
    Column("repository", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("action", String, nullable=False),
    Column("media_type", String, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("tags", Json, nullable=False),
    Column("policy", FreeText, nullable=False),
    Column("rule", FreeText, nullable=False),
    Column("reason", FreeText, nullable=False),
    Column("run_id", String, nullable=False),
    Column("plan", Json, nullable=False),
    Column("reclaimable_bytes", BigInteger, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("deleted_at", Instant),
    Column("error", FreeText),
    Index(None, "registry", "state"),
    Index(None, "registry", "repository"),
    Index(None, "run_id", "state"),
    sqlite_autoincrement=True,
)

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("registry", String, nullable=False),
    Column("command", String, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", String, nullable=False),
    Column("process_space", String, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("outcome", String, nullable=False),
    Column("summary", Json, nullable=False),
    Column("report", LargeBinary),
    Index(None, "registry", "started_at"),
)

locks = Table(
    "locks",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", String, nullable=False),
    Column("process_space", String, nullable=False),
    Column("acquired_at", Instant, nullable=False),
    Column("renewed_at", Instant, nullable=False),
    Column("what", FreeText, nullable=False),
)
