-- migrate:up

-- The record of limit changes: who asked for what, and when it came into force. Rows are only added; they go with the
-- account. What is in force stands in the ledger's guards.
CREATE TABLE limit_changes (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    author     text NOT NULL CHECK (author IN ('player', 'operator')),
    content    jsonb NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX limit_changes_of_user ON limit_changes (user_id, created_at DESC, id);
