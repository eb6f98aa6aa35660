-- Twenty thousand rows in every table that grows, spread as a running game would spread them, so that the planner
-- has a reason to prefer an index. Player i has the id md5('user' || i).

INSERT INTO users (id, username, display_name)
SELECT md5('user' || i)::uuid, 'player' || i, 'Player ' || i FROM generate_series(1, 20000) AS i;

-- A device for everybody, an e-mail address for every second player.
INSERT INTO identities (kind, lookup, user_id, sealed)
SELECT 1, sha256(('device' || i)::bytea), md5('user' || i)::uuid, sha256(('sealed' || i)::bytea)
FROM generate_series(1, 20000) AS i;
INSERT INTO identities (kind, lookup, user_id, sealed)
SELECT 2, sha256(('email' || i)::bytea), md5('user' || i)::uuid, sha256(('sealed' || i)::bytea)
FROM generate_series(2, 20000, 2) AS i;

INSERT INTO revoked_tokens (token_id, refresh, expires_at)
SELECT md5('token' || i)::uuid, i % 2 = 0, now() + (i - 10000) * interval '1 second' FROM generate_series(1, 20000) AS i;

INSERT INTO revoked_users (user_id, issued_before, expires_at)
SELECT md5('user' || i)::uuid, now(), now() + (i - 10000) * interval '1 second' FROM generate_series(1, 20000) AS i;

-- Twenty collections, one object of a player in each of four.
INSERT INTO objects (collection, key, user_id, value, version, permission_read, permission_write)
SELECT 'collection' || (i % 20), 'key' || (i / 20), md5('user' || (i / 4))::uuid, '{"level": 1}', md5(i::text), i % 3, 1
FROM generate_series(1, 20000) AS i;

-- Many boards, of which twenty hold the records.
INSERT INTO leaderboards (id, authoritative, sort, operator, enable_ranks)
SELECT 'board' || i, false, 1, 0, true FROM generate_series(1, 20000) AS i;
INSERT INTO leaderboard_records (leaderboard_id, owner_id, username, score, subscore)
SELECT 'board' || (i % 20), md5('user' || (i / 20))::uuid, 'player' || (i / 20), i, 0 FROM generate_series(1, 20000) AS i;

-- Ten thousand tournaments, of which ten hold records of some players, most of them of the past.
INSERT INTO leaderboards (id, authoritative, sort, operator, reset, enable_ranks, duration_seconds, start_at, end_at, category)
SELECT 'tournament' || i, false, 1, 1, '@daily', true, 3600, now() + (i - 9000) * interval '1 hour',
    now() + (i - 8900) * interval '1 hour', i % 128
FROM generate_series(1, 10000) AS i;
INSERT INTO leaderboard_records (leaderboard_id, expires_at, owner_id, username, score, subscore)
SELECT 'tournament' || (i % 10), now() + (i / 1000) * interval '1 day', md5('user' || (i / 10))::uuid, 'player', i, 0
FROM generate_series(1, 10000) AS i;

INSERT INTO friends (user_id, friend_id, state, position)
SELECT md5('user' || i)::uuid, md5('user' || (i + step))::uuid, (i + step) % 4, i
FROM generate_series(1, 5000) AS i, generate_series(1, 4) AS step;

INSERT INTO groups (id, creator_id, name)
SELECT md5('group' || i)::uuid, md5('user' || i)::uuid, 'group ' || i FROM generate_series(1, 20000) AS i;
INSERT INTO group_members (group_id, user_id, state, position)
SELECT md5('group' || i)::uuid, md5('user' || (i + step))::uuid, (i + step) % 5, i
FROM generate_series(1, 1000) AS i, generate_series(1, 20) AS step;

-- Twenty thousand assets, coins among them: a wallet of coins for everybody, each granted from the mint.
INSERT INTO ledger_assets (code, scale, kind) SELECT 'asset' || i, 0, 'virtual' FROM generate_series(1, 20000) AS i;
INSERT INTO ledger_assets (code, scale, kind) VALUES ('coins', 0, 'virtual');
INSERT INTO ledger_accounts (id, owner_kind, name, asset)
SELECT -100000 - i, 0, 'mint', CASE WHEN i = 0 THEN 'coins' ELSE 'asset' || i END FROM generate_series(0, 20000) AS i;
INSERT INTO ledger_accounts (id, owner_kind, player_id, name, asset)
SELECT i, 1, md5('user' || i)::uuid, '', 'coins' FROM generate_series(1, 20000) AS i;
INSERT INTO ledger_balances (account_id, may_go_negative, balance) SELECT id, id < 0, 1 FROM ledger_accounts;
INSERT INTO ledger_lines (id, entry, step, debit, credit, amount, kind, reference, metadata, strand, hash)
SELECT line, line, 0, CASE WHEN i % 2 = 0 THEN i ELSE -100000 END, i % 20000 + 1, 1, 'wallet.change', '', '', 1, ''
FROM generate_series(1, 40000) AS i,
     LATERAL (SELECT ledger_id_at(now() + i * interval '100 seconds')) AS number (line);
INSERT INTO ledger_lines (id, entry, step, debit, credit, amount, kind, reference, metadata, strand, hash)
SELECT i, i, 0, i, i + 1, 1, 'older than any partition', '', '', 1, '' FROM generate_series(1, 20000) AS i;
INSERT INTO ledger_keys (digest, entry) SELECT md5('key' || i)::uuid, i FROM generate_series(1, 20000) AS i;
INSERT INTO ledger_holds (id, debit, credit, amount, expires_at, status)
SELECT i, i, -100000, 1, 2000000000 + i, CASE WHEN i % 4 = 0 THEN 0 ELSE 2 END FROM generate_series(1, 20000) AS i;
INSERT INTO ledger_strands (shared) SELECT i % 100 = 0 FROM generate_series(1, 20000) AS i;
INSERT INTO ledger_guards (player_id) SELECT md5('user' || i)::uuid FROM generate_series(1, 20000) AS i;
-- Ten thousand steps of snapshots and as many audits, findings and days with a root.
INSERT INTO ledger_snapshot_steps (after_id, through_id, lines, taken_at)
SELECT i - 1, i, i, now() FROM generate_series(1, 10000) AS i;
INSERT INTO ledger_snapshots (account_id, through_id, balance, held)
SELECT i, step * 1000, 1, 0 FROM generate_series(1, 5000) AS i, generate_series(1, 10) AS step;
INSERT INTO ledger_audits (audited_at, through_id, cycled_to, lines, findings)
SELECT now(), i, i, 100, 0 FROM generate_series(1, 10000) AS i;
INSERT INTO ledger_findings (found_at, kind, subject, expected, found)
SELECT now(), 'balance', i::text, 1, 2 FROM generate_series(1, 10000) AS i;
INSERT INTO ledger_roots (day, signed_at, previous, heads, root, signature, public_key, key_id)
SELECT '2020-01-01'::date + i, now(), sha256(i::text::bytea), '', '', '', '', '' FROM generate_series(1, 10000) AS i;
INSERT INTO limit_changes (id, user_id, author, content, created_at)
SELECT md5('limit' || i)::uuid, md5('user' || (i / 10 + 1))::uuid, 'player', '{}', now() - i * interval '1 second'
FROM generate_series(1, 20000) AS i;

INSERT INTO messages (id, channel_id, sender_id, username, created_at)
SELECT md5('message' || i)::uuid, 'channel' || (i % 50), md5('user' || (i % 1000))::uuid, 'player', now() - i * interval '1 second'
FROM generate_series(1, 20000) AS i;

-- A pair for every player of ten thousand, who has revealed two before; and as many rounds.
INSERT INTO fair_seeds (owner, user_id, number, commitment, sealed, next_commitment, next_sealed, client_seed)
SELECT md5('user' || i)::uuid::text, md5('user' || i)::uuid, 3, sha256(('seed' || i)::bytea), sha256(('sealed' || i)::bytea),
       sha256(('next' || i)::bytea), sha256(('next sealed' || i)::bytea), md5(i::text)
FROM generate_series(1, 10000) AS i;
INSERT INTO fair_seeds (owner, number, commitment, sealed)
SELECT 'round:' || i, 1, sha256(('round' || i)::bytea), sha256(('sealed' || i)::bytea) FROM generate_series(1, 10000) AS i;
INSERT INTO fair_past_seeds (owner, number, commitment, server_seed, client_seed, draws, revealed_at)
SELECT md5('user' || i)::uuid::text, number, sha256(('seed' || i)::bytea), sha256(('seed' || i)::bytea), md5(i::text), 100, now()
FROM generate_series(1, 10000) AS i, generate_series(1, 2) AS number;
INSERT INTO fair_keyed_draws (owner, key, number, nonce)
SELECT md5('user' || i)::uuid::text, md5('round' || i)::uuid::text, 3, 0 FROM generate_series(1, 10000) AS i;
INSERT INTO notifications (id, user_id, subject, content, code, sender_id, created_at)
SELECT md5('notification' || i)::uuid, md5('user' || (1 + i % 1000))::uuid, 'a subject', '{"level": 1}', 1,
       md5('user' || i)::uuid, now() - i * interval '1 second'
FROM generate_series(1, 20000) AS i;
INSERT INTO provider_launches (token_id, request_id, expires_at)
SELECT md5('launch' || i)::uuid, 'request' || i, now() + (i - 10000) * interval '1 second' FROM generate_series(1, 20000) AS i;
INSERT INTO provider_reports
    (provider, day, asset, debits, debited, credits, credited, rollbacks, rolled_back)
SELECT 'provider' || (i % 20), date '2020-01-01' + i / 20, 'coins', i, i, i, i, 0, 0 FROM generate_series(1, 20000) AS i;

-- Ten rounds of each of two thousand players, every second of them with a later stake, half of them open.
INSERT INTO rounds (id, game, version, asset, stakes, inputs, policy, opened_at, deadline)
SELECT md5('round' || i)::uuid, 'dice', 'v', 'coins', '{}', '{}', 'cancel', now() - i * interval '1 second', now()
FROM generate_series(1, 20000) AS i;
INSERT INTO round_players (player_id, opened_at, round_id)
SELECT md5('user' || (i / 10))::uuid, now() - i * interval '1 second', md5('round' || i)::uuid
FROM generate_series(1, 20000) AS i;
INSERT INTO round_stakes (round_id, stake_id, player_id, amount)
SELECT md5('round' || i)::uuid, md5('stake' || i)::uuid, md5('user' || (i / 10))::uuid, 10
FROM generate_series(2, 20000, 2) AS i;
INSERT INTO open_rounds (round_id, deadline, stakes)
SELECT md5('round' || i)::uuid, now() + (i - 5000) * interval '1 second', 1 FROM generate_series(1, 10000) AS i;
INSERT INTO round_results (round_id, how, version, reason, payouts, result, fair, ended_at)
SELECT md5('round' || i)::uuid, 'settled', 'v', '', '{}', '{}', '{}', now() FROM generate_series(10001, 20000) AS i;

-- Ten purchases of each of two thousand players, in every store; as many subscriptions in the two that sell them.
INSERT INTO purchases (store, transaction_id, player_id, product_id, quantity, environment, response, purchase_time,
    create_time, update_time, refund_time)
SELECT i % 5, 'transaction' || i, md5('user' || (i / 10))::uuid, 'product' || (i % 7), 1, 2, '{}',
       now() - i * interval '1 second', now(), now(), CASE WHEN i % 50 = 0 THEN now() END
FROM generate_series(1, 20000) AS i;
INSERT INTO subscriptions (store, original_id, player_id, product_id, environment, response, notification, purchase_time,
    create_time, update_time, expiry_time, refund_time, stated_at)
SELECT i % 2, 'transaction' || i, md5('user' || (i / 10))::uuid, 'product' || (i % 7), 2, '{}', '',
       now() - i * interval '1 second', now(), now(), now() + (i - 10000) * interval '1 hour', NULL, now()
FROM generate_series(1, 20000) AS i;

-- Of the jobs most wait, some run, some have failed for good.
INSERT INTO pgqueuer (priority, entrypoint, payload, updated, status, dedupe_key)
SELECT 0, 'job' || (i % 10), '{}', now() - i * interval '1 minute',
       (ARRAY['queued', 'queued', 'queued', 'picked', 'failed'])[1 + i % 5]::pgqueuer_status, 'key' || i
FROM generate_series(1, 20000) AS i;
INSERT INTO pgqueuer_log (created, job_id, status, priority, entrypoint)
SELECT now() - i * interval '1 minute', i / 2, 'successful', 0, 'job' || (i % 10) FROM generate_series(1, 20000) AS i;
INSERT INTO pgqueuer_statistics (created, count, priority, status, entrypoint)
SELECT now() - i * interval '1 minute', 1, 0, 'successful', 'job' FROM generate_series(1, 20000) AS i;

-- Storage indexes
INSERT INTO object_indexes (id, ready) SELECT 'index:' || n, true FROM generate_series(1, 10000) AS n;
INSERT INTO object_index_entries (index_id, key, user_id, permission_read, fields)
SELECT 'index:' || n % 10, 'key', md5('owner ' || n)::uuid, 1, '{"level": 1}' FROM generate_series(1, 20000) AS n;
INSERT INTO object_index_values (index_id, field, kind, number_value, text_value, key, user_id, sorts)
SELECT 'index:' || n % 10, 'value.level', 1, n, '', 'key', md5('owner ' || n)::uuid, sorts
FROM generate_series(1, 20000) AS n CROSS JOIN (VALUES (true), (false)) AS kinds (sorts);

ANALYZE;
