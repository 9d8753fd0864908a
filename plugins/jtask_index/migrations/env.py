"""What Alembic executes to migrate: on the connection that `jtask_index.migrating` holds."""

from alembic import context

from jtask_index.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="index_version",
    # SQLite cannot change a table in place.
    render_as_batch=True,
)
context.run_migrations()
