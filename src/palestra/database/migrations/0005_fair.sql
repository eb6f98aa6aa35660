-- migrate:up

-- Server seeds of provably fair draws. A player's row holds the seed in use and the one after it, both sealed, and goes on
-- to the next pair in place; a round has one seed, sealed until its reveal. `nonce` is the next to be used.
CREATE TABLE fair_seeds (
    owner           text PRIMARY KEY CHECK (length(owner) BETWEEN 1 AND 134),
    user_id         uuid REFERENCES users (id) ON DELETE CASCADE,
    number          integer NOT NULL CHECK (number > 0),
    commitment      bytea NOT NULL,
    sealed          bytea,
    next_commitment bytea,
    next_sealed     bytea,
    client_seed     text CHECK (length(client_seed) BETWEEN 1 AND 64),
    nonce           bigint NOT NULL DEFAULT 0 CHECK (nonce >= 0),
    CHECK (CASE WHEN user_id IS NULL THEN num_nonnulls(next_commitment, next_sealed) = 0
        ELSE num_nonnulls(sealed, next_commitment, next_sealed, client_seed) = 4 END)
) WITH (fillfactor = 80);
CREATE INDEX fair_seeds_of_user ON fair_seeds (user_id);

-- Seeds that were revealed, in the clear, kept as long as their owner; `draws` nonces were used, from 0 on.
CREATE TABLE fair_past_seeds (
    owner       text NOT NULL REFERENCES fair_seeds (owner) ON DELETE CASCADE,
    number      integer NOT NULL,
    commitment  bytea NOT NULL,
    server_seed bytea NOT NULL,
    client_seed text NOT NULL,
    draws       bigint NOT NULL,
    revealed_at timestamptz NOT NULL,
    PRIMARY KEY (owner, number)
);
