-- Where the daily re-reading of the log stands, and what the last whole one came to. One row a log.
-- `progress` is what the verifier needs to go on; NULL between two readings.
CREATE TABLE audit_scrub (
  log INTEGER NOT NULL PRIMARY KEY,
  round INTEGER NOT NULL,
  position INTEGER NOT NULL,
  progress TEXT,
  finished_at INTEGER,
  finished_size INTEGER,
  faults INTEGER,
  first_fault INTEGER
) STRICT;

-- A prune that was told to delete: rows of leaves below `until` go. The row goes last.
CREATE TABLE audit_prune (
  log INTEGER NOT NULL PRIMARY KEY,
  until INTEGER NOT NULL
) STRICT;
