-- name: keep
-- Notifications of a whole batch of senders, but for players who do not exist; tells which have their player. One that
-- is there already was kept by an attempt whose answer got lost.
WITH known AS (
    SELECT t.id, t.user_id, t.subject, t.content, t.code, t.sender_id, t.sent_at
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::smallint[], $6::uuid[], $7::timestamptz[])
        AS t (id, user_id, subject, content, code, sender_id, sent_at)
    JOIN player_ids p ON p.id = t.user_id
), kept AS (
    INSERT INTO notifications (id, user_id, subject, content, code, sender_id, created_at)
    SELECT id, user_id, subject, content::jsonb, code, sender_id, sent_at FROM known ORDER BY user_id, id
    ON CONFLICT (id) DO NOTHING
)
SELECT id::text FROM known;

-- name: list
-- Players' notifications behind a position, for a whole batch of readers.
SELECT w.nr, found.*
FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::integer[])
    WITH ORDINALITY AS w (user_id, created_at, id, size, nr)
CROSS JOIN LATERAL (
    SELECT n.id::text AS notification_id, n.user_id::text, n.subject, n.content::text, n.code, n.sender_id::text,
        n.created_at
    FROM notifications n
    WHERE n.user_id = w.user_id AND (n.created_at, n.id) > (w.created_at, w.id)
    ORDER BY n.created_at, n.id
    LIMIT w.size
) AS found;

-- name: get
-- Notifications by id, perhaps only those of one player.
SELECT id::text, user_id::text, subject, content::text, code, sender_id::text, created_at
FROM notifications
WHERE id = ANY($1::uuid[]) AND ($2::uuid IS NULL OR user_id = $2)
ORDER BY created_at, notifications.id;

-- name: update
-- Changes what is not null; rows are locked in the order of their ids.
WITH changes AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[]) AS t (id, subject, content, sender_id)
), locked AS (
    SELECT id FROM notifications WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
)
UPDATE notifications n SET
    subject = coalesce(c.subject, n.subject),
    content = coalesce(c.content::jsonb, n.content),
    sender_id = coalesce(c.sender_id, n.sender_id)
FROM changes c JOIN locked l ON l.id = c.id
WHERE n.id = c.id;

-- name: delete
-- Notifications by player and id, a null player being anybody; rows are locked in the order of their ids.
WITH gone AS (
    SELECT n.id
    FROM unnest($1::uuid[], $2::uuid[]) AS t (user_id, id)
    JOIN notifications n ON n.id = t.id AND (t.user_id IS NULL OR n.user_id = t.user_id)
    ORDER BY n.id
    FOR UPDATE OF n
)
DELETE FROM notifications USING gone WHERE notifications.id = gone.id;

-- name: players_after
-- Players by id, behind one of them.
SELECT id::text FROM player_ids WHERE player_ids.id > $1 ORDER BY player_ids.id LIMIT $2;

-- name: forget
-- What a player whose account is being deleted was told, and what the platform told others about the player. What games
-- sent in the player's name stays, without the name. Locked in one order: two players who leave at once may share some.
WITH concerned AS (
    SELECT id, user_id = $1 OR code BETWEEN $2::smallint AND -1 AS goes
    FROM notifications WHERE user_id = $1 OR sender_id = $1
    ORDER BY notifications.id
    FOR UPDATE
), unsigned AS (
    UPDATE notifications n SET sender_id = $3 FROM concerned c WHERE n.id = c.id AND NOT c.goes
)
DELETE FROM notifications n USING concerned c WHERE n.id = c.id AND c.goes;

-- name: export_notifications
-- A player's inbox.
SELECT json_build_object('id', id, 'subject', subject, 'content', content, 'code', code, 'sender_id', sender_id,
    'created_at', created_at)::text
FROM notifications WHERE user_id = $1::uuid
ORDER BY created_at, notifications.id
LIMIT $2;
