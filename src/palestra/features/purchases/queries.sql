-- name: touch
-- Purchases that are kept already are seen again, locked in the order of their ids. One that nobody owns becomes its
-- bringer's.
WITH locked AS (
    SELECT transaction_id FROM purchases WHERE store = $1::smallint AND transaction_id = ANY($2::text[])
    ORDER BY transaction_id
    FOR NO KEY UPDATE
)
UPDATE purchases AS p SET
    update_time = $4,
    player_id = CASE WHEN p.player_id = '00000000-0000-0000-0000-000000000000' THEN $3::uuid ELSE p.player_id END
FROM locked
WHERE p.store = $1::smallint AND p.transaction_id = locked.transaction_id
RETURNING p.store, p.transaction_id, p.player_id::text AS player_id, p.product_id, p.quantity, p.environment, p.response,
    p.purchase_time, p.create_time, p.update_time, p.refund_time;

-- name: keep
-- Keeps a purchase, unless there is one of its transaction: then nothing is returned. Of two at once the second waits for
-- the first.
INSERT INTO purchases (store, transaction_id, player_id, product_id, quantity, environment, response, purchase_time,
    create_time, update_time, refund_time)
VALUES ($1::smallint, $2, $3::uuid, $4, $5, $6::smallint, $7, $8, $9, $9, $10)
ON CONFLICT DO NOTHING
RETURNING create_time;

-- name: refund
-- Notes that a purchase was refunded, if that is news; of whom and what.
UPDATE purchases SET refund_time = $3, update_time = $4
WHERE store = $1::smallint AND transaction_id = $2 AND refund_time IS NULL
RETURNING player_id::text AS player_id, product_id, quantity, environment;

-- name: reverse_refund
-- Takes a refund back.
UPDATE purchases SET refund_time = NULL, update_time = $3 WHERE store = $1::smallint AND transaction_id = $2;

-- name: get
-- One purchase.
SELECT store, transaction_id, player_id::text AS player_id, product_id, quantity, environment, response, purchase_time,
    create_time, update_time, refund_time
FROM purchases WHERE store = $1::smallint AND transaction_id = $2;

-- name: list
-- A player's purchases behind a position, newest first.
SELECT store, transaction_id, player_id::text AS player_id, product_id, quantity, environment, response, purchase_time,
    create_time, update_time, refund_time
FROM purchases
WHERE player_id = $1::uuid AND (purchase_time, store, transaction_id) < ($2::timestamptz, $3::smallint, $4::text)
ORDER BY purchase_time DESC, store DESC, transaction_id DESC
LIMIT $5;

-- name: lock_subscription
-- A subscription, held until the transaction ends.
SELECT player_id::text AS player_id, expiry_time, refund_time, stated_at
FROM subscriptions WHERE store = $1::smallint AND original_id = $2
FOR UPDATE;

-- name: keep_subscription
-- Keeps a subscription, unless there is one of its first transaction. Of two at once the second waits for the first.
INSERT INTO subscriptions (store, original_id, player_id, product_id, environment, response, notification, purchase_time,
    create_time, update_time, expiry_time, refund_time, stated_at)
VALUES ($1::smallint, $2, $3::uuid, $4, $5::smallint, $6, $7, $8, $9, $9, $10, $11, $12)
ON CONFLICT DO NOTHING;

-- name: renew
-- Replaces what a store said earlier.
UPDATE subscriptions SET product_id = $3, environment = $4::smallint, response = $5, purchase_time = $6, expiry_time = $7,
    refund_time = $8, stated_at = $9
WHERE store = $1::smallint AND original_id = $2;

-- name: supersede
-- A subscription that a newer one took the place of is over.
UPDATE subscriptions SET expiry_time = least(expiry_time, $3), stated_at = $3
WHERE store = $1::smallint AND original_id = $2;

-- name: claim
-- A subscription is seen again, by its bringer ($3) or in a notification ($4); NULL leaves what there is.
UPDATE subscriptions SET update_time = $5, player_id = coalesce($3::uuid, player_id),
    notification = coalesce($4::text, notification)
WHERE store = $1::smallint AND original_id = $2
RETURNING store, original_id, player_id::text AS player_id, product_id, environment, response, notification, purchase_time,
    create_time, update_time, expiry_time, refund_time, stated_at;

-- name: subscription_of
-- A player's subscription of a product: the last to expire.
SELECT store, original_id, player_id::text AS player_id, product_id, environment, response, notification, purchase_time,
    create_time, update_time, expiry_time, refund_time, stated_at
FROM subscriptions WHERE player_id = $1::uuid AND product_id = $2
ORDER BY expiry_time DESC
LIMIT 1;

-- name: older_subscriptions
-- Subscriptions of players behind a position, newest first, for a whole batch of readers.
SELECT w.nr, found.*
FROM unnest($1::uuid[], $2::timestamptz[], $3::smallint[], $4::text[], $5::integer[])
    WITH ORDINALITY AS w (player_id, purchase_time, store, original_id, size, nr)
CROSS JOIN LATERAL (
    SELECT s.store, s.original_id, s.player_id::text, s.product_id, s.environment, s.response, s.notification,
        s.purchase_time, s.create_time, s.update_time, s.expiry_time, s.refund_time, s.stated_at
    FROM subscriptions s
    WHERE s.player_id = w.player_id
        AND (s.purchase_time, s.store, s.original_id) < (w.purchase_time, w.store, w.original_id)
    ORDER BY s.purchase_time DESC, s.store DESC, s.original_id DESC
    LIMIT w.size
) AS found;

-- name: newer_subscriptions
-- Subscriptions of players before a position, nearest first, for a whole batch of readers.
SELECT w.nr, found.*
FROM unnest($1::uuid[], $2::timestamptz[], $3::smallint[], $4::text[], $5::integer[])
    WITH ORDINALITY AS w (player_id, purchase_time, store, original_id, size, nr)
CROSS JOIN LATERAL (
    SELECT s.store, s.original_id, s.player_id::text, s.product_id, s.environment, s.response, s.notification,
        s.purchase_time, s.create_time, s.update_time, s.expiry_time, s.refund_time, s.stated_at
    FROM subscriptions s
    WHERE s.player_id = w.player_id
        AND (s.purchase_time, s.store, s.original_id) > (w.purchase_time, w.store, w.original_id)
    ORDER BY s.purchase_time, s.store, s.original_id
    LIMIT w.size
) AS found;

-- name: forget_purchases
-- Purchases of a player who is being deleted are kept and name nobody any more, nor do the words of the store.
UPDATE purchases SET player_id = '00000000-0000-0000-0000-000000000000', response = '' WHERE player_id = $1::uuid;

-- name: forget_subscriptions
-- The same for subscriptions.
UPDATE subscriptions SET player_id = '00000000-0000-0000-0000-000000000000', response = '', notification = ''
WHERE player_id = $1::uuid;

-- name: export_purchases
-- What a player bought, with the words of the stores.
SELECT json_build_object('store', (ARRAY['apple', 'google', 'huawei', 'facebook instant', 'samsung'])[store + 1],
    'transaction_id', transaction_id, 'product_id', product_id, 'quantity', quantity, 'environment', environment,
    'response', response, 'purchase_time', purchase_time, 'create_time', create_time, 'update_time', update_time,
    'refund_time', refund_time)::text
FROM purchases WHERE player_id = $1::uuid
ORDER BY purchases.purchase_time, purchases.store, purchases.transaction_id
LIMIT $2;

-- name: export_subscriptions
-- What a player subscribed to, with the words of the stores.
SELECT json_build_object('store', (ARRAY['apple', 'google'])[store + 1], 'original_id', original_id,
    'product_id', product_id, 'environment', environment, 'response', response, 'notification', notification,
    'purchase_time', purchase_time, 'create_time', create_time, 'update_time', update_time,
    'expiry_time', expiry_time, 'refund_time', refund_time)::text
FROM subscriptions WHERE player_id = $1::uuid
ORDER BY subscriptions.purchase_time, subscriptions.store, subscriptions.original_id
LIMIT $2;
