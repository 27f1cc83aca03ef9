"""Entry point of Alembic: runs the migrations on the connection of `migrate`, in its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
