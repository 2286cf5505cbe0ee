"""Images that were seen in use, so that they stay protected for a while after that."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "images_in_use",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("image", sa.String(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "image", name="pk_images_in_use"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_images_in_use_seen_at", "images_in_use", ["seen_at"])
