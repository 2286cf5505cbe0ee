"""Keeps what a registry product tells of pushes and pulls: a time that was known is not lost again."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("tags", sa.Column("product_pushed", sa.BigInteger()))
    op.add_column("repository_manifests", sa.Column("product_pushed", sa.BigInteger()))
    op.add_column("repository_manifests", sa.Column("product_pulled", sa.BigInteger()))
