-- migrate:up

-- Assets: an amount of 1 is one minor unit, of which 10 ^ scale make a whole one.
CREATE TABLE ledger_assets (
    code       text PRIMARY KEY CHECK (length(code) BETWEEN 1 AND 64),
    scale      smallint NOT NULL CHECK (scale BETWEEN 0 AND 18),
    kind       text NOT NULL CHECK (kind IN ('virtual', 'money')),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Accounts. owner_kind: 0 system, 1 player, 2 provider, 3 round. A player's account outlives the player, without a name.
-- Accounts that very many transfers touch at once have ids below zero, and several rows of balance.
CREATE SEQUENCE ledger_account_ids;
CREATE TABLE ledger_accounts (
    id         bigint PRIMARY KEY,
    owner_kind smallint NOT NULL CHECK (owner_kind BETWEEN 0 AND 3),
    player_id  uuid REFERENCES users (id) ON DELETE SET NULL,
    name       text NOT NULL CHECK (length(name) <= 128),
    asset      text NOT NULL REFERENCES ledger_assets (code),
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (owner_kind = 1 OR (player_id IS NULL AND name <> ''))
);
CREATE UNIQUE INDEX ledger_accounts_of_player ON ledger_accounts (player_id, asset);
CREATE UNIQUE INDEX ledger_accounts_by_name ON ledger_accounts (owner_kind, name, asset) WHERE owner_kind <> 1;
CREATE INDEX ledger_accounts_of_asset ON ledger_accounts (asset);

-- What accounts have now; shard key: account_id. A row's version is a random number of the round that wrote it last: a
-- count would let two rounds that never met believe that they speak of the same state. The checks are the second lock on
-- what the rules decide first.
CREATE TABLE ledger_balances (
    account_id      bigint NOT NULL REFERENCES ledger_accounts (id),
    stripe          smallint NOT NULL DEFAULT 0,
    may_go_negative boolean NOT NULL,
    closed          boolean NOT NULL DEFAULT false,
    balance         bigint NOT NULL DEFAULT 0,
    held            bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    version         bigint NOT NULL DEFAULT 0,
    prior_version   bigint NOT NULL DEFAULT 0,
    last            bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account_id, stripe),
    CHECK (may_go_negative OR balance >= held)
) WITH (fillfactor = 50);

-- A row of balance as a round is to leave it, and the version it must have before. Rounds are sent as arrays of these
-- and of lines: an array for each column would take the driver three times as long.
CREATE TYPE ledger_balance_change AS (
    account_id bigint,
    stripe     smallint,
    version    bigint,
    balance    bigint,
    held       bigint,
    last       bigint
);

-- Whoever deletes a player leaves accounts that nobody can use, even one that was opened in the very moment.
CREATE FUNCTION ledger_close_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE ledger_balances SET closed = true, version = version + 1 WHERE account_id = NEW.id AND NOT closed;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_accounts_of_nobody_are_closed AFTER UPDATE OF player_id ON ledger_accounts
    FOR EACH ROW WHEN (NEW.player_id IS NULL) EXECUTE FUNCTION ledger_close_account();

-- The lines of the ledger: append-only, numbered by time, a partition a month. An id is microseconds since 2025 times
-- 4096, plus a number of its node's own. step: 0 transfer, 1 hold, 2 post, 3 void, 4 expire.
CREATE TABLE ledger_lines (
    id           bigint NOT NULL,
    entry        bigint NOT NULL,
    step         smallint NOT NULL CHECK (step BETWEEN 0 AND 4),
    debit        bigint NOT NULL,
    credit       bigint NOT NULL,
    amount       bigint NOT NULL CHECK (amount > 0),
    debit_after  bigint,
    credit_after bigint,
    kind         text NOT NULL,
    reference    text NOT NULL,
    metadata     text NOT NULL,
    hold         bigint,
    expires_at   bigint,
    strand       integer NOT NULL,
    hash         bytea NOT NULL,
    PRIMARY KEY (id),
    CHECK (debit <> credit)
) PARTITION BY RANGE (id);
-- Hot accounts stand in so many lines that reading by time finds theirs; an index would only cost.
CREATE INDEX ledger_lines_of_debit ON ledger_lines (debit, id) WHERE debit > 0;
CREATE INDEX ledger_lines_of_credit ON ledger_lines (credit, id) WHERE credit > 0;
CREATE TABLE ledger_lines_rest PARTITION OF ledger_lines DEFAULT;

CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what the ledger wrote is never changed or deleted' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER ledger_lines_are_final BEFORE UPDATE OR DELETE ON ledger_lines
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER ledger_lines_are_kept BEFORE TRUNCATE ON ledger_lines
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER ledger_lines_are_kept BEFORE TRUNCATE ON ledger_lines_rest
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();

-- The lowest id of a moment.
CREATE FUNCTION ledger_id_at(moment timestamptz) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT ((extract(epoch FROM moment) - 1735689600) * 1000000)::bigint * 4096
$$;

-- Makes the partitions of this month and of some months to come. A month of which lines came before its partition, by a
-- clock that was ahead or a node that ran for long, stays in the rest.
CREATE FUNCTION ledger_add_partitions(months integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    starts timestamptz := date_trunc('month', now(), 'UTC');
    ends   timestamptz;
    name   text;
    low    bigint;
    high   bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ledger_add_partitions'));
    FOR n IN 0..months LOOP
        ends := starts + interval '1 month';
        name := 'ledger_lines_' || to_char(starts AT TIME ZONE 'UTC', 'YYYY_MM');
        low := ledger_id_at(starts);
        high := ledger_id_at(ends);
        IF to_regclass(name) IS NULL AND NOT EXISTS (SELECT FROM ledger_lines_rest WHERE id >= low AND id < high) THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF ledger_lines FOR VALUES FROM (%s) TO (%s)', name, low, high);
            EXECUTE format('CREATE TRIGGER ledger_lines_are_kept BEFORE TRUNCATE ON %I
                FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change()', name);
        END IF;
        starts := ends;
    END LOOP;
END $$;
SELECT ledger_add_partitions(2);

-- Idempotency keys, for ever. No entry: a tombstone, under which nothing can happen.
CREATE TABLE ledger_keys (
    digest uuid PRIMARY KEY,
    entry  bigint
);
CREATE TRIGGER ledger_keys_are_final BEFORE UPDATE OR DELETE ON ledger_keys
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER ledger_keys_are_kept BEFORE TRUNCATE ON ledger_keys
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();

-- Holds and how they ended. measure: what they mean to limits. status: 0 open, else the step that ended it.
CREATE TABLE ledger_holds (
    id         bigint PRIMARY KEY,
    debit      bigint NOT NULL,
    credit     bigint NOT NULL,
    amount     bigint NOT NULL CHECK (amount > 0),
    expires_at bigint NOT NULL,
    measure    smallint NOT NULL DEFAULT 0,
    status     smallint NOT NULL DEFAULT 0 CHECK (status IN (0, 2, 3, 4))
) WITH (fillfactor = 80);
CREATE INDEX ledger_holds_to_expire ON ledger_holds (expires_at, id) WHERE status = 0;
CREATE INDEX ledger_holds_of_account ON ledger_holds (debit, expires_at, id) WHERE status = 0;

-- The ends of the hash chains. Each writer forges one of its own; those of explicit transactions are shared, one at a time.
CREATE TABLE ledger_strands (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shared     boolean NOT NULL DEFAULT false,
    lines      bigint NOT NULL DEFAULT 0,
    hash       bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    last       bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ledger_strands_shared ON ledger_strands (id) WHERE shared;

-- What the limits of players need to know, an opaque text each.
CREATE TABLE ledger_guards (
    player_id     uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    state         text,
    version       bigint NOT NULL DEFAULT 0,
    prior_version bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Undoes a statement that was decided upon a state that is no more.
CREATE FUNCTION ledger_require(holds boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF holds THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION 'decided upon a state that is no more' USING ERRCODE = 'LE001';
END $$;

-- What wallets held before becomes opening transfers, on a strand of their own. The text that is hashed is that of
-- features/ledger/chain.py.
INSERT INTO ledger_assets (code, scale, kind) SELECT DISTINCT asset, 0, 'virtual' FROM wallets;
INSERT INTO ledger_accounts (id, owner_kind, name, asset)
SELECT -nextval('ledger_account_ids'), 0, 'mint', code FROM ledger_assets;
INSERT INTO ledger_balances (account_id, stripe, may_go_negative)
SELECT id, stripe, true FROM ledger_accounts, generate_series(0, 15) AS stripe WHERE owner_kind = 0;
INSERT INTO ledger_accounts (id, owner_kind, player_id, name, asset)
SELECT nextval('ledger_account_ids'), 1, user_id, '', asset FROM wallets;
INSERT INTO ledger_balances (account_id, may_go_negative, balance)
SELECT a.id, false, w.amount FROM ledger_accounts a JOIN wallets w ON w.user_id = a.player_id AND w.asset = a.asset;

DO $$
DECLARE
    opening  record;
    chain    integer;
    links    bigint := 0;
    forged   bytea := decode(repeat('00', 32), 'hex');
    number   bigint := ledger_id_at(now());
BEGIN
    FOR opening IN
        SELECT mint.id AS debit, account.id AS credit, balance.balance AS amount
        FROM ledger_accounts account
        JOIN ledger_balances balance ON balance.account_id = account.id
        JOIN ledger_accounts mint ON mint.asset = account.asset AND mint.owner_kind = 0
        WHERE account.owner_kind = 1 AND balance.balance > 0
        ORDER BY account.id
    LOOP
        IF chain IS NULL THEN
            INSERT INTO ledger_strands DEFAULT VALUES RETURNING id INTO chain;
        END IF;
        number := number + 4096;
        links := links + 1;
        forged := sha256(forged || convert_to(concat_ws('|', number, number, 0, opening.debit, opening.credit,
            opening.amount, '', opening.amount, '', '', '7:opening', '0:', ''), 'UTF8'));
        INSERT INTO ledger_lines (id, entry, step, debit, credit, amount, credit_after, kind, reference, metadata, strand, hash)
        VALUES (number, number, 0, opening.debit, opening.credit, opening.amount, opening.amount, 'opening', '', '', chain, forged);
        UPDATE ledger_balances SET last = number, version = 1 WHERE account_id = opening.credit;
        UPDATE ledger_balances SET balance = balance - opening.amount WHERE account_id = opening.debit AND stripe = 0;
    END LOOP;
    UPDATE ledger_strands SET lines = links, hash = forged, last = number WHERE id = chain;
END $$;

-- What the ledger offers to other features in SQL: a player's wallet as one JSON object, to be read along with the
-- player. It holds what is available.
DROP VIEW player_wallets;
DROP TABLE wallet_changes;
DROP TABLE wallets;
CREATE VIEW player_wallets AS
SELECT account.player_id AS user_id, jsonb_object_agg(account.asset, balance.balance - balance.held) AS wallet
FROM ledger_accounts account
JOIN ledger_balances balance ON balance.account_id = account.id
WHERE account.player_id IS NOT NULL
GROUP BY account.player_id;
