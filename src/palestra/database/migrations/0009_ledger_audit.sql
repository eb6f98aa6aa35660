-- migrate:up

-- What lines do to accounts, two rows a line. A post moves its own amount and frees all that its hold had set aside.
CREATE VIEW ledger_effects AS
SELECT line.id, effect.account, effect.balance, effect.held
FROM ledger_lines line
CROSS JOIN LATERAL (VALUES
    (line.debit,
     CASE WHEN line.step IN (0, 2) THEN -line.amount ELSE 0 END,
     CASE line.step
         WHEN 1 THEN line.amount
         WHEN 2 THEN -(SELECT hold.amount FROM ledger_lines hold WHERE hold.id = line.hold)
         WHEN 3 THEN -line.amount
         WHEN 4 THEN -line.amount
         ELSE 0
     END),
    (line.credit, CASE WHEN line.step IN (0, 2) THEN line.amount ELSE 0 END, 0)
) AS effect (account, balance, held);

-- Steps of the snapshots, each from where the one before ended: two nodes cannot take the same one. `lines` counts all
-- lines up to `through_id`.
CREATE TABLE ledger_snapshot_steps (
    after_id   bigint PRIMARY KEY,
    through_id bigint NOT NULL UNIQUE,
    lines      bigint NOT NULL,
    taken_at   timestamptz NOT NULL,
    CHECK (through_id > after_id)
);

-- What whole accounts had, by their lines up to `through_id`: a row where a step met lines of the account. Stripes added
-- up may need more than 64 bits. Shard key: account_id.
CREATE TABLE ledger_snapshots (
    account_id bigint NOT NULL,
    through_id bigint NOT NULL,
    balance    numeric NOT NULL,
    held       numeric NOT NULL,
    PRIMARY KEY (account_id, through_id)
);
CREATE INDEX ledger_snapshots_of_step ON ledger_snapshots (through_id);

-- Audits that were done. `through_id` is the latest step they began from, `cycled_to` the last account of their share of
-- all accounts, none at the end of a cycle.
CREATE TABLE ledger_audits (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    audited_at timestamptz NOT NULL,
    through_id bigint NOT NULL,
    cycled_to  bigint,
    lines      bigint NOT NULL,
    findings   integer NOT NULL
);

-- What audits found wrong. The same difference of the same thing is one finding.
CREATE TABLE ledger_findings (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    found_at timestamptz NOT NULL,
    kind     text NOT NULL,
    subject  text NOT NULL,
    expected numeric NOT NULL,
    found    numeric NOT NULL
);
CREATE UNIQUE INDEX ledger_findings_once ON ledger_findings (kind, subject, (found - expected));

-- A signed root a day over the heads of the strands that moved since the one before; the text of features/ledger/roots.py.
CREATE TABLE ledger_roots (
    day        date PRIMARY KEY,
    signed_at  timestamptz NOT NULL,
    previous   bytea NOT NULL UNIQUE,
    heads      text NOT NULL,
    root       bytea NOT NULL,
    signature  bytea NOT NULL,
    public_key bytea NOT NULL,
    key_id     text NOT NULL
);

CREATE FUNCTION ledger_refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or deleted', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER ledger_findings_are_final BEFORE UPDATE OR DELETE ON ledger_findings
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_rewriting();
CREATE TRIGGER ledger_roots_are_final BEFORE UPDATE OR DELETE ON ledger_roots
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse_rewriting();
CREATE TRIGGER ledger_findings_are_kept BEFORE TRUNCATE ON ledger_findings
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_rewriting();
CREATE TRIGGER ledger_roots_are_kept BEFORE TRUNCATE ON ledger_roots
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_rewriting();
