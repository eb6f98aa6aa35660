-- name: open
-- Opens rounds, in the order of their ids; returns those that did not exist. Of others nothing may stay: whoever gets
-- fewer back than they sent undoes the transaction.
WITH players AS (
    INSERT INTO round_players (player_id, opened_at, round_id)
    SELECT player.id, player.opened_at, player.round_id
    FROM unnest($10::uuid[], $11::timestamptz[], $12::uuid[]) AS player (id, opened_at, round_id)
    ON CONFLICT DO NOTHING
), due AS (
    INSERT INTO open_rounds (round_id, deadline, stakes)
    SELECT item.id, item.deadline, item.stakes
    FROM unnest($1::uuid[], $9::timestamptz[], $13::integer[]) AS item (id, deadline, stakes)
    ORDER BY item.id
    ON CONFLICT DO NOTHING
)
INSERT INTO rounds (id, game, version, asset, stakes, inputs, policy, opened_at, deadline)
SELECT item.id, item.game, item.version, item.asset, item.stakes, item.inputs, item.policy, item.opened_at, item.deadline
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
            $9::timestamptz[])
    AS item (id, game, version, asset, stakes, inputs, policy, opened_at, deadline)
ORDER BY item.id
ON CONFLICT DO NOTHING
RETURNING id;

-- name: stake
-- Adds stakes to rounds that are open and have room for as many ($3), locked in the order of their ids; returns those.
-- Whoever gets fewer back than they sent undoes the transaction, and with it the stakes of the others.
WITH players AS (
    INSERT INTO round_players (player_id, opened_at, round_id)
    SELECT item.player_id, item.opened_at, item.round_id
    FROM unnest($6::uuid[], $8::timestamptz[], $4::uuid[]) AS item (player_id, opened_at, round_id)
    ORDER BY item.player_id, item.opened_at, item.round_id
    ON CONFLICT DO NOTHING
), items AS (
    INSERT INTO round_stakes (round_id, stake_id, player_id, amount)
    SELECT item.round_id, item.stake_id, item.player_id, item.amount
    FROM unnest($4::uuid[], $5::uuid[], $6::uuid[], $7::bigint[]) AS item (round_id, stake_id, player_id, amount)
)
UPDATE open_rounds AS o SET stakes = o.stakes + new.stakes
FROM (
    SELECT given.round_id, given.stakes
    FROM unnest($1::uuid[], $2::integer[]) AS given (round_id, stakes)
    JOIN open_rounds AS held ON held.round_id = given.round_id
    ORDER BY given.round_id
    FOR UPDATE OF held
) AS new
WHERE o.round_id = new.round_id AND o.stakes + new.stakes <= $3::integer
RETURNING o.round_id;

-- name: finish
-- Ends rounds that are open and have as many stakes as their ends were decided upon, locked in the order of their ids;
-- returns those.
WITH closed AS (
    DELETE FROM open_rounds AS o
    USING (
        SELECT given.round_id, given.stakes, given.how, given.version, given.reason, given.payouts, given.result, given.fair,
            given.ended_at
        FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                    $9::timestamptz[])
            AS given (round_id, stakes, how, version, reason, payouts, result, fair, ended_at)
        JOIN open_rounds AS held ON held.round_id = given.round_id
        ORDER BY given.round_id
        FOR UPDATE OF held
    ) AS item
    WHERE o.round_id = item.round_id AND o.stakes = item.stakes
    RETURNING item.round_id, item.how, item.version, item.reason, item.payouts, item.result, item.fair, item.ended_at
)
INSERT INTO round_results (round_id, how, version, reason, payouts, result, fair, ended_at)
SELECT round_id, how, version, reason, payouts, result, fair, ended_at FROM closed
RETURNING round_id;

-- name: read
-- Rounds by their ids.
SELECT id::text AS id, game, version, asset, stakes, inputs, policy, opened_at, deadline, later, how, end_version, ended_at,
    reason, payouts, result, fair
FROM round_records WHERE id = ANY($1::uuid[]);

-- name: list_of
-- A player's rounds behind a position, newest first.
SELECT r.id::text AS id, r.game, r.version, r.asset, r.stakes, r.inputs, r.policy, r.opened_at, r.deadline, r.later, r.how,
    r.end_version, r.ended_at, r.reason, r.payouts, r.result, r.fair
FROM (
    SELECT opened_at, round_id FROM round_players
    WHERE player_id = $1::uuid AND (opened_at, round_id) < ($2::timestamptz, $3::uuid)
    ORDER BY opened_at DESC, round_id DESC
    LIMIT $4
) AS p JOIN round_records r ON r.id = p.round_id
ORDER BY p.opened_at DESC, p.round_id DESC;

-- name: overdue
-- Rounds that nobody ended in time, behind a position, longest overdue first.
SELECT deadline, round_id::text AS round_id FROM open_rounds
WHERE deadline <= $1 AND (deadline, open_rounds.round_id) > ($2::timestamptz, $3::uuid)
ORDER BY deadline, open_rounds.round_id
LIMIT $4;

-- name: forget
-- The list of a player whose account is being deleted. The records stay: the ledger refers to them, and they name nobody.
DELETE FROM round_players WHERE player_id = $1::uuid;

-- name: export_rounds
-- A player's rounds, newest first, with the player's own stakes and payout, and what the game wrote, as the player's list
-- shows it.
SELECT json_build_object('id', r.id, 'game', r.game, 'version', r.version, 'asset', r.asset, 'inputs', r.inputs::json,
    'stake', r.stakes::json ->> $1::uuid::text,
    'later_stakes', (
        SELECT json_agg(s.amount::text ORDER BY s.stake_id) FROM round_stakes s
        WHERE s.round_id = r.id AND s.player_id = $1::uuid
    ),
    'opened_at', r.opened_at, 'outcome', e.how, 'reason', e.reason, 'payout', e.payouts::json ->> $1::uuid::text,
    'result', e.result::json, 'fair', e.fair::json, 'ended_at', e.ended_at)::text
FROM round_players p
JOIN rounds r ON r.id = p.round_id
LEFT JOIN round_results e ON e.round_id = r.id
WHERE p.player_id = $1::uuid
ORDER BY p.opened_at DESC, p.round_id DESC
LIMIT $2;
