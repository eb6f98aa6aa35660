-- migrate:up

-- A tournament is a leaderboard with a duration: windows in which scores count, and conditions for taking part.
-- Times that are not set are 'epoch'. `size` counts who takes part in the period that ends at `size_expires_at`, where
-- `max_size` limits it.
-- Of either kind, what ended until `announced_at` has been told to the game.
ALTER TABLE leaderboards
    ADD COLUMN duration_seconds integer NOT NULL DEFAULT 0 CHECK (duration_seconds >= 0),
    ADD COLUMN start_at         timestamptz NOT NULL DEFAULT 'epoch',
    ADD COLUMN end_at           timestamptz NOT NULL DEFAULT 'epoch',
    ADD COLUMN title            text NOT NULL DEFAULT '' CHECK (length(title) <= 255),
    ADD COLUMN description      text NOT NULL DEFAULT '' CHECK (length(description) <= 255),
    ADD COLUMN category         smallint NOT NULL DEFAULT 0 CHECK (category BETWEEN 0 AND 127),
    ADD COLUMN max_size         integer NOT NULL DEFAULT 2147483647 CHECK (max_size > 0),
    ADD COLUMN max_num_score    integer NOT NULL DEFAULT 1000000 CHECK (max_num_score > 0),
    ADD COLUMN join_required    boolean NOT NULL DEFAULT false,
    ADD COLUMN size             integer NOT NULL DEFAULT 0 CHECK (size BETWEEN 0 AND max_size),
    ADD COLUMN size_expires_at  timestamptz NOT NULL DEFAULT 'epoch',
    ADD COLUMN announced_at     timestamptz NOT NULL DEFAULT now();
CREATE INDEX tournaments_in_order ON leaderboards (start_at, end_at DESC, category, id) WHERE duration_seconds > 0;
