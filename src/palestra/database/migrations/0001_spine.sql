-- migrate:up

-- Players. Whatever identifies a person outside the game lives sealed in `identities`, never here.
CREATE TABLE users (
    id            uuid PRIMARY KEY,
    username      text NOT NULL UNIQUE CHECK (octet_length(username) BETWEEN 1 AND 128),
    display_name  text CHECK (length(display_name) <= 255),
    avatar_url    text CHECK (length(avatar_url) <= 512),
    lang_tag      text NOT NULL DEFAULT 'en' CHECK (length(lang_tag) BETWEEN 1 AND 18),
    location      text CHECK (length(location) <= 255),
    timezone      text CHECK (length(timezone) <= 255),
    metadata      jsonb NOT NULL DEFAULT '{}',
    password_hash text,
    edge_count    integer NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    disabled_at   timestamptz
);

-- Device ids, e-mail addresses, custom ids and accounts at providers: found by a keyed blind index, kept as ciphertext
-- that is bound to its row. One identifier belongs to one player; a player has one of each kind, devices excepted.
CREATE TABLE identities (
    kind       smallint NOT NULL,
    lookup     bytea NOT NULL,
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    sealed     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, lookup)
);
CREATE INDEX identities_of_user ON identities (user_id, kind);
CREATE UNIQUE INDEX identities_one_of_a_kind ON identities (user_id, kind) WHERE kind <> 1;

-- What the key ring makes of a known text: a node with another ring could neither find nor read anybody.
CREATE TABLE key_ring (
    only_one    boolean PRIMARY KEY CHECK (only_one),
    check_value bytea NOT NULL
);

-- Tokens that may no longer be used although they have not expired.
CREATE TABLE revoked_tokens (
    token_id   uuid NOT NULL,
    refresh    boolean NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (token_id, refresh)
);
CREATE INDEX revoked_tokens_by_expiry ON revoked_tokens (expires_at);

-- Players all of whose tokens issued before a moment are void.
CREATE TABLE revoked_users (
    user_id     uuid PRIMARY KEY,
    issued_before timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL
);
CREATE INDEX revoked_users_by_expiry ON revoked_users (expires_at);

-- Stored objects.
CREATE TABLE objects (
    collection       text NOT NULL CHECK (length(collection) <= 128),
    key              text NOT NULL CHECK (length(key) <= 128),
    user_id          uuid NOT NULL,
    value            jsonb NOT NULL,
    version          text NOT NULL,
    permission_read  smallint NOT NULL,
    permission_write smallint NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (collection, key, user_id)
) WITH (fillfactor = 80);
CREATE INDEX objects_of_owner ON objects (user_id, collection, permission_read, key);
CREATE INDEX objects_public ON objects (collection, key, user_id) WHERE permission_read = 2;

-- Leaderboards and their records; `expires_at` is the end of the period a record belongs to, 'epoch' when it never ends.
CREATE TABLE leaderboards (
    id            text PRIMARY KEY CHECK (length(id) <= 128),
    authoritative boolean NOT NULL,
    sort          smallint NOT NULL,
    operator      smallint NOT NULL,
    reset         text CHECK (length(reset) <= 64),
    metadata      jsonb NOT NULL DEFAULT '{}',
    enable_ranks  boolean NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE leaderboard_records (
    leaderboard_id text NOT NULL,
    expires_at     timestamptz NOT NULL DEFAULT 'epoch',
    owner_id       uuid NOT NULL,
    username       text,
    score          bigint NOT NULL CHECK (score >= 0),
    subscore       bigint NOT NULL CHECK (subscore >= 0),
    num_score      integer NOT NULL DEFAULT 1,
    max_num_score  integer NOT NULL DEFAULT 1000000,
    metadata       jsonb NOT NULL DEFAULT '{}',
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (leaderboard_id, expires_at, owner_id)
) WITH (fillfactor = 80);
CREATE INDEX leaderboard_records_order ON leaderboard_records (leaderboard_id, expires_at, score, subscore, owner_id);
CREATE INDEX leaderboard_records_of_owner ON leaderboard_records (owner_id);

-- Friendships: one directed row on each side.
-- state: 0 friend, 1 invite sent, 2 invite received, 3 blocked.
CREATE TABLE friends (
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    friend_id  uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    state      smallint NOT NULL CHECK (state BETWEEN 0 AND 3),
    position   bigint NOT NULL,
    metadata   jsonb NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, friend_id)
);
CREATE INDEX friends_in_order ON friends (user_id, state, position);
CREATE INDEX friends_of_friend ON friends (friend_id);

-- Groups and the edges to their members.
-- state: 0 superadmin, 1 admin, 2 member, 3 join request, 4 banned.
CREATE TABLE groups (
    id          uuid PRIMARY KEY,
    creator_id  uuid NOT NULL,
    name        text NOT NULL UNIQUE CHECK (length(name) <= 255),
    description text CHECK (length(description) <= 255),
    avatar_url  text CHECK (length(avatar_url) <= 512),
    lang_tag    text NOT NULL DEFAULT 'en' CHECK (length(lang_tag) <= 18),
    metadata    jsonb NOT NULL DEFAULT '{}',
    open        boolean NOT NULL DEFAULT false,
    edge_count  integer NOT NULL DEFAULT 0,
    max_count   integer NOT NULL DEFAULT 100,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE group_members (
    group_id   uuid NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    state      smallint NOT NULL CHECK (state BETWEEN 0 AND 4),
    position   bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX group_members_in_order ON group_members (group_id, state, position);
CREATE INDEX group_members_of_user ON group_members (user_id, state, position);

-- Wallets: one row per player and asset; every change leaves an entry, and its key makes a repeated change a no-op.
CREATE TABLE wallets (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    asset   text NOT NULL CHECK (length(asset) BETWEEN 1 AND 64),
    amount  bigint NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (user_id, asset)
) WITH (fillfactor = 80);
-- What wallets offer to other features in SQL: a player's wallet as one JSON object, to be read along with the player.
CREATE VIEW player_wallets AS
SELECT user_id, jsonb_object_agg(asset, amount) AS wallet FROM wallets GROUP BY user_id;
CREATE TABLE wallet_changes (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL,
    key        text NOT NULL CHECK (length(key) <= 128),
    changeset  jsonb NOT NULL,
    result     jsonb NOT NULL,
    metadata   jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (user_id, key)
);
CREATE INDEX wallet_changes_of_user ON wallet_changes (user_id, created_at DESC, id);

-- Chat history. A channel is (mode, subject, subcontext, label) in its wire form.
CREATE TABLE messages (
    id         uuid PRIMARY KEY,
    channel_id text NOT NULL,
    code       smallint NOT NULL DEFAULT 0,
    sender_id  uuid NOT NULL,
    username   text NOT NULL,
    content    jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX messages_in_order ON messages (channel_id, created_at, id);
CREATE INDEX messages_of_sender ON messages (sender_id);
