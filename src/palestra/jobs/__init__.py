"""Durable jobs: enqueued inside the caller's transaction, run by a worker, tried again, fired by cron."""
