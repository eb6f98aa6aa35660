-- name: enqueue
-- Put a job into the queue, unless one of the same key waits or runs. Its trigger tells the workers at the commit.
INSERT INTO pgqueuer (priority, entrypoint, payload, execute_after, dedupe_key, status)
VALUES (0, $1, $2, now() + $3, $4, 'queued')
ON CONFLICT (dedupe_key) WHERE status IN ('queued', 'picked') AND dedupe_key IS NOT NULL DO NOTHING
RETURNING id;

-- name: declare_schedule
-- Make a schedule known with the moment it is first due; one that is known already keeps its own.
INSERT INTO pgqueuer_schedules (entrypoint, expression, next_run)
VALUES ($1, $2, $3)
ON CONFLICT (expression, entrypoint) DO NOTHING;

-- name: advance_schedule
-- Take a due moment of a schedule for this transaction: of all the workers that try, one is answered a row.
UPDATE pgqueuer_schedules SET next_run = $3, last_run = now(), updated = now()
WHERE entrypoint = $1 AND expression = $2 AND next_run <= $4
RETURNING id;

-- name: drop_old_log
-- Drop some thousands of the oldest lines of the log.
DELETE FROM pgqueuer_log WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM pgqueuer_log WHERE created < now() - $1::interval ORDER BY created LIMIT 5000));

-- name: drop_old_failures
-- Drop some thousands of the jobs that failed for good long ago.
DELETE FROM pgqueuer WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM pgqueuer WHERE status = 'failed' AND updated < now() - $1::interval ORDER BY updated LIMIT 5000));
