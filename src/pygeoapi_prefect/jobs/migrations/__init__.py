"""Schema revisions of the job store, applied with alembic inside a transaction of the caller's connection."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from pygeoapi_prefect.jobs.tables import REVISION


def alembic_config() -> Config:
    """alembic's configuration for the revisions that the package ships; no file of the user's is read."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def upgrade(connection: Connection) -> None:
    """Bring the database to :data:`~pygeoapi_prefect.jobs.tables.REVISION`. The caller holds the migration lock."""
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, REVISION)


def newest_revision() -> str | None:
    """The head of the shipped revisions."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()
