-- migrate:up

-- Rounds as they were opened. The texts are JSON: `stakes` amounts by player, `inputs` of the game's own.
CREATE TABLE rounds (
    id        uuid PRIMARY KEY,
    game      text NOT NULL,
    version   text NOT NULL,
    asset     text NOT NULL,
    stakes    text NOT NULL,
    inputs    text NOT NULL,
    policy    text NOT NULL CHECK (policy IN ('cancel', 'settle')),
    opened_at timestamptz NOT NULL,
    deadline  timestamptz NOT NULL
);
-- Stakes that came later; those of one call have one id.
CREATE TABLE round_stakes (
    round_id  uuid NOT NULL,
    stake_id  uuid NOT NULL,
    player_id uuid NOT NULL,
    amount    bigint NOT NULL CHECK (amount > 0),
    PRIMARY KEY (round_id, stake_id, player_id)
);
-- How rounds ended. The texts are JSON.
CREATE TABLE round_results (
    round_id uuid PRIMARY KEY,
    how      text NOT NULL CHECK (how IN ('settled', 'cancelled')),
    version  text NOT NULL,
    reason   text NOT NULL,
    payouts  text NOT NULL,
    result   text NOT NULL,
    fair     text NOT NULL,
    ended_at timestamptz NOT NULL
);

CREATE FUNCTION rounds_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'records of rounds are never changed or deleted' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER rounds_are_final BEFORE UPDATE OR DELETE ON rounds
    FOR EACH ROW EXECUTE FUNCTION rounds_refuse_change();
CREATE TRIGGER rounds_are_kept BEFORE TRUNCATE ON rounds
    FOR EACH STATEMENT EXECUTE FUNCTION rounds_refuse_change();
CREATE TRIGGER round_stakes_are_final BEFORE UPDATE OR DELETE ON round_stakes
    FOR EACH ROW EXECUTE FUNCTION rounds_refuse_change();
CREATE TRIGGER round_stakes_are_kept BEFORE TRUNCATE ON round_stakes
    FOR EACH STATEMENT EXECUTE FUNCTION rounds_refuse_change();
CREATE TRIGGER round_results_are_final BEFORE UPDATE OR DELETE ON round_results
    FOR EACH ROW EXECUTE FUNCTION rounds_refuse_change();
CREATE TRIGGER round_results_are_kept BEFORE TRUNCATE ON round_results
    FOR EACH STATEMENT EXECUTE FUNCTION rounds_refuse_change();

-- Rounds that have not ended, and how many stakes they have: who ends one must know them all.
CREATE TABLE open_rounds (
    round_id uuid PRIMARY KEY,
    deadline timestamptz NOT NULL,
    stakes   integer NOT NULL
);
CREATE INDEX open_rounds_by_deadline ON open_rounds (deadline, round_id);

-- Whose rounds they are, for the lists of players.
CREATE TABLE round_players (
    player_id uuid NOT NULL,
    opened_at timestamptz NOT NULL,
    round_id  uuid NOT NULL,
    PRIMARY KEY (player_id, opened_at, round_id)
);

-- A round in one row. `later` is the JSON text of [stake id, player id, amount] triples, NULL without any.
CREATE VIEW round_records AS
SELECT r.id, r.game, r.version, r.asset, r.stakes, r.inputs, r.policy, r.opened_at, r.deadline,
    (
        SELECT json_agg(json_build_array(s.stake_id, s.player_id, s.amount) ORDER BY s.stake_id, s.player_id)::text
        FROM round_stakes s WHERE s.round_id = r.id
    ) AS later,
    e.how, e.version AS end_version, e.ended_at, e.reason, e.payouts, e.result, e.fair
FROM rounds r LEFT JOIN round_results e ON e.round_id = r.id;
