-- The key store: wrapped keys and nothing else. The root key is in neither store.

CREATE TABLE installation (
  id BLOB NOT NULL PRIMARY KEY,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE kek (
  version INTEGER NOT NULL PRIMARY KEY,
  state TEXT NOT NULL,
  commitment BLOB NOT NULL CHECK (length(commitment) = 32),
  sealed BLOB,
  wraps INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  retired_at INTEGER,
  destroyed_at INTEGER
) STRICT;

CREATE TABLE subject_key (
  subject BLOB NOT NULL,
  version INTEGER NOT NULL,
  kek_version INTEGER NOT NULL,
  wrapped BLOB NOT NULL CHECK (length(wrapped) = 98),
  created_at INTEGER NOT NULL,
  PRIMARY KEY (subject, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX subject_key_kek ON subject_key (kek_version, subject);

CREATE TABLE secret (
  purpose TEXT NOT NULL,
  version INTEGER NOT NULL,
  kek_version INTEGER NOT NULL,
  wrapped BLOB NOT NULL CHECK (length(wrapped) = 98),
  state TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (purpose, version)
) STRICT;

CREATE TABLE audit_key (
  id BLOB NOT NULL PRIMARY KEY,
  holder_kind INTEGER NOT NULL,
  holder BLOB NOT NULL,
  class INTEGER NOT NULL,
  kek_version INTEGER NOT NULL,
  wrapped BLOB NOT NULL CHECK (length(wrapped) = 98),
  created_at INTEGER NOT NULL,
  UNIQUE (holder_kind, holder, class)
) STRICT;

CREATE TABLE owned_key (
  id BLOB NOT NULL PRIMARY KEY,
  purpose TEXT NOT NULL,
  owner BLOB NOT NULL,
  version INTEGER NOT NULL,
  kek_version INTEGER NOT NULL,
  wrapped BLOB NOT NULL CHECK (length(wrapped) = 98),
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX owned_key_owner ON owned_key (owner);

-- A commitment that stands here is never inserted again, nor any key for a subject erased as a whole.
CREATE TABLE key_tombstone (
  purpose TEXT NOT NULL,
  holder BLOB NOT NULL,
  version INTEGER NOT NULL,
  commitment BLOB NOT NULL CHECK (length(commitment) = 32),
  whole INTEGER NOT NULL,
  erased_at INTEGER NOT NULL,
  position INTEGER,
  PRIMARY KEY (purpose, holder, version)
) STRICT;
CREATE UNIQUE INDEX key_tombstone_commitment ON key_tombstone (commitment);

CREATE TABLE key_job (
  id BLOB NOT NULL PRIMARY KEY,
  kind TEXT NOT NULL,
  from_version INTEGER NOT NULL,
  to_version INTEGER NOT NULL,
  position BLOB NOT NULL,
  total INTEGER NOT NULL,
  done INTEGER NOT NULL,
  state TEXT NOT NULL,
  holder BLOB,
  lease_until INTEGER,
  created_at INTEGER NOT NULL
) STRICT;

-- One job of a kind at a time, whoever begins it.
CREATE UNIQUE INDEX key_job_open ON key_job (kind) WHERE state <> 'ended';

CREATE TABLE last_signed (
  log INTEGER NOT NULL PRIMARY KEY,
  size INTEGER NOT NULL,
  root BLOB NOT NULL CHECK (length(root) = 32),
  note TEXT NOT NULL
) STRICT;

CREATE TABLE instance (
  id BLOB NOT NULL PRIMARY KEY,
  kek_version INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL
) STRICT;
