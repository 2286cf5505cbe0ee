"""Keeps for which platform an image is. Of images whose config was read before, it stays unknown."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("manifests", sa.Column("config_platform", sa.String()))
