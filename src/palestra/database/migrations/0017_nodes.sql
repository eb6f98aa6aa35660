-- migrate:up

-- Nodes by name. Each claim of a name has a higher epoch than all before it; `seen_at` is by the database's clock.
CREATE SEQUENCE node_epochs;
CREATE TABLE nodes (
    name    text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 63),
    epoch   bigint NOT NULL,
    process jsonb NOT NULL,
    serves  boolean NOT NULL,
    state   jsonb NOT NULL DEFAULT '{}',
    seen_at timestamptz NOT NULL
);

-- What one node at a time may do, until when, and in which epoch of that node.
CREATE TABLE leases (
    name       text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 63),
    node       text NOT NULL,
    epoch      bigint NOT NULL,
    expires_at timestamptz NOT NULL
);
