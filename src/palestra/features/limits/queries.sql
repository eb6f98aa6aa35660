-- name: record
-- What somebody asked for, and what it led to.
INSERT INTO limit_changes (id, user_id, author, content, created_at) VALUES ($1, $2, $3, $4::text::jsonb, $5);

-- name: history
-- A player's changes behind a position, newest first.
SELECT id::text AS id, author, content::text AS content, created_at
FROM limit_changes
WHERE user_id = $1::uuid AND created_at <= $2 AND (created_at < $2 OR limit_changes.id > $3::uuid)
ORDER BY limit_changes.created_at DESC, limit_changes.id
LIMIT $4;

-- name: export_limit_changes
-- All changes of a player's limits, newest first.
SELECT json_build_object('id', id, 'author', author, 'content', content, 'created_at', created_at)::text
FROM limit_changes WHERE user_id = $1::uuid
ORDER BY limit_changes.created_at DESC, limit_changes.id
LIMIT $2;
