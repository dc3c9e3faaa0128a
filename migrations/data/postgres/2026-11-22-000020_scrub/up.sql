-- Where the daily re-reading of the log stands, and what the last whole one came to. One row a log.
-- `progress` is what the verifier needs to go on; NULL between two readings.
CREATE TABLE audit_scrub (
  log smallint NOT NULL PRIMARY KEY,
  round bigint NOT NULL,
  position bigint NOT NULL,
  progress text,
  finished_at timestamptz,
  finished_size bigint,
  faults bigint,
  first_fault bigint
);

-- A prune that was told to delete: rows of leaves below `until` go. The row goes last.
CREATE TABLE audit_prune (
  log smallint NOT NULL PRIMARY KEY,
  until bigint NOT NULL
);
