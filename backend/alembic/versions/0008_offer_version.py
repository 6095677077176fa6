"""the offer has a version, which the database itself raises

Whatever changes what is offered, gives the one row of `offer` another version, in its transaction.
It does so last, when the transaction commits: nobody who has the row waits for anything else, so
nobody can wait for each other.

Revision: 0008, after 0007
Created: 2026-11-21 06:20:40.118254+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = (
    "services",
    "locations",
    "resources",
    "providers",
    "service_providers",
    "schedules",
    "schedule_overrides",
)


def upgrade() -> None:
    op.create_table(
        "offer",
        sa.Column(
            "version", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False
        ),
        sa.Column(
            "changed_by",
            sa.BigInteger(),
            server_default=sa.text("(pg_current_xact_id()::text)::bigint"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_offer")),
    )
    op.execute("INSERT INTO offer DEFAULT VALUES")
    op.execute(
        """
        CREATE FUNCTION fn_offer_changed() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE offer SET version = DEFAULT, changed_by = DEFAULT
            WHERE changed_by <> (pg_current_xact_id()::text)::bigint;
            RETURN NULL;
        END $$
        """
    )
    for table in TABLES:
        op.execute(
            f"CREATE CONSTRAINT TRIGGER tg_offer_changed AFTER INSERT OR UPDATE OR DELETE"
            f" ON {table} DEFERRABLE INITIALLY DEFERRED"
            f" FOR EACH ROW EXECUTE FUNCTION fn_offer_changed()"
        )


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TRIGGER tg_offer_changed ON {table}")
    op.execute("DROP FUNCTION fn_offer_changed")
    op.drop_table("offer")
