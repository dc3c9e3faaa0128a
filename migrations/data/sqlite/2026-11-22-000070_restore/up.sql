-- The few leaves that name destroyed keys (702, 703, 730, 903): each start holds them against the keys
-- that live. The query must name the events in the same words.
CREATE INDEX audit_leaf_destroyed_keys ON audit_leaf (log, seq) WHERE event IN (702, 703, 730, 903);

-- A restore under way: the log as it was put back, before leaves were brought to it. While the row
-- stands, nobody is served; it goes with the leaf that tells of the restore.
CREATE TABLE audit_restore (
  log INTEGER NOT NULL PRIMARY KEY,
  size INTEGER NOT NULL,
  root BLOB NOT NULL CHECK (length(root) = 32),
  time INTEGER NOT NULL
) STRICT;
