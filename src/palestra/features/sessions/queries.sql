-- name: revoke_token
-- Void one token for one use until it would have expired anyway.
INSERT INTO revoked_tokens (token_id, refresh, expires_at)
VALUES ($1, $2, $3)
ON CONFLICT (token_id, refresh) DO UPDATE SET expires_at = greatest(revoked_tokens.expires_at, excluded.expires_at);

-- name: revoke_user
-- Void all tokens a player got before a moment; a later moment replaces an earlier one.
INSERT INTO revoked_users (user_id, issued_before, expires_at)
VALUES ($1, $2, $3)
ON CONFLICT (user_id) DO UPDATE
SET issued_before = greatest(revoked_users.issued_before, excluded.issued_before),
    expires_at = greatest(revoked_users.expires_at, excluded.expires_at);

-- name: readmit_user
-- A player may log in again: from now on only older tokens are void.
UPDATE revoked_users SET issued_before = $2 WHERE user_id = $1;

-- name: revoked_tokens
-- plan: whole table, because a starting node takes all revocations that still matter into memory.
SELECT token_id::text, refresh, extract(epoch FROM expires_at)::float8 AS expires_at
FROM revoked_tokens WHERE expires_at > $1;

-- name: revoked_users
-- plan: whole table, because a starting node takes all revocations that still matter into memory.
SELECT user_id::text, extract(epoch FROM issued_before)::float8 AS issued_before,
       extract(epoch FROM expires_at)::float8 AS expires_at
FROM revoked_users WHERE expires_at > $1;

-- name: forget_tokens
-- Drop revocations of tokens that have expired since.
DELETE FROM revoked_tokens WHERE expires_at <= $1;

-- name: forget_users
-- Drop revocations of players whose old tokens have all expired since.
DELETE FROM revoked_users WHERE expires_at <= $1;

-- name: export_revocations
-- Since when a player's former log-ins are void.
SELECT json_build_object('issued_before', issued_before, 'expires_at', expires_at)::text
FROM revoked_users WHERE user_id = $1::uuid
LIMIT $2;
