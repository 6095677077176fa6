"""who follows the log keeps a cursor

Those that this release brings begin here, with the log as it is now: what happens from now on is
announced, also before the first of them runs.

Revision: 0009, after 0008
Created: 2026-11-21 07:24:12.530114+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "followers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("transaction_id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_followers")),
    )
    op.execute(
        "INSERT INTO followers SELECT name,"
        " (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint - 1,"
        " 'ffffffff-ffff-ffff-ffff-ffffffffffff'"
        " FROM unnest(ARRAY['notifications', 'webhooks']) AS name"
    )


def downgrade() -> None:
    op.drop_table("followers")
