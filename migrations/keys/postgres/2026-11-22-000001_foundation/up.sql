-- The key store: wrapped keys and nothing else. The root key is in neither store.

CREATE TABLE installation (
  id uuid NOT NULL PRIMARY KEY,
  created_at timestamptz NOT NULL
);

CREATE TABLE kek (
  version integer NOT NULL PRIMARY KEY,
  state text NOT NULL,
  commitment bytea NOT NULL CHECK (length(commitment) = 32),
  sealed bytea,
  wraps bigint NOT NULL,
  created_at timestamptz NOT NULL,
  retired_at timestamptz,
  destroyed_at timestamptz
);

CREATE TABLE subject_key (
  subject uuid NOT NULL,
  version integer NOT NULL,
  kek_version integer NOT NULL,
  wrapped bytea NOT NULL CHECK (length(wrapped) = 98),
  created_at timestamptz NOT NULL,
  PRIMARY KEY (subject, version)
);
CREATE INDEX subject_key_kek ON subject_key (kek_version, subject);

CREATE TABLE secret (
  purpose text NOT NULL,
  version integer NOT NULL,
  kek_version integer NOT NULL,
  wrapped bytea NOT NULL CHECK (length(wrapped) = 98),
  state text NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (purpose, version)
);

CREATE TABLE audit_key (
  id uuid NOT NULL PRIMARY KEY,
  holder_kind smallint NOT NULL,
  holder uuid NOT NULL,
  class smallint NOT NULL,
  kek_version integer NOT NULL,
  wrapped bytea NOT NULL CHECK (length(wrapped) = 98),
  created_at timestamptz NOT NULL,
  UNIQUE (holder_kind, holder, class)
);

CREATE TABLE owned_key (
  id uuid NOT NULL PRIMARY KEY,
  purpose text NOT NULL,
  owner uuid NOT NULL,
  version integer NOT NULL,
  kek_version integer NOT NULL,
  wrapped bytea NOT NULL CHECK (length(wrapped) = 98),
  created_at timestamptz NOT NULL
);
CREATE INDEX owned_key_owner ON owned_key (owner);

-- A commitment that stands here is never inserted again, nor any key for a subject erased as a whole.
CREATE TABLE key_tombstone (
  purpose text NOT NULL,
  holder uuid NOT NULL,
  version integer NOT NULL,
  commitment bytea NOT NULL CHECK (length(commitment) = 32),
  whole smallint NOT NULL,
  erased_at timestamptz NOT NULL,
  position bigint,
  PRIMARY KEY (purpose, holder, version)
);
CREATE UNIQUE INDEX key_tombstone_commitment ON key_tombstone (commitment);

CREATE TABLE key_job (
  id uuid NOT NULL PRIMARY KEY,
  kind text NOT NULL,
  from_version integer NOT NULL,
  to_version integer NOT NULL,
  position bytea NOT NULL,
  total bigint NOT NULL,
  done bigint NOT NULL,
  state text NOT NULL,
  holder uuid,
  lease_until timestamptz,
  created_at timestamptz NOT NULL
);

-- One job of a kind at a time, whoever begins it.
CREATE UNIQUE INDEX key_job_open ON key_job (kind) WHERE state <> 'ended';

CREATE TABLE last_signed (
  log smallint NOT NULL PRIMARY KEY,
  size bigint NOT NULL,
  root bytea NOT NULL CHECK (length(root) = 32),
  note text NOT NULL
);

CREATE TABLE instance (
  id uuid NOT NULL PRIMARY KEY,
  kek_version integer NOT NULL,
  started_at timestamptz NOT NULL,
  seen_at timestamptz NOT NULL
);
