-- migrate:up

-- One index per order in which groups are listed. Names are compared in small letters, by code point.
CREATE INDEX groups_by_name ON groups ((lower(name) COLLATE "C"), (name COLLATE "C"));
CREATE INDEX groups_by_update ON groups (updated_at, edge_count, id);
CREATE INDEX groups_by_size ON groups (edge_count, updated_at, id);
CREATE INDEX groups_by_language ON groups (lang_tag, edge_count, id);
CREATE INDEX groups_by_openness ON groups (open, edge_count, id);
