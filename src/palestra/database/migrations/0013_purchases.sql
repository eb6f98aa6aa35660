-- migrate:up

-- Every transaction of every store, once for ever. The nil id owns what nobody has claimed, and what belonged to players who
-- are gone. `refund_time` is NULL while the money was not given back.
CREATE TABLE purchases (
    store          smallint NOT NULL CHECK (store BETWEEN 0 AND 4),
    transaction_id text NOT NULL,
    player_id      uuid NOT NULL,
    product_id     text NOT NULL,
    quantity       integer NOT NULL CHECK (quantity > 0),
    environment    smallint NOT NULL,
    response       text NOT NULL,
    purchase_time  timestamptz NOT NULL,
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL,
    refund_time    timestamptz,
    PRIMARY KEY (store, transaction_id)
);
CREATE INDEX purchases_by_player ON purchases (player_id, purchase_time, store, transaction_id);

-- Subscriptions by their first transaction. `stated_at` is how new the store's word is that the row holds.
CREATE TABLE subscriptions (
    store          smallint NOT NULL CHECK (store BETWEEN 0 AND 1),
    original_id    text NOT NULL,
    player_id      uuid NOT NULL,
    product_id     text NOT NULL,
    environment    smallint NOT NULL,
    response       text NOT NULL,
    notification   text NOT NULL,
    purchase_time  timestamptz NOT NULL,
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL,
    expiry_time    timestamptz NOT NULL,
    refund_time    timestamptz,
    stated_at      timestamptz NOT NULL,
    PRIMARY KEY (store, original_id)
);
CREATE INDEX subscriptions_by_player ON subscriptions (player_id, purchase_time, store, original_id);
CREATE INDEX subscriptions_by_product ON subscriptions (player_id, product_id, expiry_time);
