"""notifications: what is to be mailed to whom, and who wants what

They follow the log from where revision 0009 has put them.

Revision: 0011, after 0010
Created: 2026-11-21 07:31:40.402181+00:00
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("booking_id", sa.Uuid(), nullable=True),
        sa.Column("series_id", sa.Uuid(), nullable=True),
        sa.Column("starts_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("minutes_before", sa.Integer(), nullable=True),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("sent_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        sa.CheckConstraint(
            "state IN ('planned', 'queued', 'sent', 'dropped')",
            name=op.f("ck_notifications_state_known"),
        ),
        sa.CheckConstraint(
            "(state = 'sent') = (sent_at IS NOT NULL)", name=op.f("ck_notifications_sent_at_known")
        ),
        sa.CheckConstraint(
            "state <> 'planned' OR due_at IS NOT NULL",
            name=op.f("ck_notifications_planned_is_due"),
        ),
    )
    for column, where in (
        ("booking_id", "booking_id IS NOT NULL"),
        ("user_id", "user_id IS NOT NULL"),
        ("due_at", "state = 'planned'"),
        ("created_at", None),
    ):
        op.create_index(
            op.f(f"ix_notifications_{column}"),
            "notifications",
            [column],
            unique=False,
            postgresql_where=where and sa.text(where),
        )
    op.create_table(
        "notification_preferences",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        *(
            sa.Column(topic, sa.Boolean(), server_default="true", nullable=False)
            for topic in ("bookings", "appointments", "reminders")
        ),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        *(
            sa.Column(
                name,
                postgresql.TIMESTAMP(timezone=True),
                server_default=sa.text("now()"),
                nullable=False,
            )
            for name in ("created_at", "updated_at")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
            name=op.f("fk_notification_preferences_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_notification_preferences")),
    )
    op.create_table(
        "unreminded_addresses",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_unreminded_addresses")),
    )
    op.add_column(
        "services", sa.Column("reminder_minutes", postgresql.ARRAY(sa.Integer()), nullable=True)
    )
    op.create_check_constraint(
        op.f("ck_services_reminders_before_start"), "services", "0 < ALL (reminder_minutes)"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_services_reminders_before_start"), "services", type_="check")
    op.drop_column("services", "reminder_minutes")
    op.drop_table("unreminded_addresses")
    op.drop_table("notification_preferences")
    op.drop_table("notifications")
