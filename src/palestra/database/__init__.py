"""PostgreSQL: the embedded server, the pool, batches, migrations, named queries and sealed fields."""
