"""Finds what one run wrote into the journal without reading all of it."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    op.create_index("ix_journal_run_id_state", "journal", ["run_id", "state"])
