-- migrate:up

-- Indexes over the values of stored objects, as games declare them. Another declaration under the same name is another index:
-- `id` is the name with a hash of the rest. Until `ready`, objects up to (`built_key`, `built_user`) are in it.
CREATE TABLE object_indexes (
    id         text PRIMARY KEY CHECK (length(id) <= 256),
    ready      boolean NOT NULL DEFAULT false,
    built_key  text NOT NULL DEFAULT '',
    built_user uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    built_rows bigint NOT NULL DEFAULT 0
);

-- The objects in an index: `fields` is what it looks at of their values.
CREATE TABLE object_index_entries (
    index_id        text NOT NULL,
    key             text COLLATE "C" NOT NULL,
    user_id         uuid NOT NULL,
    permission_read smallint NOT NULL,
    fields          jsonb NOT NULL,
    PRIMARY KEY (index_id, key, user_id)
);
CREATE INDEX object_index_entries_of_owner ON object_index_entries (user_id);

-- What is found by: each value of each field, a number or the beginning of a text.
-- kind: 0 text, 1 number, 2 time in microseconds since 1970, 3 no value. Rows that say so sort their object by the field.
CREATE TABLE object_index_values (
    index_id     text NOT NULL,
    field        text NOT NULL,
    kind         smallint NOT NULL,
    number_value double precision NOT NULL,
    text_value   text COLLATE "C" NOT NULL CHECK (length(text_value) <= 256),
    key          text COLLATE "C" NOT NULL,
    user_id      uuid NOT NULL,
    sorts        boolean NOT NULL
);
CREATE INDEX object_index_values_found ON object_index_values (index_id, field, kind, number_value, text_value, key, user_id)
    WHERE NOT sorts;
CREATE INDEX object_index_values_sorted ON object_index_values (index_id, field, kind, number_value, text_value, key, user_id)
    WHERE sorts;
CREATE INDEX object_index_values_of_object ON object_index_values (index_id, key, user_id);
CREATE INDEX object_index_values_of_owner ON object_index_values (user_id);
