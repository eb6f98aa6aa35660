-- migrate:up
-- Friendships are written and players deleted under the lock of the players concerned (`friends`: lock_players), and
-- whoever writes looks whether they exist; the same of members of groups (`groups`: lock_joiners, lock_leaver, lock_groups).
-- That keeps what the references kept, without a check and a lock per row and side.
-- All at once, in the order in which nodes take them, and for a moment only: no node is waited for that waits for us.
LOCK TABLE groups, group_members, friends, users IN ACCESS EXCLUSIVE MODE;
ALTER TABLE friends
    DROP CONSTRAINT friends_user_id_fkey,
    DROP CONSTRAINT friends_friend_id_fkey;
ALTER TABLE group_members
    DROP CONSTRAINT group_members_user_id_fkey,
    DROP CONSTRAINT group_members_group_id_fkey;
DROP INDEX friends_of_friend;
