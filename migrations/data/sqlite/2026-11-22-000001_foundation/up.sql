-- What the gateway holds about people, promises and the log of it all. Keys live in another store.
-- Times are microseconds since 1970 UTC; ids are 16 bytes; every audited row names its leaf in `entry`.

CREATE TABLE installation (
  id BLOB NOT NULL PRIMARY KEY,
  created_at INTEGER NOT NULL,
  policy BLOB NOT NULL CHECK (length(policy) = 32)
) STRICT;

-- Append-only: field and category numbers in sealed records mean what stood here when they were sealed.
CREATE TABLE term (
  kind INTEGER NOT NULL,
  number INTEGER NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (kind, number),
  UNIQUE (kind, text)
) STRICT;

CREATE TABLE policy_version (
  hash BLOB NOT NULL PRIMARY KEY,
  files BLOB NOT NULL,
  activated_at INTEGER NOT NULL,
  entry BLOB NOT NULL
) STRICT;

-- One state row a person. `version` rises in the commit of every stop, link, erasure and suppression.
CREATE TABLE subject (
  id BLOB NOT NULL PRIMARY KEY,
  profile BLOB NOT NULL,
  version INTEGER NOT NULL,
  status INTEGER NOT NULL,
  device INTEGER NOT NULL,
  key_version INTEGER NOT NULL,
  retained_purpose TEXT,
  suppressed INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  entry BLOB NOT NULL
) STRICT;
CREATE INDEX subject_profile ON subject (profile) WHERE profile <> id;

CREATE TABLE identifier (
  id BLOB NOT NULL PRIMARY KEY,
  subject BLOB NOT NULL,
  kind TEXT NOT NULL,
  namespace TEXT NOT NULL,
  sealed BLOB NOT NULL,
  proof INTEGER NOT NULL,
  added_at INTEGER NOT NULL,
  entry BLOB NOT NULL
) STRICT;
CREATE INDEX identifier_subject ON identifier (subject);

CREATE TABLE identifier_index (
  kind TEXT NOT NULL,
  namespace TEXT NOT NULL,
  index_version INTEGER NOT NULL,
  value BLOB NOT NULL CHECK (length(value) = 16),
  identifier BLOB NOT NULL,
  subject BLOB NOT NULL,
  PRIMARY KEY (kind, namespace, index_version, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX identifier_index_subject ON identifier_index (subject);

-- Append-only joins and partings of two subjects; what is live follows from the newest row of a pair.
CREATE TABLE identity_edge (
  id BLOB NOT NULL PRIMARY KEY,
  operation INTEGER NOT NULL,
  subject_a BLOB NOT NULL,
  subject_b BLOB NOT NULL,
  index_a BLOB NOT NULL,
  index_b BLOB NOT NULL,
  kind_a TEXT NOT NULL,
  kind_b TEXT NOT NULL,
  proof INTEGER NOT NULL,
  collector TEXT NOT NULL,
  at INTEGER NOT NULL,
  entry BLOB NOT NULL
) STRICT;
CREATE INDEX identity_edge_a ON identity_edge (subject_a);
CREATE INDEX identity_edge_b ON identity_edge (subject_b);

CREATE TABLE record (
  id BLOB NOT NULL PRIMARY KEY,
  subject BLOB NOT NULL,
  device BLOB,
  collector TEXT NOT NULL,
  kind TEXT NOT NULL,
  occurred_at INTEGER NOT NULL,
  collected_at INTEGER NOT NULL,
  policy BLOB NOT NULL,
  plain TEXT NOT NULL,
  sealed BLOB NOT NULL,
  -- The one purpose it is kept for after an erasure (Art. 17(3)).
  retained TEXT,
  entry BLOB NOT NULL
) STRICT;
CREATE INDEX record_subject ON record (subject);

-- The keyed mark of an event already taken in, kept seven days.
CREATE TABLE seen_event (
  mark BLOB NOT NULL PRIMARY KEY CHECK (length(mark) = 32),
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_event_at ON seen_event (at);

CREATE TABLE consent_line (
  id BLOB NOT NULL PRIMARY KEY,
  subject BLOB NOT NULL,
  purpose TEXT NOT NULL,
  channel TEXT NOT NULL,
  scope INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  entry BLOB NOT NULL,
  UNIQUE (subject, purpose, channel, scope)
) STRICT;

CREATE TABLE consent_event (
  id BLOB NOT NULL PRIMARY KEY,
  consent BLOB NOT NULL,
  subject BLOB NOT NULL,
  interaction BLOB NOT NULL,
  kind INTEGER NOT NULL,
  actor INTEGER NOT NULL,
  proof INTEGER NOT NULL,
  notice TEXT,
  notice_version INTEGER,
  notice_language TEXT,
  notice_hash BLOB,
  policy BLOB NOT NULL,
  given_at INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL,
  valid_until INTEGER,
  explicit INTEGER NOT NULL,
  collector TEXT NOT NULL,
  method TEXT NOT NULL,
  evidence BLOB,
  mac BLOB NOT NULL CHECK (length(mac) = 32),
  entry BLOB NOT NULL
) STRICT;
CREATE INDEX consent_event_subject ON consent_event (subject);

-- A promise to hand one record to one recipient for one purpose. What it may carry is decided when it is sent.
CREATE TABLE delivery (
  id BLOB NOT NULL PRIMARY KEY,
  recipient TEXT NOT NULL,
  purpose TEXT NOT NULL,
  subject BLOB NOT NULL,
  record BLOB NOT NULL,
  message BLOB NOT NULL,
  state INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  next_at INTEGER NOT NULL,
  lease_until INTEGER,
  holder BLOB,
  reason TEXT,
  created_at INTEGER NOT NULL,
  settled_at INTEGER,
  entry BLOB NOT NULL
) STRICT, WITHOUT ROWID;
-- What may be claimed is found by the time it is due, what was left on the wire by the end of its lease,
-- and whether somebody's earlier promise stands before it by the third: each look is bounded.
CREATE INDEX delivery_due ON delivery (recipient, next_at, id) WHERE state = 0;
CREATE INDEX delivery_sending ON delivery (lease_until, recipient) WHERE state = 1;
CREATE INDEX delivery_open_subject ON delivery (subject, recipient, id) WHERE state IN (0, 1);
CREATE INDEX delivery_dead ON delivery (recipient, id) WHERE state = 4;
CREATE INDEX delivery_subject ON delivery (subject, state);

-- Who received which fields of whom, for what, when and under which safeguard (Art. 15(1)(c), 19).
CREATE TABLE disclosure (
  id BLOB NOT NULL PRIMARY KEY,
  subject BLOB NOT NULL,
  recipient TEXT NOT NULL,
  purpose TEXT NOT NULL,
  fields TEXT NOT NULL,
  safeguard TEXT NOT NULL,
  record BLOB,
  delivery BLOB UNIQUE,
  at INTEGER NOT NULL,
  entry BLOB NOT NULL
) STRICT;
CREATE INDEX disclosure_subject ON disclosure (subject);

CREATE TABLE pseudonym (
  recipient TEXT NOT NULL,
  value TEXT NOT NULL,
  subject BLOB NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (recipient, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX pseudonym_subject ON pseudonym (subject);

-- Whether deliveries to a recipient flow: paused by a refusal of its own or by a person, disabled when gone.
CREATE TABLE recipient_state (
  recipient TEXT NOT NULL PRIMARY KEY,
  state INTEGER NOT NULL,
  reason TEXT NOT NULL,
  changed_at INTEGER NOT NULL,
  entry BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
  id BLOB NOT NULL PRIMARY KEY,
  kind INTEGER NOT NULL,
  name TEXT NOT NULL,
  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  last_four TEXT NOT NULL,
  scopes TEXT NOT NULL,
  collector TEXT NOT NULL,
  recipient TEXT NOT NULL,
  secret_version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  disabled_at INTEGER,
  last_used_at INTEGER,
  mac BLOB NOT NULL CHECK (length(mac) = 32),
  entry BLOB NOT NULL
) STRICT;

CREATE TABLE idempotency (
  mark BLOB NOT NULL PRIMARY KEY CHECK (length(mark) = 32),
  body_hash BLOB NOT NULL,
  subject BLOB,
  status INTEGER NOT NULL,
  answer TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_at ON idempotency (at);
CREATE INDEX idempotency_subject ON idempotency (subject);

CREATE TABLE suppression (
  value BLOB NOT NULL CHECK (length(value) = 32),
  scope TEXT NOT NULL,
  kind TEXT NOT NULL,
  namespace TEXT NOT NULL,
  base_version INTEGER NOT NULL,
  top_version INTEGER NOT NULL,
  normaliser INTEGER NOT NULL,
  day TEXT NOT NULL,
  reason TEXT NOT NULL,
  review TEXT NOT NULL,
  PRIMARY KEY (value, scope)
) STRICT, WITHOUT ROWID;

CREATE TABLE late_event (
  value BLOB NOT NULL PRIMARY KEY CHECK (length(value) = 32),
  erased_at INTEGER NOT NULL,
  secret_version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Everything one message of a person asks; its contents are sealed under the case's own key.
CREATE TABLE subject_case (
  id BLOB NOT NULL PRIMARY KEY,
  reference TEXT NOT NULL UNIQUE,
  channel TEXT NOT NULL,
  opened_by TEXT NOT NULL,
  language TEXT NOT NULL,
  received_at INTEGER NOT NULL,
  trigger_day TEXT NOT NULL,
  key BLOB NOT NULL,
  sealed BLOB NOT NULL,
  entry BLOB NOT NULL
) STRICT;

CREATE TABLE subject_request (
  id BLOB NOT NULL PRIMARY KEY,
  subject_case BLOB NOT NULL,
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  outcome TEXT,
  subject BLOB,
  assurance TEXT NOT NULL,
  version INTEGER NOT NULL,
  target_date TEXT NOT NULL,
  nominal_due TEXT NOT NULL,
  statutory_due TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  answered_at INTEGER,
  closed_at INTEGER,
  entry BLOB NOT NULL
) STRICT;
CREATE INDEX subject_request_case ON subject_request (subject_case);
CREATE INDEX subject_request_subject ON subject_request (subject);

CREATE TABLE task (
  id BLOB NOT NULL PRIMARY KEY,
  request BLOB NOT NULL,
  target TEXT NOT NULL,
  verb TEXT NOT NULL,
  outcome TEXT NOT NULL,
  proof TEXT,
  attempts INTEGER NOT NULL,
  next_at INTEGER,
  lease_until INTEGER,
  holder BLOB,
  message BLOB NOT NULL,
  nonce BLOB,
  pseudonym TEXT,
  key BLOB,
  sealed BLOB,
  settled_at INTEGER,
  entry BLOB NOT NULL
) STRICT;
CREATE INDEX task_request ON task (request);
CREATE INDEX task_due ON task (next_at) WHERE next_at IS NOT NULL;

CREATE TABLE package (
  id BLOB NOT NULL PRIMARY KEY,
  request BLOB NOT NULL,
  subject BLOB,
  key BLOB NOT NULL,
  manifest_hash BLOB NOT NULL,
  sealed BLOB NOT NULL,
  made_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  fetched_at INTEGER,
  entry BLOB NOT NULL
) STRICT;
CREATE INDEX package_request ON package (request);
CREATE INDEX package_subject ON package (subject);

-- The ledger of erasures: written before the first destructive act, and the only key of a retry.
CREATE TABLE erasure (
  request BLOB NOT NULL PRIMARY KEY,
  subjects BLOB NOT NULL,
  step INTEGER NOT NULL,
  plan_hash BLOB NOT NULL,
  plan TEXT NOT NULL,
  fingerprints BLOB NOT NULL,
  deleted TEXT NOT NULL,
  key BLOB,
  sealed BLOB,
  started_at INTEGER NOT NULL,
  completed_at INTEGER,
  handed_out_at INTEGER,
  entry BLOB NOT NULL
) STRICT;

CREATE TABLE import_job (
  id BLOB NOT NULL PRIMARY KEY,
  file_hash BLOB NOT NULL UNIQUE,
  collector TEXT NOT NULL,
  position INTEGER NOT NULL,
  total INTEGER NOT NULL,
  accepted INTEGER NOT NULL,
  refused INTEGER NOT NULL,
  rejected INTEGER NOT NULL,
  state INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  entry BLOB NOT NULL
) STRICT;

CREATE TABLE lease (
  name TEXT NOT NULL PRIMARY KEY,
  holder BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The log. Numbers of logs: 1, and a successor only after a loss.
CREATE TABLE audit_log (
  log INTEGER NOT NULL PRIMARY KEY,
  origin TEXT NOT NULL UNIQUE,
  size INTEGER NOT NULL,
  root BLOB NOT NULL CHECK (length(root) = 32),
  frontier BLOB NOT NULL,
  last_hash BLOB NOT NULL,
  last_time INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  minimum_index INTEGER NOT NULL,
  closed INTEGER NOT NULL
) STRICT;

CREATE TABLE audit_leaf (
  log INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  entry BLOB NOT NULL UNIQUE,
  time INTEGER NOT NULL,
  event INTEGER NOT NULL,
  leaf BLOB NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (log, seq)
) STRICT;

CREATE TABLE audit_tile (
  log INTEGER NOT NULL,
  level INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  hashes BLOB NOT NULL CHECK (length(hashes) = 8192),
  root BLOB NOT NULL,
  PRIMARY KEY (log, level, idx)
) STRICT;

CREATE TABLE audit_sealed (
  entry BLOB NOT NULL,
  role INTEGER NOT NULL,
  holder BLOB NOT NULL,
  class INTEGER NOT NULL,
  time INTEGER NOT NULL,
  sealed BLOB NOT NULL,
  PRIMARY KEY (entry, role)
) STRICT;
CREATE INDEX audit_sealed_holder ON audit_sealed (holder);
CREATE INDEX audit_sealed_age ON audit_sealed (class, time);

CREATE TABLE audit_checkpoint (
  log INTEGER NOT NULL,
  size INTEGER NOT NULL,
  note TEXT NOT NULL,
  signed_at INTEGER NOT NULL,
  PRIMARY KEY (log, size)
) STRICT;

-- Resistance, not evidence: whoever owns the file can drop these; the verifier finds what they then do.
CREATE TRIGGER audit_leaf_no_update BEFORE UPDATE ON audit_leaf BEGIN SELECT RAISE(ABORT, 'audit_leaf is append-only'); END;
CREATE TRIGGER audit_leaf_no_delete BEFORE DELETE ON audit_leaf
  WHEN OLD.seq >= (SELECT minimum_index FROM audit_log WHERE log = OLD.log)
  BEGIN SELECT RAISE(ABORT, 'audit_leaf is append-only'); END;
CREATE TRIGGER audit_leaf_dense BEFORE INSERT ON audit_leaf
  WHEN NEW.seq IS NOT (SELECT coalesce(max(seq) + 1, 0) FROM audit_leaf WHERE log = NEW.log)
    OR EXISTS (SELECT 1 FROM audit_leaf WHERE entry = NEW.entry)
  BEGIN SELECT RAISE(ABORT, 'audit_leaf must stay dense and unique'); END;
CREATE TRIGGER audit_log_forward BEFORE UPDATE ON audit_log
  WHEN NEW.size < OLD.size OR NEW.epoch < OLD.epoch OR NEW.minimum_index < OLD.minimum_index
    OR NEW.minimum_index > NEW.size OR NEW.log IS NOT OLD.log OR NEW.origin IS NOT OLD.origin OR OLD.closed = 1
  BEGIN SELECT RAISE(ABORT, 'audit_log moves forward only'); END;
CREATE TRIGGER audit_log_kept BEFORE DELETE ON audit_log BEGIN SELECT RAISE(ABORT, 'audit_log is kept'); END;
CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log
  WHEN EXISTS (SELECT 1 FROM audit_log WHERE log = NEW.log OR origin = NEW.origin)
  BEGIN SELECT RAISE(ABORT, 'audit_log is kept'); END;
CREATE TRIGGER term_no_update BEFORE UPDATE ON term BEGIN SELECT RAISE(ABORT, 'term is append-only'); END;
CREATE TRIGGER term_no_delete BEFORE DELETE ON term BEGIN SELECT RAISE(ABORT, 'term is append-only'); END;
CREATE TRIGGER consent_event_no_update BEFORE UPDATE ON consent_event BEGIN SELECT RAISE(ABORT, 'consent_event is append-only'); END;
CREATE TRIGGER disclosure_no_update BEFORE UPDATE ON disclosure BEGIN SELECT RAISE(ABORT, 'disclosure is append-only'); END;
CREATE TRIGGER identity_edge_no_update BEFORE UPDATE ON identity_edge BEGIN SELECT RAISE(ABORT, 'identity_edge is append-only'); END;
CREATE TRIGGER consent_event_no_replace BEFORE INSERT ON consent_event
  WHEN EXISTS (SELECT 1 FROM consent_event WHERE id = NEW.id)
  BEGIN SELECT RAISE(ABORT, 'consent_event is append-only'); END;
CREATE TRIGGER disclosure_no_replace BEFORE INSERT ON disclosure
  WHEN EXISTS (SELECT 1 FROM disclosure WHERE id = NEW.id)
  BEGIN SELECT RAISE(ABORT, 'disclosure is append-only'); END;
CREATE TRIGGER identity_edge_no_replace BEFORE INSERT ON identity_edge
  WHEN EXISTS (SELECT 1 FROM identity_edge WHERE id = NEW.id)
  BEGIN SELECT RAISE(ABORT, 'identity_edge is append-only'); END;
