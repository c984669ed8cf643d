"""env: how alembic is to run; it is given a connection whose transaction is somebody else's."""

from alembic import context

from modelcommons.hub.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by making it anew
    compare_server_default=True,
)
context.run_migrations()
