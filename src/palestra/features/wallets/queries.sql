-- name: lock
-- The players among those given that exist, locked in the order of their ids until the end of the transaction. The
-- row that every wallet refers to is its lock: a wallet may have no rows of its own yet. Nothing else of it is read.
SELECT id::text FROM users WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE;

-- name: wallets
-- All assets of some players.
SELECT user_id::text AS user_id, asset, amount FROM wallets WHERE user_id = ANY($1::uuid[]);

-- name: earlier
-- The changes that were made under the same keys before, and whether they had the same content.
SELECT stored.user_id::text AS user_id,
    stored.changeset = wanted.changeset::jsonb AND stored.metadata = wanted.metadata::jsonb AS same,
    stored.result::text AS result
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS wanted (user_id, key, changeset, metadata)
JOIN wallet_changes AS stored USING (user_id, key);

-- name: record
-- One entry for each change. The time is that of writing, after the wait for the lock, so that it follows the order of
-- the changes of a wallet.
INSERT INTO wallet_changes (id, user_id, key, changeset, metadata, result, created_at)
SELECT item.id, item.user_id, item.key, item.changeset::jsonb, item.metadata::jsonb, item.result::jsonb, clock_timestamp()
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[])
    AS item (id, user_id, key, changeset, metadata, result);

-- name: set
-- The new amounts of the assets that changed, in wallets that the transaction has locked.
INSERT INTO wallets (user_id, asset, amount)
SELECT item.user_id, item.asset, item.amount
FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS item (user_id, asset, amount)
ON CONFLICT (user_id, asset) DO UPDATE SET amount = excluded.amount;

-- name: history
-- A player's entries after a position, newest first.
SELECT id::text AS id, user_id::text AS user_id, changeset::text AS changeset, metadata::text AS metadata, created_at
FROM wallet_changes
WHERE user_id = $1::uuid AND created_at <= $2 AND (created_at < $2 OR wallet_changes.id > $3::uuid)
ORDER BY wallet_changes.created_at DESC, wallet_changes.id
LIMIT $4;

-- name: forget
-- The history of a player whose account is being deleted; the wallet itself goes with the account's row.
DELETE FROM wallet_changes WHERE user_id = $1::uuid;
