"""Which migrations this release brings."""

from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

BACKEND = Path(__file__).resolve().parents[2]


def alembic_config() -> Config:
    config = Config(BACKEND / "alembic.ini")
    config.set_main_option("script_location", str(BACKEND / "alembic").replace("%", "%%"))
    return config


@cache  # all of them are read for it
def migration_head() -> str:
    """The revision that the database must be at."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if head is None:
        raise RuntimeError("There are no migrations in backend/alembic/versions.")
    return head
