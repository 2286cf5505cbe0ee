"""The first schema.

A migration stands on its own: it names plain types, and nothing of `reaper.store.tables`, which moves on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_INSTANT = sa.BigInteger()
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "manifests",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("config_created", _INSTANT),
        sa.Column("config_read", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_manifests"),
    )
    op.create_table(
        "repositories",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("registry", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("first_seen", _INSTANT, nullable=False),
        sa.Column("inventoried_since", _INSTANT),
        sa.Column("last_inventory", _INSTANT),
        sa.Column("tag_count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_repositories"),
    )
    op.create_index("ix_repositories_registry_name", "repositories", ["registry", "name"], unique=True)
    op.create_table(
        "tags",
        sa.Column("repository_id", _ROW_ID, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("first_seen", _INSTANT, nullable=False),
        sa.Column("last_seen", _INSTANT, nullable=False),
        sa.Column("pushed_event", _INSTANT),
        sa.Column("pulled", _INSTANT),
        sa.PrimaryKeyConstraint("repository_id", "name", name="pk_tags"),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repositories.id"], name="fk_tags_repository_id", ondelete="CASCADE"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "repository_manifests",
        sa.Column("repository_id", _ROW_ID, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("first_seen", _INSTANT, nullable=False),
        sa.Column("last_seen", _INSTANT, nullable=False),
        sa.Column("untagged_since", _INSTANT),
        sa.Column("pushed_event", _INSTANT),
        sa.Column("pulled", _INSTANT),
        sa.PrimaryKeyConstraint("repository_id", "digest", name="pk_repository_manifests"),
        sa.ForeignKeyConstraint(
            ["repository_id"],
            ["repositories.id"],
            name="fk_repository_manifests_repository_id",
            ondelete="CASCADE",
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "registry_facts",
        sa.Column("registry", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("registry", "key", name="pk_registry_facts"),
    )
    op.create_table(
        "journal",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("registry", sa.String(), nullable=False),
        sa.Column("repository", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("reclaimable_bytes", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
        sa.Column("deleted_at", _INSTANT),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_journal"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_journal_registry_state", "journal", ["registry", "state"])
    op.create_index("ix_journal_registry_repository", "journal", ["registry", "repository"])
    op.create_table(
        "runs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("registry", sa.String(), nullable=False),
        sa.Column("command", sa.String(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.String(), nullable=False),
        sa.Column("process_space", sa.String(), nullable=False),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("finished_at", _INSTANT),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("report", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index("ix_runs_registry_started_at", "runs", ["registry", "started_at"])
    op.create_table(
        "locks",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.String(), nullable=False),
        sa.Column("process_space", sa.String(), nullable=False),
        sa.Column("acquired_at", _INSTANT, nullable=False),
        sa.Column("renewed_at", _INSTANT, nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_locks"),
    )
