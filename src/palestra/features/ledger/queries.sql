-- name: declare
-- Make an asset known; one that is known stays as it is.
INSERT INTO ledger_assets (code, scale, kind) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: assets
-- All declared assets: as many as the game has currencies.
-- plan: whole table, because there are few assets and all are wanted
SELECT code, scale, kind FROM ledger_assets ORDER BY code;

-- name: asset
-- One asset.
SELECT code, scale, kind FROM ledger_assets WHERE code = $1;

-- name: open_accounts
-- The accounts of owners, made where they are missing, in the order of their natural names so that nodes wait for each
-- other in one order. An account that another node makes in this very moment is missing from the answer: ask again.
WITH wanted AS (
    SELECT * FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::text[], $5::boolean[], $6::boolean[])
        AS w (owner_kind, player_id, name, asset, may_go_negative, hot)
), known AS (
    SELECT a.id, a.owner_kind, a.player_id, a.name, a.asset, b.may_go_negative
    FROM wanted w
    JOIN ledger_accounts a ON a.player_id = w.player_id AND a.asset = w.asset
    JOIN ledger_balances b ON b.account_id = a.id AND b.stripe = 0
    UNION ALL
    SELECT a.id, a.owner_kind, a.player_id, a.name, a.asset, b.may_go_negative
    FROM wanted w
    JOIN ledger_accounts a ON a.owner_kind = w.owner_kind AND a.name = w.name AND a.asset = w.asset AND a.owner_kind <> 1
    JOIN ledger_balances b ON b.account_id = a.id AND b.stripe = 0
    WHERE w.player_id IS NULL
), made AS (
    INSERT INTO ledger_accounts (id, owner_kind, player_id, name, asset)
    SELECT nextval('ledger_account_ids') * CASE WHEN w.hot THEN -1 ELSE 1 END, w.owner_kind, w.player_id, w.name, w.asset
    FROM (SELECT * FROM wanted ORDER BY owner_kind, player_id, name, asset) w
    WHERE NOT EXISTS (
        SELECT FROM known k
        WHERE k.owner_kind = w.owner_kind AND k.player_id IS NOT DISTINCT FROM w.player_id
          AND k.name = w.name AND k.asset = w.asset
    )
    ON CONFLICT DO NOTHING
    RETURNING id, owner_kind, player_id, name, asset
), opened AS (
    INSERT INTO ledger_balances (account_id, stripe, may_go_negative)
    SELECT m.id, stripe, w.may_go_negative
    FROM made m
    JOIN wanted w ON w.owner_kind = m.owner_kind AND w.player_id IS NOT DISTINCT FROM m.player_id
                 AND w.name = m.name AND w.asset = m.asset
    CROSS JOIN generate_series(0, CASE WHEN w.hot THEN 15 ELSE 0 END) AS stripe
    RETURNING account_id, stripe, may_go_negative
)
SELECT id, owner_kind, player_id::text, name, asset, may_go_negative FROM known
UNION ALL
SELECT m.id, m.owner_kind, m.player_id::text, m.name, m.asset, o.may_go_negative
FROM made m JOIN opened o ON o.account_id = m.id AND o.stripe = 0;

-- name: read_rows
-- Rows of balance with what never changes of their accounts.
SELECT b.account_id, b.stripe, a.asset, a.player_id::text, b.may_go_negative, b.closed, b.balance, b.held, b.version, b.last
FROM unnest($1::bigint[], $2::smallint[]) AS wanted (account_id, stripe)
JOIN ledger_balances b USING (account_id, stripe)
JOIN ledger_accounts a ON a.id = b.account_id;

-- name: lock_rows
-- The same, locked in the order of their keys until the end of the transaction.
SELECT b.account_id, b.stripe, a.asset, a.player_id::text, b.may_go_negative, b.closed, b.balance, b.held, b.version, b.last
FROM unnest($1::bigint[], $2::smallint[]) AS wanted (account_id, stripe)
JOIN ledger_balances b USING (account_id, stripe)
JOIN ledger_accounts a ON a.id = b.account_id
ORDER BY b.account_id, b.stripe
FOR UPDATE OF b;

-- name: read_holds
-- Holds by id. Who wants to rely on their status locks their accounts first: a hold ends together with a change of them.
SELECT id, debit, credit, amount, expires_at, measure, status FROM ledger_holds WHERE id = ANY($1::bigint[]);

-- name: make_guards
-- A guard's row for every player who is measured for the first time, in the order of their ids. Accounts of players who
-- were deleted name nobody any more.
INSERT INTO ledger_guards (player_id)
SELECT player_id FROM unnest($1::uuid[]) AS wanted (player_id)
WHERE NOT EXISTS (SELECT FROM ledger_guards g WHERE g.player_id = wanted.player_id)
  AND EXISTS (SELECT FROM ledger_accounts a WHERE a.player_id = wanted.player_id)
ORDER BY player_id ON CONFLICT DO NOTHING;

-- name: make_guard
-- A guard's row for one player, who may have no accounts yet.
INSERT INTO ledger_guards (player_id) VALUES ($1::uuid) ON CONFLICT DO NOTHING;

-- name: read_guards
-- The guard's states of players.
SELECT player_id::text, state, version FROM ledger_guards WHERE player_id = ANY($1::uuid[]);

-- name: lock_guards
-- The same, locked in the order of their ids until the end of the transaction.
SELECT player_id::text, state, version FROM ledger_guards WHERE player_id = ANY($1::uuid[]) ORDER BY player_id FOR UPDATE;

-- name: begin_strand
-- A strand of the hash chain for one writer.
INSERT INTO ledger_strands (shared) VALUES ($1) RETURNING id, lines, hash, last;

-- name: take_strand
-- A shared strand that no other transaction is writing on.
SELECT id, lines, hash, last FROM ledger_strands WHERE shared ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED;

-- name: commit
-- One round. Rows of balance are set in the order of the array, which is sorted by key, so that writers wait for each
-- other in one order. If one of them was not of the version upon which the round was decided, or a hold is not open any
-- more, everything is undone by an error of its own; a key that exists is an error as well.
WITH rows AS (
    UPDATE ledger_balances b SET balance = w.balance, held = w.held, last = w.last, prior_version = b.version, version = $15
    FROM unnest($1::ledger_balance_change[]) AS w
    WHERE b.account_id = w.account_id AND b.stripe = w.stripe
    RETURNING b.prior_version = w.version AS expected
), guards AS (
    UPDATE ledger_guards g SET state = w.state, prior_version = g.version, version = $15
    FROM unnest($2::uuid[], $3::bigint[], $4::text[]) AS w (player_id, version, state)
    WHERE g.player_id = w.player_id
    RETURNING g.prior_version = w.version AS expected
), ended AS (
    UPDATE ledger_holds h SET status = w.status
    FROM unnest($5::bigint[], $6::smallint[]) AS w (id, status)
    WHERE h.id = w.id AND h.status = 0
    RETURNING h.id
), strand AS (
    UPDATE ledger_strands s SET lines = s.lines + cardinality($10::ledger_lines[]), hash = $13, last = greatest(s.last, $14)
    WHERE s.id = $11 AND s.lines = $12
    RETURNING s.id
), agreed AS MATERIALIZED (
    SELECT ledger_require(
        (SELECT count(*) FILTER (WHERE expected) FROM rows) = cardinality($1::ledger_balance_change[])
        AND (SELECT count(*) FILTER (WHERE expected) FROM guards) = cardinality($2::uuid[])
        AND (SELECT count(*) FROM ended) = cardinality($5::bigint[])
        AND (SELECT count(*) FROM strand) = 1
    ) AS yes
), keys AS (
    INSERT INTO ledger_keys (digest, entry)
    SELECT k.digest, k.entry FROM unnest($7::uuid[], $8::bigint[]) AS k (digest, entry)
    WHERE (SELECT yes FROM agreed)
), lines AS (
    INSERT INTO ledger_lines SELECT l.* FROM unnest($10::ledger_lines[]) AS l WHERE (SELECT yes FROM agreed)
), holds AS (
    INSERT INTO ledger_holds (id, debit, credit, amount, expires_at, measure)
    SELECT l.id, l.debit, l.credit, l.amount, l.expires_at, h.measure
    FROM unnest($9::bigint[], $16::smallint[]) AS h (id, measure) JOIN unnest($10::ledger_lines[]) AS l ON l.id = h.id
    WHERE (SELECT yes FROM agreed)
)
SELECT yes FROM agreed;

-- name: read_keys
-- Which of some keys are used, and the id of the entry under each; none for a tombstone.
SELECT replace(digest::text, '-', '') AS digest, entry FROM ledger_keys WHERE digest = ANY($1::uuid[]);

-- name: read_entry
-- The lines of an entry. Its id is that of its first line, and the others follow within as many microseconds.
SELECT id, entry, step, debit, credit, amount, debit_after, credit_after, kind, reference, metadata, hold, expires_at
FROM ledger_lines WHERE id BETWEEN $1 AND $1 + 4096 * 1000 AND entry = $1 ORDER BY id;

-- name: line
-- One line.
SELECT id, entry, step, debit, credit, amount, debit_after, credit_after, kind, reference, metadata, hold, expires_at
FROM ledger_lines WHERE id = $1;

-- name: balance
-- What an account has now, over all its rows.
SELECT sum(balance), sum(held), bool_or(closed) FROM ledger_balances WHERE account_id = $1 GROUP BY account_id;

-- name: balances_of
-- Every account of some players, by asset.
SELECT a.player_id::text, a.asset, b.balance, b.held, b.closed
FROM ledger_accounts a JOIN ledger_balances b ON b.account_id = a.id
WHERE a.player_id = ANY($1::uuid[])
ORDER BY a.player_id, a.asset;

-- name: accounts_of
-- The accounts of a player.
SELECT a.id, a.owner_kind, a.player_id::text, a.name, a.asset, b.may_go_negative
FROM ledger_accounts a JOIN ledger_balances b ON b.account_id = a.id AND b.stripe = 0
WHERE a.player_id = $1::uuid
ORDER BY a.asset;

-- name: accounts
-- Accounts by id.
SELECT a.id, a.owner_kind, a.player_id::text, a.name, a.asset, b.may_go_negative
FROM ledger_accounts a JOIN ledger_balances b ON b.account_id = a.id AND b.stripe = 0
WHERE a.id = ANY($1::bigint[]);

-- name: history
-- Lines that touch any of some accounts with ids below a bound, newest first.
SELECT DISTINCT id, entry, step, debit, credit, amount, debit_after, credit_after, kind, reference, metadata, hold, expires_at
FROM unnest($1::bigint[]) AS wanted (account)
CROSS JOIN LATERAL (
    (SELECT * FROM ledger_lines WHERE debit > 0 AND debit = wanted.account AND id < $2 ORDER BY id DESC LIMIT $3)
    UNION ALL
    (SELECT * FROM ledger_lines WHERE credit > 0 AND credit = wanted.account AND id < $2 ORDER BY id DESC LIMIT $3)
) AS line
ORDER BY id DESC
LIMIT $3;

-- name: hot_history
-- The same for hot accounts, whose lines are found by reading backwards in time.
SELECT id, entry, step, debit, credit, amount, debit_after, credit_after, kind, reference, metadata, hold, expires_at
FROM ledger_lines WHERE id < $2 AND (debit = ANY($1::bigint[]) OR credit = ANY($1::bigint[]))
ORDER BY id DESC
LIMIT $3;

-- name: history_between
-- Lines that touch an account with ids between two bounds, oldest first.
SELECT id, entry, step, debit, credit, amount, debit_after, credit_after, kind, reference, metadata, hold, expires_at
FROM ledger_lines WHERE id >= $2 AND id < $3 AND (debit = $1 OR credit = $1)
ORDER BY id
LIMIT $4;

-- name: open_holds
-- Open holds on an account, the next to expire first.
SELECT id, debit, credit, amount, expires_at FROM ledger_holds
WHERE debit = $1 AND status = 0 ORDER BY expires_at, id LIMIT $2;

-- name: overdue_holds
-- Open holds whose time is over at a unix second.
SELECT id FROM ledger_holds WHERE status = 0 AND expires_at <= $1 ORDER BY expires_at, id LIMIT $2;

-- name: close
-- Refuse every later step on an account that is empty, which is seen once its rows are locked: money may be on its way.
-- Whoever holds an earlier state of it must read it anew.
WITH locked AS MATERIALIZED (
    SELECT account_id, stripe, balance, held FROM ledger_balances WHERE account_id = $1 ORDER BY stripe FOR UPDATE
)
UPDATE ledger_balances b SET closed = true, version = b.version + 1
FROM locked l
WHERE b.account_id = l.account_id AND b.stripe = l.stripe
  AND (SELECT sum(balance) = 0 AND sum(held) = 0 FROM locked);

-- name: money_of
-- The assets of real money of which a player has something, or owes it.
SELECT a.asset FROM ledger_accounts a
JOIN ledger_balances b ON b.account_id = a.id
JOIN ledger_assets s ON s.code = a.asset
WHERE a.player_id = $1::uuid AND s.kind = 'money' AND b.balance <> 0
ORDER BY a.asset;

-- name: flush_on_commit
-- An answer is given after the commit is on disk, whatever the role or the database is set to: for this connection, or
-- for this transaction alone.
SELECT set_config('synchronous_commit', 'on', $1) WHERE current_setting('synchronous_commit') = 'off';

-- name: close_accounts_of
-- The accounts of a player who goes: closed with what is in them.
WITH locked AS (
    SELECT b.account_id, b.stripe FROM ledger_balances b JOIN ledger_accounts a ON a.id = b.account_id
    WHERE a.player_id = $1::uuid ORDER BY b.account_id, b.stripe FOR UPDATE OF b
)
UPDATE ledger_balances b SET closed = true, version = b.version + 1
FROM locked l WHERE b.account_id = l.account_id AND b.stripe = l.stripe;

-- name: set_guard
-- A new state of the guard for a player, if it is still of the version that it was made from.
UPDATE ledger_guards SET state = $3, version = version + 1 WHERE player_id = $1::uuid AND version = $2;

-- name: add_partitions
-- The partitions of this month and of some months to come.
SELECT ledger_add_partitions($1);

-- name: snapshot_state
-- The latest step of the snapshots: up to which line, and how many lines that is.
SELECT through_id, lines FROM ledger_snapshot_steps ORDER BY through_id DESC LIMIT 1;

-- name: snapshot_end
-- The last line of the next step, which has a limited number of lines and goes no further than a bound.
SELECT max(id) FROM (SELECT id FROM ledger_lines WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3) AS step;

-- name: take_snapshots
-- One step: what accounts had, and what lines did to them since. A key that exists tells that another node was faster.
WITH effects AS (
    SELECT account, sum(balance) AS balance, sum(held) AS held
    FROM ledger_effects WHERE id > $1 AND id <= $2 GROUP BY account
), step AS (
    INSERT INTO ledger_snapshot_steps (after_id, through_id, lines, taken_at)
    SELECT $1, $2, $3 + count(*), $4 FROM ledger_lines WHERE id > $1 AND id <= $2
)
INSERT INTO ledger_snapshots (account_id, through_id, balance, held)
SELECT e.account, $2, e.balance + coalesce(s.balance, 0), e.held + coalesce(s.held, 0)
FROM effects e
LEFT JOIN LATERAL (
    SELECT balance, held FROM ledger_snapshots WHERE account_id = e.account ORDER BY through_id DESC LIMIT 1
) s ON true;

-- name: audit_state
-- Where an audit begins: the latest step of the snapshots, that of the audit before, and how far that one's cycle came.
SELECT coalesce(step.through_id, 0) AS through_id, coalesce(step.lines, 0) AS lines,
       coalesce(audit.through_id, step.through_id, 0) AS audited_id, audit.cycled_to
FROM (VALUES (1)) AS one
LEFT JOIN LATERAL (SELECT through_id, lines FROM ledger_snapshot_steps ORDER BY through_id DESC LIMIT 1) step ON true
LEFT JOIN LATERAL (SELECT through_id, cycled_to FROM ledger_audits ORDER BY id DESC LIMIT 1) audit ON true;

-- name: audit_cycle_end
-- The last account of a share of all accounts; none when the share reaches the end.
SELECT id FROM ledger_accounts WHERE id > $1 ORDER BY id OFFSET $2 - 1 LIMIT 1;

-- name: audit_accounts
-- Accounts whose balance or held amount is not that of their lines, whose holds do not add up to what is held, or that
-- lack what they may not. Looked at are those with lines since the step $1, or in steps since the audit before ($2), and
-- the next share of all.
WITH effects AS MATERIALIZED (
    SELECT account, sum(balance) AS balance, sum(held) AS held FROM ledger_effects WHERE id > $1 GROUP BY account
), wanted AS (
    SELECT account FROM effects
    UNION
    SELECT account_id FROM ledger_snapshots WHERE through_id > $2
    UNION
    (SELECT id FROM ledger_accounts WHERE id > $3 ORDER BY id LIMIT $4)
), compared AS (
    SELECT w.account,
           coalesce(s.balance, 0) + coalesce(e.balance, 0) AS balance_due, coalesce(b.balance, 0) AS balance,
           coalesce(s.held, 0) + coalesce(e.held, 0) AS held_due, coalesce(b.held, 0) AS held,
           coalesce(h.amount, 0) AS holds, coalesce(b.short, false) AS short
    FROM wanted w
    LEFT JOIN effects e ON e.account = w.account
    LEFT JOIN LATERAL (
        SELECT balance, held FROM ledger_snapshots WHERE account_id = w.account ORDER BY through_id DESC LIMIT 1
    ) s ON true
    LEFT JOIN LATERAL (
        SELECT sum(balance) AS balance, sum(held) AS held, bool_or(held < 0 OR NOT may_go_negative AND balance < held) AS short
        FROM ledger_balances WHERE account_id = w.account
    ) b ON true
    LEFT JOIN LATERAL (SELECT sum(amount) AS amount FROM ledger_holds WHERE debit = w.account AND status = 0) h ON true
)
SELECT account, balance_due, balance, held_due, held, holds, short FROM compared
WHERE balance <> balance_due OR held <> held_due OR holds <> held OR short
ORDER BY account LIMIT $5;

-- name: audit_assets
-- Assets whose balances do not add up to nothing.
-- plan: whole table, because the sum of all balances is what is asked
SELECT a.asset, sum(b.balance) AS balance
FROM ledger_balances b JOIN ledger_accounts a ON a.id = b.account_id
GROUP BY a.asset HAVING sum(b.balance) <> 0 ORDER BY a.asset LIMIT $1;

-- name: audit_lines
-- How many lines there are since a step, and how many there ever were by the strands.
-- plan: whole table, because strands are few: one for each connection that ever wrote
SELECT (SELECT count(*) FROM ledger_lines WHERE id > $1) AS since,
       (SELECT coalesce(sum(lines), 0)::bigint FROM ledger_strands) AS ever;

-- name: add_findings
-- What an audit found wrong; of what was found before nothing is kept, and nothing returned.
INSERT INTO ledger_findings (found_at, kind, subject, expected, found)
SELECT $1, f.kind, f.subject, f.expected, f.found
FROM unnest($2::text[], $3::text[], $4::numeric[], $5::numeric[]) AS f (kind, subject, expected, found)
ON CONFLICT DO NOTHING
RETURNING kind, subject;

-- name: add_audit
-- An audit that was done.
INSERT INTO ledger_audits (audited_at, through_id, cycled_to, lines, findings) VALUES ($1, $2, $3, $4, $5);

-- name: latest_root
-- The latest signed root.
SELECT day, signed_at, previous, heads, root, signature, public_key, key_id FROM ledger_roots ORDER BY day DESC LIMIT 1;

-- name: roots
-- All signed roots, the oldest first: one a day.
-- plan: whole table, because the roots are a chain and all are wanted
SELECT day, signed_at, previous, heads, root, signature, public_key, key_id FROM ledger_roots ORDER BY day;

-- name: moved_heads
-- The heads of the strands that have lines after a moment.
-- plan: whole table, because strands are few, and it is done once a day
SELECT id, lines, last, hash FROM ledger_strands WHERE last > $1 ORDER BY id;

-- name: add_root
-- A signed root, unless this day has one or another follows the same root.
INSERT INTO ledger_roots (day, signed_at, previous, heads, root, signature, public_key, key_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING;

-- name: verify_strands
-- The ends of all strands.
-- plan: whole table, because all are verified
SELECT id, lines, last, hash FROM ledger_strands ORDER BY id;

-- name: verify_accounts
-- All accounts with what never changes of them.
-- plan: whole table, because all are verified
SELECT a.id, a.asset, b.may_go_negative
FROM ledger_accounts a LEFT JOIN ledger_balances b ON b.account_id = a.id AND b.stripe = 0 ORDER BY a.id;

-- name: verify_start
-- The latest step of the snapshots that ends no later than a line.
SELECT through_id, lines FROM ledger_snapshot_steps WHERE through_id <= $1 ORDER BY through_id DESC LIMIT 1;

-- name: verify_snapshots
-- What accounts had by a step.
-- plan: whole table, because all accounts are verified
SELECT DISTINCT ON (account_id) account_id, balance, held FROM ledger_snapshots
WHERE through_id <= $1 ORDER BY account_id, through_id DESC;

-- name: verify_lines
-- All lines after one, in the order of their ids, with their fields in the order in which they are hashed.
-- plan: whole table, because all are verified
SELECT id, entry, step, debit, credit, amount, debit_after, credit_after, hold, expires_at, kind, reference, metadata,
       strand, hash
FROM ledger_lines WHERE id > $1 ORDER BY id;

-- name: verify_balances
-- What all accounts have, over all their rows.
-- plan: whole table, because all are verified
SELECT account_id, sum(balance) AS balance, sum(held) AS held FROM ledger_balances GROUP BY account_id ORDER BY account_id;

-- name: verify_stray_holds
-- Holds that no line of the ledger made.
-- plan: whole table, because all are verified
SELECT h.id FROM ledger_holds h
WHERE NOT EXISTS (SELECT FROM ledger_lines l WHERE l.id = h.id AND l.step = 1) ORDER BY h.id LIMIT $1;

-- name: export_wallet
-- What a player's accounts have. Amounts are texts: they have 64 bits.
SELECT json_build_object('asset', account.asset, 'balance', balance.balance::text, 'held', balance.held::text,
    'created_at', account.created_at)::text
FROM ledger_accounts account JOIN ledger_balances balance ON balance.account_id = account.id
WHERE account.player_id = $1::uuid
ORDER BY account.asset
LIMIT $2;

-- name: export_wallet_history
-- All lines that touch a player's accounts, newest first; of the other side nothing is told.
SELECT json_build_object('id', line.id::text, 'entry_id', line.entry::text, 'asset', account.asset,
    'step', (ARRAY['transfer', 'hold', 'post', 'void', 'expire'])[line.step + 1], 'direction', line.direction,
    'amount', line.amount::text, 'balance_after', line.balance_after::text, 'kind', line.kind,
    'reference', line.reference, 'metadata', line.metadata, 'hold_id', line.hold::text,
    'at', to_timestamp(1735689600 + (line.id / 4096) / 1000000.0))::text
FROM ledger_accounts account
CROSS JOIN LATERAL (
    (
        SELECT id, entry, step, amount, 'out' AS direction, debit_after AS balance_after, kind, reference, metadata, hold
        FROM ledger_lines WHERE debit > 0 AND debit = account.id ORDER BY id DESC LIMIT $2
    )
    UNION ALL
    (
        SELECT id, entry, step, amount, 'in', credit_after, kind, reference, metadata, hold
        FROM ledger_lines WHERE credit > 0 AND credit = account.id ORDER BY id DESC LIMIT $2
    )
) AS line
WHERE account.player_id = $1::uuid
ORDER BY line.id DESC
LIMIT $2;

-- name: export_limits_state
-- What counts towards a player's limits, in the form in which it is kept.
SELECT json_build_object('state', state)::text FROM ledger_guards WHERE player_id = $1::uuid AND state IS NOT NULL
LIMIT $2;
