-- migrate:up

-- What accounts offer to other features in SQL: who there is.
CREATE VIEW player_ids AS SELECT id FROM users;

-- Notifications that wait in players' inboxes. The nil sender is the server.
CREATE TABLE notifications (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    subject    text NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    content    jsonb NOT NULL,
    code       smallint NOT NULL,
    sender_id  uuid NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX notifications_in_order ON notifications (user_id, created_at, id);
CREATE INDEX notifications_of_sender ON notifications (sender_id);
