"""0002: the secrets of webhooks, sealed with the hub's own; they stood in the database as they were given."""

import sqlalchemy as sa
from alembic import context, op

from modelcommons.hub import sealing
from modelcommons.hub.migrations import refuse_downgrade

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    connection = op.get_bind()
    op.execute("ALTER TABLE webhooks RENAME COLUMN secret TO sealed")
    webhooks = sa.table("webhooks", sa.column("id"), sa.column("sealed"))
    rows = connection.execute(sa.select(webhooks).where(webhooks.c.sealed.is_not(None))).all()
    context.config.attributes["leaves_no_trace"] = bool(rows)
    for row in rows:
        sealed = sealing.seal(context.config.attributes["secret"], row.sealed, label=f"webhook {row.id}")
        connection.execute(sa.update(webhooks).where(webhooks.c.id == row.id).values(sealed=sealed))


def downgrade() -> None:
    refuse_downgrade()
