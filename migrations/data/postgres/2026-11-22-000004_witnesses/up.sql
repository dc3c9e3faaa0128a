-- What witnesses said of our checkpoints, the newest line of each for each size; and how the log stands with them.

CREATE TABLE audit_cosignature (
  log smallint NOT NULL,
  size bigint NOT NULL,
  witness text NOT NULL,
  line text NOT NULL,
  time timestamptz NOT NULL,
  PRIMARY KEY (log, size, witness)
);

CREATE TABLE audit_witnessing (
  log smallint NOT NULL PRIMARY KEY,
  trust bytea NOT NULL,
  unwitnessed_since timestamptz
);
