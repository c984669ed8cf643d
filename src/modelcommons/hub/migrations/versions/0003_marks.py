"""0003: what transactions of PostgreSQL leave, so that they can be found when nobody has heard of their end."""

import sqlalchemy as sa
from alembic import op

from modelcommons.hub.migrations import refuse_downgrade

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "marks",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("written", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_marks")),
    )


def downgrade() -> None:
    refuse_downgrade()
