-- name: open
-- A first seed for players and rounds that have none; whoever has one keeps it. In the order of owners, so that two
-- nodes never wait for each other in a circle.
INSERT INTO fair_seeds (owner, user_id, number, commitment, sealed, next_commitment, next_sealed, client_seed)
SELECT new.owner, new.user_id, 1, new.commitment, new.sealed, new.next_commitment, new.next_sealed, new.client_seed
FROM unnest($1::text[], $2::uuid[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[], $7::text[])
    AS new (owner, user_id, commitment, sealed, next_commitment, next_sealed, client_seed)
ORDER BY new.owner
ON CONFLICT DO NOTHING;

-- name: take
-- Uses as many nonces of each owner as are wanted; `first` is the first of them. The first draw of a round fixes its
-- client seed. Answers no row for owners without a seed in use and for rounds with another client seed. Rows are locked
-- in the order of owners; one that was rotated meanwhile gives nonces of its new seed.
WITH locked AS (
    SELECT seeds.owner, wanted.draws, wanted.client_seed
    FROM unnest($1::text[], $2::bigint[], $3::text[]) AS wanted (owner, draws, client_seed)
    JOIN fair_seeds AS seeds USING (owner)
    WHERE seeds.sealed IS NOT NULL
        AND (wanted.client_seed IS NULL OR seeds.client_seed IS NULL OR seeds.client_seed = wanted.client_seed)
    ORDER BY seeds.owner
    FOR NO KEY UPDATE OF seeds
)
UPDATE fair_seeds AS seeds
SET nonce = seeds.nonce + locked.draws, client_seed = coalesce(seeds.client_seed, locked.client_seed)
FROM locked
WHERE seeds.owner = locked.owner
RETURNING seeds.owner, seeds.number, seeds.commitment, seeds.sealed, seeds.client_seed, seeds.nonce - locked.draws AS first;

-- name: lock_all
-- Rows of owners, locked in their order until the end of the transaction: what the next statement sees of their draws
-- is all there is.
SELECT owner FROM fair_seeds WHERE owner = ANY($1::text[]) ORDER BY owner FOR NO KEY UPDATE;

-- name: take_keyed
-- Draws by key, of owners whose rows are locked: keys that are new use the next nonces, in the order given, the others
-- have theirs. Of a seed that was revealed meanwhile it answers `server_seed`, of the one in use `sealed`. No row for
-- owners without a seed.
WITH wanted AS (
    SELECT given.owner, given.key, given.place
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS given (owner, key, place)
), fresh AS (
    SELECT wanted.owner, wanted.key, seeds.number,
        seeds.nonce + row_number() OVER (PARTITION BY wanted.owner ORDER BY wanted.place) - 1 AS nonce
    FROM wanted JOIN fair_seeds AS seeds USING (owner)
    WHERE NOT EXISTS (SELECT FROM fair_keyed_draws AS made WHERE made.owner = wanted.owner AND made.key = wanted.key)
), used AS (
    UPDATE fair_seeds AS seeds SET nonce = seeds.nonce + counted.draws
    FROM (SELECT owner, count(*) AS draws FROM fresh GROUP BY owner) AS counted
    WHERE seeds.owner = counted.owner
), kept AS (
    INSERT INTO fair_keyed_draws (owner, key, number, nonce) SELECT owner, key, number, nonce FROM fresh
)
SELECT drawn.owner, drawn.key, drawn.number, drawn.nonce, coalesce(past.commitment, seeds.commitment) AS commitment,
    coalesce(past.client_seed, seeds.client_seed) AS client_seed, past.server_seed, seeds.sealed
FROM (
    SELECT owner, key, number, nonce FROM fresh
    UNION ALL
    SELECT made.owner, made.key, made.number, made.nonce FROM wanted JOIN fair_keyed_draws AS made USING (owner, key)
) AS drawn
JOIN fair_seeds AS seeds ON seeds.owner = drawn.owner
LEFT JOIN fair_past_seeds AS past ON past.owner = drawn.owner AND past.number = drawn.number;

-- name: read
-- The seed in use of an owner.
SELECT number, commitment, sealed, next_commitment, next_sealed, client_seed, nonce FROM fair_seeds WHERE owner = $1;

-- name: lock
-- The same, locked until the end of the transaction: no draw happens meanwhile.
SELECT number, commitment, sealed, next_commitment, next_sealed, client_seed, nonce FROM fair_seeds WHERE owner = $1
FOR NO KEY UPDATE;

-- name: record
-- A seed that is being revealed.
INSERT INTO fair_past_seeds (owner, number, commitment, server_seed, client_seed, draws, revealed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: go_on
-- The next server seed of a player comes into use, and there is a new next one.
UPDATE fair_seeds
SET number = number + 1, commitment = next_commitment, sealed = next_sealed, next_commitment = $2, next_sealed = $3,
    client_seed = $4, nonce = 0
WHERE owner = $1
RETURNING number, commitment, sealed, next_commitment, next_sealed, client_seed, nonce;

-- name: end
-- A round's seed is out of use: what it was stands among the past ones.
UPDATE fair_seeds SET sealed = NULL WHERE owner = $1;

-- name: past
-- Revealed seeds of an owner before a number, newest first.
SELECT number, commitment, server_seed, client_seed, draws, revealed_at FROM fair_past_seeds
WHERE owner = $1 AND number < $2
ORDER BY number DESC
LIMIT $3;

-- name: export_fair_seeds
-- A player's seeds in use: commitments, never what they commit to.
SELECT json_build_object('number', number, 'commitment', encode(commitment, 'hex'),
    'next_commitment', encode(next_commitment, 'hex'), 'client_seed', client_seed, 'nonce', nonce::text)::text
FROM fair_seeds WHERE user_id = $1::uuid
LIMIT $2;

-- name: export_fair_keyed_draws
-- Which nonces a player's keys stand for, by key.
SELECT json_build_object('key', drawn.key, 'number', drawn.number, 'nonce', drawn.nonce::text)::text
FROM fair_keyed_draws drawn JOIN fair_seeds seeds ON seeds.owner = drawn.owner
WHERE seeds.user_id = $1::uuid
ORDER BY drawn.key
LIMIT $2;

-- name: export_fair_past_seeds
-- A player's revealed seeds, newest first.
SELECT json_build_object('number', past.number, 'commitment', encode(past.commitment, 'hex'),
    'server_seed', encode(past.server_seed, 'hex'), 'client_seed', past.client_seed, 'draws', past.draws::text,
    'revealed_at', past.revealed_at)::text
FROM fair_past_seeds past JOIN fair_seeds seeds ON seeds.owner = past.owner
WHERE seeds.user_id = $1::uuid
ORDER BY past.number DESC
LIMIT $2;
