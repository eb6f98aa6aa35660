-- migrate:up

-- Which nonce of which seed a key stands for, for as long as the player has an account: asked again, the draw is the same.
-- Shard key: owner.
CREATE TABLE fair_keyed_draws (
    owner  text NOT NULL REFERENCES fair_seeds (owner) ON DELETE CASCADE,
    key    text NOT NULL CHECK (length(key) BETWEEN 1 AND 128),
    number integer NOT NULL,
    nonce  bigint NOT NULL,
    PRIMARY KEY (owner, key)
);
