-- migrate:up
-- Friendships are written and players deleted under the lock of the players concerned (`friends`: lock_players), and
-- whoever writes looks whether they exist. That keeps what the references kept, without a check and a lock per row and side.
ALTER TABLE friends
    DROP CONSTRAINT friends_user_id_fkey,
    DROP CONSTRAINT friends_friend_id_fkey;
-- Every edge but a block has its counterpart, by which it is found.
DROP INDEX friends_of_friend;
CREATE INDEX friends_blocking ON friends (friend_id) WHERE state = 3;
-- The same of members of groups (`groups`: lock_joiners, lock_leaver, lock_groups).
ALTER TABLE group_members
    DROP CONSTRAINT group_members_user_id_fkey,
    DROP CONSTRAINT group_members_group_id_fkey;
