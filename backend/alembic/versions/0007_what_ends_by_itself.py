"""requests end by themselves, and guests' bookings are found in accounts

A booking that waits for approval takes its time until a moment, as a hold does. Only once it is
agreed must what it has taken be there. A guest's booking may be an account's as well, whose address
it was made with; what no account has is forgotten after a while.

Revision: 0007, after 0006
Created: 2026-11-21 05:40:11.204417+00:00
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint(op.f("ck_allocations_only_holds_expire"), "allocations", type_="check")
    op.create_check_constraint(
        op.f("ck_allocations_holds_expire"),
        "allocations",
        "expires_at IS NOT NULL OR kind <> 'hold'",
    )
    op.create_check_constraint(
        op.f("ck_allocations_time_off_stays"),
        "allocations",
        "expires_at IS NULL OR kind IN ('booking', 'hold')",
    )
    op.execute(
        "UPDATE allocations a SET expires_at = b.expires_at FROM bookings b"
        " WHERE b.status = 'pending' AND a.id = b.id"
    )
    op.execute(
        "UPDATE session_seats c SET expires_at = b.expires_at FROM bookings b"
        " WHERE b.status = 'pending' AND c.id = b.id"
    )
    op.add_column(
        "bookings",
        sa.Column(
            "owned_allocation_id",
            sa.Uuid(),
            sa.Computed("CASE WHEN status <> 'pending' THEN allocation_id END", persisted=True),
            nullable=True,
        ),
    )
    op.drop_constraint(
        op.f("fk_bookings_provider_id_allocation_id_allocations"), "bookings", type_="foreignkey"
    )
    op.drop_index(op.f("ix_bookings_provider_id_allocation_id"), table_name="bookings")
    op.create_index(
        op.f("ix_bookings_provider_id_owned_allocation_id"),
        "bookings",
        ["provider_id", "owned_allocation_id"],
        unique=False,
    )
    op.create_foreign_key(
        op.f("fk_bookings_provider_id_owned_allocation_id_allocations"),
        "bookings",
        "allocations",
        ["provider_id", "owned_allocation_id"],
        ["subject_id", "id"],
        initially="DEFERRED",
        deferrable=True,
    )
    op.add_column(
        "bookings", sa.Column("joined_at", postgresql.TIMESTAMP(timezone=True), nullable=True)
    )
    op.drop_constraint(op.f("ck_bookings_guest_or_customer"), "bookings", type_="check")
    op.create_check_constraint(
        op.f("ck_bookings_guest_complete"),
        "bookings",
        "(guest_name IS NULL) = (guest_email IS NULL)",
    )
    op.create_index(
        op.f("ix_bookings_ends_at"),
        "bookings",
        ["ends_at"],
        unique=False,
        postgresql_where="guest_email IS NOT NULL AND customer_id IS NULL",
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_bookings_ends_at"), table_name="bookings")
    # Whose account it is outlasts what was said without one.
    op.execute(
        "UPDATE bookings SET guest_name = NULL, guest_email = NULL, guest_phone = NULL,"
        " guest_time_zone = NULL, manage_digest = NULL, manage_salt = NULL"
        " WHERE guest_email IS NOT NULL AND customer_id IS NOT NULL"
    )
    op.drop_constraint(op.f("ck_bookings_guest_complete"), "bookings", type_="check")
    op.create_check_constraint(
        op.f("ck_bookings_guest_or_customer"),
        "bookings",
        "(guest_name IS NULL) = (guest_email IS NULL)"
        " AND NOT (guest_email IS NOT NULL AND customer_id IS NOT NULL)",
    )
    op.drop_column("bookings", "joined_at")
    # What has ended, and may have given its time to others, has ended for good.
    op.execute(
        "UPDATE bookings b SET status = 'expired', allocation_id = NULL WHERE status = 'pending'"
        " AND NOT EXISTS (SELECT FROM allocations a"
        " WHERE a.subject_id = b.provider_id AND a.id = b.allocation_id)"
    )
    op.drop_constraint(
        op.f("fk_bookings_provider_id_owned_allocation_id_allocations"),
        "bookings",
        type_="foreignkey",
    )
    op.drop_column("bookings", "owned_allocation_id")
    op.create_index(
        op.f("ix_bookings_provider_id_allocation_id"),
        "bookings",
        ["provider_id", "allocation_id"],
        unique=False,
    )
    op.create_foreign_key(
        op.f("fk_bookings_provider_id_allocation_id_allocations"),
        "bookings",
        "allocations",
        ["provider_id", "allocation_id"],
        ["subject_id", "id"],
        initially="DEFERRED",
        deferrable=True,
    )
    op.execute("UPDATE allocations SET expires_at = NULL WHERE kind = 'booking'")
    op.execute("UPDATE session_seats c SET expires_at = NULL FROM bookings b WHERE b.id = c.id")
    op.drop_constraint(op.f("ck_allocations_time_off_stays"), "allocations", type_="check")
    op.drop_constraint(op.f("ck_allocations_holds_expire"), "allocations", type_="check")
    op.create_check_constraint(
        op.f("ck_allocations_only_holds_expire"),
        "allocations",
        "(kind = 'hold') = (expires_at IS NOT NULL)",
    )
