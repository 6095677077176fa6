"""the whole booking domain

Revision: 0006, after 0005
Created: 2026-11-21 00:47:15.602103+00:00
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "resources",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("location_id", sa.Uuid(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["location_id"], ["locations.id"], name=op.f("fk_resources_location_id_locations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resources")),
    )
    op.create_index(op.f("ix_resources_kind"), "resources", ["kind"], unique=False)
    op.create_table(
        "session_seats",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("allocation_id", sa.Uuid(), nullable=False),
        sa.Column("seats", sa.Integer(), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("seats > 0", name=op.f("ck_session_seats_seats_positive")),
        sa.ForeignKeyConstraint(
            ["subject_id", "allocation_id"],
            ["allocations.subject_id", "allocations.id"],
            name=op.f("fk_session_seats_subject_id_allocation_id_allocations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("allocation_id", "id", name=op.f("pk_session_seats")),
    )
    op.create_index(op.f("ix_session_seats_id"), "session_seats", ["id"], unique=False)
    op.create_index(
        op.f("ix_session_seats_subject_id_allocation_id"),
        "session_seats",
        ["subject_id", "allocation_id"],
        unique=False,
    )
    op.create_table(
        "booking_series",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("service_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=True),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("rrule", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("wall_start", sa.TIMESTAMP(), nullable=False),
        sa.Column("duration_minutes", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"],
            ["users.id"],
            name=op.f("fk_booking_series_customer_id_users"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"], ["providers.id"], name=op.f("fk_booking_series_provider_id_providers")
        ),
        sa.ForeignKeyConstraint(
            ["service_id"], ["services.id"], name=op.f("fk_booking_series_service_id_services")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_booking_series")),
    )
    op.create_index(
        op.f("ix_booking_series_customer_id"), "booking_series", ["customer_id"], unique=False
    )
    op.create_table(
        "holds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("service_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("allocation_id", sa.Uuid(), nullable=False),
        sa.Column("location_id", sa.Uuid(), nullable=True),
        sa.Column("provider_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("resource_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("secret_digest", sa.LargeBinary(), nullable=False),
        sa.Column("starts_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ends_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("duration_minutes", sa.Integer(), nullable=False),
        sa.Column("seats", sa.Integer(), server_default="1", nullable=False),
        sa.Column("assigned", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("is_extended", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"],
            ["users.id"],
            name=op.f("fk_holds_customer_id_users"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["location_id"], ["locations.id"], name=op.f("fk_holds_location_id_locations")
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["providers.id"],
            name=op.f("fk_holds_provider_id_providers"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["service_id"],
            ["services.id"],
            name=op.f("fk_holds_service_id_services"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
    op.create_index(
        op.f("ix_holds_caller_expires_at"), "holds", ["caller", "expires_at"], unique=False
    )
    op.create_index(op.f("ix_holds_expires_at"), "holds", ["expires_at"], unique=False)
    op.create_table(
        "schedule_overrides",
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("intervals", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["providers.id"],
            name=op.f("fk_schedule_overrides_provider_id_providers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("provider_id", "day", name=op.f("pk_schedule_overrides")),
    )
    op.create_table(
        "time_off",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("during", postgresql.TSTZRANGE(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["providers.id"],
            name=op.f("fk_time_off_provider_id_providers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_time_off")),
    )
    op.create_index(
        op.f("ix_time_off_provider_id_during"),
        "time_off",
        ["provider_id", "during"],
        unique=False,
        postgresql_using="gist",
    )
    op.create_table(
        "waitlist_entries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("service_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=True),
        sa.Column("duration_minutes", sa.Integer(), nullable=True),
        sa.Column("seats", sa.Integer(), server_default="1", nullable=False),
        sa.Column("windows", postgresql.TSTZMULTIRANGE(), nullable=False),
        sa.Column("status", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("hold_id", sa.Uuid(), nullable=True),
        sa.Column("offered_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("offered_during", postgresql.TSTZRANGE(), nullable=True),
        sa.Column("booking_id", sa.Uuid(), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(status = 'offered') = (hold_id IS NOT NULL)"
            " AND num_nulls(hold_id, offered_until, offered_during) IN (0, 3)",
            name=op.f("ck_waitlist_entries_offer_complete"),
        ),
        sa.CheckConstraint(
            "status IN ('waiting', 'offered', 'accepted', 'expired', 'withdrawn')",
            name=op.f("ck_waitlist_entries_status_known"),
        ),
        sa.CheckConstraint("seats > 0", name=op.f("ck_waitlist_entries_seats_positive")),
        sa.ForeignKeyConstraint(
            ["customer_id"],
            ["users.id"],
            name=op.f("fk_waitlist_entries_customer_id_users"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["providers.id"],
            name=op.f("fk_waitlist_entries_provider_id_providers"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["service_id"],
            ["services.id"],
            name=op.f("fk_waitlist_entries_service_id_services"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waitlist_entries")),
    )
    op.create_index(
        op.f("ix_waitlist_entries_customer_id_id"),
        "waitlist_entries",
        ["customer_id", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_waitlist_entries_service_id_id"),
        "waitlist_entries",
        ["service_id", "id"],
        unique=False,
        postgresql_where="status IN ('waiting', 'offered')",
    )
    op.add_column("allocations", sa.Column("service_id", sa.Uuid(), nullable=True))
    op.add_column(
        "allocations", sa.Column("starts_at", postgresql.TIMESTAMP(timezone=True), nullable=True)
    )
    op.add_column(
        "allocations", sa.Column("ends_at", postgresql.TIMESTAMP(timezone=True), nullable=True)
    )
    op.create_index(op.f("ix_allocations_id"), "allocations", ["id"], unique=False)
    op.execute(
        "UPDATE allocations SET service_id = bookings.service_id,"
        " starts_at = bookings.starts_at, ends_at = bookings.ends_at FROM bookings"
        " WHERE bookings.provider_id = subject_id AND bookings.allocation_id = allocations.id"
    )
    op.add_column("bookings", sa.Column("series_id", sa.Uuid(), nullable=True))
    op.add_column("bookings", sa.Column("location_id", sa.Uuid(), nullable=True))
    op.add_column("bookings", sa.Column("provider_ids", postgresql.ARRAY(sa.Uuid()), nullable=True))
    op.execute("UPDATE bookings SET provider_ids = ARRAY[provider_id]")
    op.alter_column("bookings", "provider_ids", nullable=False)
    op.add_column(
        "bookings",
        sa.Column("resource_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
    )
    op.add_column("bookings", sa.Column("guest_name", sa.Text(), nullable=True))
    op.add_column("bookings", sa.Column("guest_email", sa.Text(), nullable=True))
    op.add_column("bookings", sa.Column("guest_phone", sa.Text(), nullable=True))
    op.add_column("bookings", sa.Column("guest_time_zone", sa.Text(), nullable=True))
    op.add_column("bookings", sa.Column("manage_digest", sa.LargeBinary(), nullable=True))
    op.add_column("bookings", sa.Column("manage_salt", sa.LargeBinary(), nullable=True))
    op.add_column(
        "bookings",
        sa.Column(
            "answers", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
    )
    op.add_column(
        "bookings",
        sa.Column(
            "assigned", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
    )
    op.add_column(
        "bookings", sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True)
    )
    op.add_column(
        "bookings", sa.Column("reschedules", sa.Integer(), server_default="0", nullable=False)
    )
    op.create_index(
        op.f("ix_bookings_guest_email"),
        "bookings",
        ["guest_email"],
        unique=False,
        postgresql_where="guest_email IS NOT NULL",
    )
    op.create_index(
        op.f("ix_bookings_series_id"),
        "bookings",
        ["series_id"],
        unique=False,
        postgresql_where="series_id IS NOT NULL",
    )
    op.create_index(
        op.f("ix_bookings_provider_ids"),
        "bookings",
        ["provider_ids"],
        unique=False,
        postgresql_using="gin",
        postgresql_where="cardinality(provider_ids) > 1",
    )
    op.create_index("uq_bookings_manage_digest", "bookings", ["manage_digest"], unique=True)
    op.drop_constraint(
        op.f("fk_bookings_provider_id_allocation_id_allocations"), "bookings", type_="foreignkey"
    )
    # Exclusive time has the id of its booking from now on.
    op.execute(
        "UPDATE allocations SET id = bookings.id FROM bookings"
        " WHERE bookings.provider_id = subject_id AND bookings.allocation_id = allocations.id"
    )
    op.execute("UPDATE bookings SET allocation_id = id WHERE allocation_id IS NOT NULL")
    op.create_foreign_key(
        op.f("fk_bookings_series_id_booking_series"),
        "bookings",
        "booking_series",
        ["series_id"],
        ["id"],
    )
    op.create_foreign_key(
        op.f("fk_bookings_location_id_locations"), "bookings", "locations", ["location_id"], ["id"]
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
    op.add_column(
        "service_providers",
        sa.Column(
            "since",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
    )
    op.add_column(
        "services",
        sa.Column("reschedule_until_minutes", sa.Integer(), server_default="0", nullable=False),
    )
    op.add_column("services", sa.Column("max_reschedules", sa.Integer(), nullable=True))
    op.add_column(
        "services", sa.Column("capacity", sa.Integer(), server_default="1", nullable=False)
    )
    op.add_column(
        "services", sa.Column("approval", sa.Text(), server_default="automatic", nullable=False)
    )
    op.add_column(
        "services", sa.Column("assignment", sa.Text(), server_default="any", nullable=False)
    )
    op.add_column(
        "services", sa.Column("allow_guests", sa.Boolean(), server_default="false", nullable=False)
    )
    op.add_column("services", sa.Column("limit_per_day", sa.Integer(), nullable=True))
    op.add_column("services", sa.Column("limit_per_week", sa.Integer(), nullable=True))
    op.add_column("services", sa.Column("limit_per_customer_per_day", sa.Integer(), nullable=True))
    op.add_column("services", sa.Column("limit_per_customer_active", sa.Integer(), nullable=True))
    op.add_column(
        "services",
        sa.Column(
            "questions",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="[]",
            nullable=False,
        ),
    )
    op.add_column(
        "services",
        sa.Column("location_ids", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
    )
    op.add_column(
        "services",
        sa.Column(
            "resource_requirements",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="[]",
            nullable=False,
        ),
    )
    op.create_check_constraint(
        op.f("ck_services_reschedule_until_not_negative"),
        "services",
        "reschedule_until_minutes >= 0",
    )
    op.create_check_constraint(
        op.f("ck_services_max_reschedules_not_negative"), "services", "max_reschedules >= 0"
    )
    op.create_check_constraint(op.f("ck_services_capacity_positive"), "services", "capacity > 0")
    op.create_check_constraint(
        op.f("ck_services_approval_known"), "services", "approval IN ('automatic', 'required')"
    )
    op.create_check_constraint(
        op.f("ck_services_assignment_known"),
        "services",
        "assignment IN ('any', 'round_robin', 'least_busy', 'collective')",
    )
    op.create_check_constraint(
        op.f("ck_services_limits_positive"),
        "services",
        "limit_per_day > 0 AND limit_per_week > 0 AND limit_per_customer_per_day > 0 AND limit_per_customer_active > 0",
    )
    op.create_check_constraint(
        op.f("ck_bookings_guest_or_customer"),
        "bookings",
        "(guest_name IS NULL) = (guest_email IS NULL) AND NOT (guest_email IS NOT NULL AND customer_id IS NOT NULL)",
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_bookings_guest_or_customer"), "bookings", type_="check")
    op.drop_column("services", "resource_requirements")
    op.drop_column("services", "location_ids")
    op.drop_column("services", "questions")
    op.drop_column("services", "limit_per_customer_active")
    op.drop_column("services", "limit_per_customer_per_day")
    op.drop_column("services", "limit_per_week")
    op.drop_column("services", "limit_per_day")
    op.drop_column("services", "allow_guests")
    op.drop_column("services", "assignment")
    op.drop_column("services", "approval")
    op.drop_column("services", "capacity")
    op.drop_column("services", "max_reschedules")
    op.drop_column("services", "reschedule_until_minutes")
    op.drop_column("service_providers", "since")
    op.drop_constraint(
        op.f("fk_bookings_provider_id_allocation_id_allocations"), "bookings", type_="foreignkey"
    )
    op.drop_constraint(op.f("fk_bookings_location_id_locations"), "bookings", type_="foreignkey")
    op.drop_constraint(op.f("fk_bookings_series_id_booking_series"), "bookings", type_="foreignkey")
    op.create_foreign_key(
        op.f("fk_bookings_provider_id_allocation_id_allocations"),
        "bookings",
        "allocations",
        ["provider_id", "allocation_id"],
        ["subject_id", "id"],
    )
    op.drop_index("uq_bookings_manage_digest", table_name="bookings")
    op.drop_index(
        op.f("ix_bookings_provider_ids"),
        table_name="bookings",
        postgresql_using="gin",
        postgresql_where="cardinality(provider_ids) > 1",
    )
    op.drop_index(
        op.f("ix_bookings_series_id"),
        table_name="bookings",
        postgresql_where="series_id IS NOT NULL",
    )
    op.drop_index(
        op.f("ix_bookings_guest_email"),
        table_name="bookings",
        postgresql_where="guest_email IS NOT NULL",
    )
    op.drop_column("bookings", "reschedules")
    op.drop_column("bookings", "expires_at")
    op.drop_column("bookings", "assigned")
    op.drop_column("bookings", "answers")
    op.drop_column("bookings", "manage_salt")
    op.drop_column("bookings", "manage_digest")
    op.drop_column("bookings", "guest_time_zone")
    op.drop_column("bookings", "guest_phone")
    op.drop_column("bookings", "guest_email")
    op.drop_column("bookings", "guest_name")
    op.drop_column("bookings", "resource_ids")
    op.drop_column("bookings", "provider_ids")
    op.drop_column("bookings", "location_id")
    op.drop_column("bookings", "series_id")
    op.drop_index(op.f("ix_allocations_id"), table_name="allocations")
    op.drop_column("allocations", "ends_at")
    op.drop_column("allocations", "starts_at")
    op.drop_column("allocations", "service_id")
    op.drop_index(
        op.f("ix_waitlist_entries_service_id_id"),
        table_name="waitlist_entries",
        postgresql_where="status IN ('waiting', 'offered')",
    )
    op.drop_index(op.f("ix_waitlist_entries_customer_id_id"), table_name="waitlist_entries")
    op.drop_table("waitlist_entries")
    op.drop_index(
        op.f("ix_time_off_provider_id_during"), table_name="time_off", postgresql_using="gist"
    )
    op.drop_table("time_off")
    op.drop_table("schedule_overrides")
    op.drop_index(op.f("ix_holds_expires_at"), table_name="holds")
    op.drop_index(op.f("ix_holds_caller_expires_at"), table_name="holds")
    op.drop_table("holds")
    op.drop_index(op.f("ix_booking_series_customer_id"), table_name="booking_series")
    op.drop_table("booking_series")
    op.drop_index(op.f("ix_session_seats_subject_id_allocation_id"), table_name="session_seats")
    op.drop_index(op.f("ix_session_seats_id"), table_name="session_seats")
    op.drop_table("session_seats")
    op.drop_index(op.f("ix_resources_kind"), table_name="resources")
    op.drop_table("resources")
