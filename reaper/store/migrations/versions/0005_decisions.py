"""Keeps what the last run decided on each tag: to notice when changed policies expire much of it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("repositories", sa.Column("policies", sa.String()))
    op.add_column("tags", sa.Column("kept", sa.Boolean()))
