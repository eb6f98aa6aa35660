-- migrate:up

-- Launch tokens that were used, and by which request: a token works once, though the request may be repeated.
CREATE TABLE provider_launches (
    token_id   uuid PRIMARY KEY,
    request_id text NOT NULL CHECK (length(request_id) <= 128),
    expires_at timestamptz NOT NULL
);
CREATE INDEX provider_launches_by_expiry ON provider_launches (expires_at);

-- What the requests of a provider did to an asset on a UTC day, in minor units.
CREATE TABLE provider_reports (
    provider    text NOT NULL CHECK (length(provider) <= 32),
    day         date NOT NULL,
    asset       text NOT NULL CHECK (length(asset) <= 64),
    debits      bigint NOT NULL,
    debited     numeric NOT NULL,
    credits     bigint NOT NULL,
    credited    numeric NOT NULL,
    rollbacks   bigint NOT NULL,
    rolled_back numeric NOT NULL,
    made_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, day, asset)
);
