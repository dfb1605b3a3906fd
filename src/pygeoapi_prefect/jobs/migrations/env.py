"""Run by alembic; the connection comes from :func:`pygeoapi_prefect.jobs.migrations.upgrade`."""

from alembic import context

from pygeoapi_prefect.jobs.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
