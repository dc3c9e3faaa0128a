-- What witnesses said of our checkpoints, the newest line of each for each size; and how the log stands with them.

CREATE TABLE audit_cosignature (
  log INTEGER NOT NULL,
  size INTEGER NOT NULL,
  witness TEXT NOT NULL,
  line TEXT NOT NULL,
  time INTEGER NOT NULL,
  PRIMARY KEY (log, size, witness)
) STRICT;

CREATE TABLE audit_witnessing (
  log INTEGER NOT NULL PRIMARY KEY,
  trust BLOB NOT NULL,
  unwitnessed_since INTEGER
) STRICT;
