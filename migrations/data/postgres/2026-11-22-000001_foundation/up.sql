-- What the gateway holds about people, promises and the log of it all. Keys live in another store.
-- Times are instants; ids are 16 bytes; every audited row names its leaf in `entry`.

CREATE TABLE installation (
  id uuid NOT NULL PRIMARY KEY,
  created_at timestamptz NOT NULL,
  policy bytea NOT NULL CHECK (length(policy) = 32)
);

-- Append-only: field and category numbers in sealed records mean what stood here when they were sealed.
CREATE TABLE term (
  kind smallint NOT NULL,
  number integer NOT NULL,
  text text NOT NULL,
  PRIMARY KEY (kind, number),
  UNIQUE (kind, text)
);

CREATE TABLE policy_version (
  hash bytea NOT NULL PRIMARY KEY,
  files bytea NOT NULL,
  activated_at timestamptz NOT NULL,
  entry uuid NOT NULL
);

-- One state row a person. `version` rises in the commit of every stop, link, erasure and suppression.
CREATE TABLE subject (
  id uuid NOT NULL PRIMARY KEY,
  profile uuid NOT NULL,
  version bigint NOT NULL,
  status smallint NOT NULL,
  device smallint NOT NULL,
  key_version integer NOT NULL,
  retained_purpose text,
  suppressed smallint NOT NULL,
  created_at timestamptz NOT NULL,
  entry uuid NOT NULL
);
CREATE INDEX subject_profile ON subject (profile) WHERE profile <> id;

CREATE TABLE identifier (
  id uuid NOT NULL PRIMARY KEY,
  subject uuid NOT NULL,
  kind text NOT NULL,
  namespace text NOT NULL,
  sealed bytea NOT NULL,
  proof smallint NOT NULL,
  added_at timestamptz NOT NULL,
  entry uuid NOT NULL
);
CREATE INDEX identifier_subject ON identifier (subject);

CREATE TABLE identifier_index (
  kind text NOT NULL,
  namespace text NOT NULL,
  index_version integer NOT NULL,
  value bytea NOT NULL CHECK (length(value) = 16),
  identifier uuid NOT NULL,
  subject uuid NOT NULL,
  PRIMARY KEY (kind, namespace, index_version, value)
);
CREATE INDEX identifier_index_subject ON identifier_index (subject);

-- Append-only joins and partings of two subjects; what is live follows from the newest row of a pair.
CREATE TABLE identity_edge (
  id uuid NOT NULL PRIMARY KEY,
  operation smallint NOT NULL,
  subject_a uuid NOT NULL,
  subject_b uuid NOT NULL,
  index_a bytea NOT NULL,
  index_b bytea NOT NULL,
  kind_a text NOT NULL,
  kind_b text NOT NULL,
  proof smallint NOT NULL,
  collector text NOT NULL,
  at timestamptz NOT NULL,
  entry uuid NOT NULL
);
CREATE INDEX identity_edge_a ON identity_edge (subject_a);
CREATE INDEX identity_edge_b ON identity_edge (subject_b);

CREATE TABLE record (
  id uuid NOT NULL PRIMARY KEY,
  subject uuid NOT NULL,
  device uuid,
  collector text NOT NULL,
  kind text NOT NULL,
  occurred_at timestamptz NOT NULL,
  collected_at timestamptz NOT NULL,
  policy bytea NOT NULL,
  plain text NOT NULL,
  sealed bytea NOT NULL,
  -- The one purpose it is kept for after an erasure (Art. 17(3)).
  retained text,
  entry uuid NOT NULL
);
CREATE INDEX record_subject ON record (subject);

-- The keyed mark of an event already taken in, kept seven days.
CREATE TABLE seen_event (
  mark bytea NOT NULL PRIMARY KEY CHECK (length(mark) = 32),
  at timestamptz NOT NULL
);
CREATE INDEX seen_event_at ON seen_event (at);

CREATE TABLE consent_line (
  id uuid NOT NULL PRIMARY KEY,
  subject uuid NOT NULL,
  purpose text NOT NULL,
  channel text NOT NULL,
  scope smallint NOT NULL,
  created_at timestamptz NOT NULL,
  entry uuid NOT NULL,
  UNIQUE (subject, purpose, channel, scope)
);

CREATE TABLE consent_event (
  id uuid NOT NULL PRIMARY KEY,
  consent uuid NOT NULL,
  subject uuid NOT NULL,
  interaction uuid NOT NULL,
  kind smallint NOT NULL,
  actor smallint NOT NULL,
  proof smallint NOT NULL,
  notice text,
  notice_version integer,
  notice_language text,
  notice_hash bytea,
  policy bytea NOT NULL,
  given_at timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL,
  valid_until timestamptz,
  explicit smallint NOT NULL,
  collector text NOT NULL,
  method text NOT NULL,
  evidence bytea,
  mac bytea NOT NULL CHECK (length(mac) = 32),
  entry uuid NOT NULL
);
CREATE INDEX consent_event_subject ON consent_event (subject);

-- A promise to hand one record to one recipient for one purpose. What it may carry is decided when it is sent.
CREATE TABLE delivery (
  id uuid NOT NULL PRIMARY KEY,
  recipient text NOT NULL,
  purpose text NOT NULL,
  subject uuid NOT NULL,
  record uuid NOT NULL,
  message uuid NOT NULL,
  state smallint NOT NULL,
  attempts integer NOT NULL,
  next_at timestamptz NOT NULL,
  lease_until timestamptz,
  holder uuid,
  reason text,
  created_at timestamptz NOT NULL,
  settled_at timestamptz,
  entry uuid NOT NULL
);
-- What may be claimed is found by the time it is due, what was left on the wire by the end of its lease,
-- and whether somebody's earlier promise stands before it by the third: each look is bounded.
CREATE INDEX delivery_due ON delivery (recipient, next_at, id) WHERE state = 0;
CREATE INDEX delivery_sending ON delivery (lease_until, recipient) WHERE state = 1;
CREATE INDEX delivery_open_subject ON delivery (subject, recipient, id) WHERE state IN (0, 1);
CREATE INDEX delivery_dead ON delivery (recipient, id) WHERE state = 4;
CREATE INDEX delivery_subject ON delivery (subject, state);

-- Who received which fields of whom, for what, when and under which safeguard (Art. 15(1)(c), 19).
CREATE TABLE disclosure (
  id uuid NOT NULL PRIMARY KEY,
  subject uuid NOT NULL,
  recipient text NOT NULL,
  purpose text NOT NULL,
  fields text NOT NULL,
  safeguard text NOT NULL,
  record uuid,
  delivery uuid UNIQUE,
  at timestamptz NOT NULL,
  entry uuid NOT NULL
);
CREATE INDEX disclosure_subject ON disclosure (subject);

CREATE TABLE pseudonym (
  recipient text NOT NULL,
  value text NOT NULL,
  subject uuid NOT NULL,
  version integer NOT NULL,
  PRIMARY KEY (recipient, value)
);
CREATE INDEX pseudonym_subject ON pseudonym (subject);

-- Whether deliveries to a recipient flow: paused by a refusal of its own or by a person, disabled when gone.
CREATE TABLE recipient_state (
  recipient text NOT NULL PRIMARY KEY,
  state smallint NOT NULL,
  reason text NOT NULL,
  changed_at timestamptz NOT NULL,
  entry uuid NOT NULL
);

CREATE TABLE token (
  id uuid NOT NULL PRIMARY KEY,
  kind smallint NOT NULL,
  name text NOT NULL,
  hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
  last_four text NOT NULL,
  scopes text NOT NULL,
  collector text NOT NULL,
  recipient text NOT NULL,
  secret_version integer NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  disabled_at timestamptz,
  last_used_at timestamptz,
  mac bytea NOT NULL CHECK (length(mac) = 32),
  entry uuid NOT NULL
);

CREATE TABLE idempotency (
  mark bytea NOT NULL PRIMARY KEY CHECK (length(mark) = 32),
  body_hash bytea NOT NULL,
  subject uuid,
  status integer NOT NULL,
  answer text NOT NULL,
  at timestamptz NOT NULL
);
CREATE INDEX idempotency_at ON idempotency (at);
CREATE INDEX idempotency_subject ON idempotency (subject);

CREATE TABLE suppression (
  value bytea NOT NULL CHECK (length(value) = 32),
  scope text NOT NULL,
  kind text NOT NULL,
  namespace text NOT NULL,
  base_version integer NOT NULL,
  top_version integer NOT NULL,
  normaliser integer NOT NULL,
  day text NOT NULL,
  reason text NOT NULL,
  review text NOT NULL,
  PRIMARY KEY (value, scope)
);

CREATE TABLE late_event (
  value bytea NOT NULL PRIMARY KEY CHECK (length(value) = 32),
  erased_at timestamptz NOT NULL,
  secret_version integer NOT NULL
);

-- Everything one message of a person asks; its contents are sealed under the case's own key.
CREATE TABLE subject_case (
  id uuid NOT NULL PRIMARY KEY,
  reference text NOT NULL UNIQUE,
  channel text NOT NULL,
  opened_by text NOT NULL,
  language text NOT NULL,
  received_at timestamptz NOT NULL,
  trigger_day text NOT NULL,
  key uuid NOT NULL,
  sealed bytea NOT NULL,
  entry uuid NOT NULL
);

CREATE TABLE subject_request (
  id uuid NOT NULL PRIMARY KEY,
  subject_case uuid NOT NULL,
  kind text NOT NULL,
  state text NOT NULL,
  outcome text,
  subject uuid,
  assurance text NOT NULL,
  version bigint NOT NULL,
  target_date text NOT NULL,
  nominal_due text NOT NULL,
  statutory_due text NOT NULL,
  created_at timestamptz NOT NULL,
  answered_at timestamptz,
  closed_at timestamptz,
  entry uuid NOT NULL
);
CREATE INDEX subject_request_case ON subject_request (subject_case);
CREATE INDEX subject_request_subject ON subject_request (subject);

CREATE TABLE task (
  id uuid NOT NULL PRIMARY KEY,
  request uuid NOT NULL,
  target text NOT NULL,
  verb text NOT NULL,
  outcome text NOT NULL,
  proof text,
  attempts integer NOT NULL,
  next_at timestamptz,
  lease_until timestamptz,
  holder uuid,
  message uuid NOT NULL,
  nonce bytea,
  pseudonym text,
  key uuid,
  sealed bytea,
  settled_at timestamptz,
  entry uuid NOT NULL
);
CREATE INDEX task_request ON task (request);
CREATE INDEX task_due ON task (next_at) WHERE next_at IS NOT NULL;

CREATE TABLE package (
  id uuid NOT NULL PRIMARY KEY,
  request uuid NOT NULL,
  subject uuid,
  key uuid NOT NULL,
  manifest_hash bytea NOT NULL,
  sealed bytea NOT NULL,
  made_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  fetched_at timestamptz,
  entry uuid NOT NULL
);
CREATE INDEX package_request ON package (request);
CREATE INDEX package_subject ON package (subject);

-- The ledger of erasures: written before the first destructive act, and the only key of a retry.
CREATE TABLE erasure (
  request uuid NOT NULL PRIMARY KEY,
  subjects bytea NOT NULL,
  step smallint NOT NULL,
  plan_hash bytea NOT NULL,
  plan text NOT NULL,
  fingerprints bytea NOT NULL,
  deleted text NOT NULL,
  key uuid,
  sealed bytea,
  started_at timestamptz NOT NULL,
  completed_at timestamptz,
  handed_out_at timestamptz,
  entry uuid NOT NULL
);

CREATE TABLE import_job (
  id uuid NOT NULL PRIMARY KEY,
  file_hash bytea NOT NULL UNIQUE,
  collector text NOT NULL,
  position bigint NOT NULL,
  total bigint NOT NULL,
  accepted bigint NOT NULL,
  refused bigint NOT NULL,
  rejected bigint NOT NULL,
  state smallint NOT NULL,
  started_at timestamptz NOT NULL,
  entry uuid NOT NULL
);

CREATE TABLE lease (
  name text NOT NULL PRIMARY KEY,
  holder uuid NOT NULL,
  epoch bigint NOT NULL,
  until timestamptz NOT NULL
);

-- The log. Numbers of logs: 1, and a successor only after a loss.
CREATE TABLE audit_log (
  log smallint NOT NULL PRIMARY KEY,
  origin text NOT NULL UNIQUE,
  size bigint NOT NULL,
  root bytea NOT NULL CHECK (length(root) = 32),
  frontier bytea NOT NULL,
  last_hash bytea NOT NULL,
  last_time timestamptz NOT NULL,
  epoch bigint NOT NULL,
  minimum_index bigint NOT NULL,
  closed smallint NOT NULL
);

CREATE TABLE audit_leaf (
  log smallint NOT NULL,
  seq bigint NOT NULL,
  entry uuid NOT NULL UNIQUE,
  time timestamptz NOT NULL,
  event smallint NOT NULL,
  leaf bytea NOT NULL,
  hash bytea NOT NULL,
  PRIMARY KEY (log, seq)
);

CREATE TABLE audit_tile (
  log smallint NOT NULL,
  level smallint NOT NULL,
  idx bigint NOT NULL,
  hashes bytea NOT NULL CHECK (length(hashes) = 8192),
  root bytea NOT NULL,
  PRIMARY KEY (log, level, idx)
);

CREATE TABLE audit_sealed (
  entry uuid NOT NULL,
  role smallint NOT NULL,
  holder uuid NOT NULL,
  class smallint NOT NULL,
  time timestamptz NOT NULL,
  sealed bytea NOT NULL,
  PRIMARY KEY (entry, role)
);
CREATE INDEX audit_sealed_holder ON audit_sealed (holder);
CREATE INDEX audit_sealed_age ON audit_sealed (class, time);

CREATE TABLE audit_checkpoint (
  log smallint NOT NULL,
  size bigint NOT NULL,
  note text NOT NULL,
  signed_at timestamptz NOT NULL,
  PRIMARY KEY (log, size)
);

-- Resistance, not evidence: the owner of the tables can disable these; the verifier finds what they then do.
CREATE FUNCTION amanat_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
CREATE FUNCTION audit_leaf_delete() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF OLD.seq >= (SELECT minimum_index FROM audit_log WHERE log = OLD.log) THEN RAISE EXCEPTION 'audit_leaf is append-only'; END IF;
  RETURN OLD;
END $$;
CREATE FUNCTION audit_leaf_dense() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF EXISTS (SELECT 1 FROM (SELECT log, min(seq) AS first, max(seq) AS last, count(*) AS n FROM added GROUP BY log) a JOIN audit_log h USING (log)
             WHERE h.closed <> 0 OR a.first <> h.size OR a.last <> h.size + a.n - 1) THEN RAISE EXCEPTION 'audit_leaf must stay dense'; END IF;
  RETURN NULL;
END $$;
CREATE FUNCTION audit_log_forward() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.size < OLD.size OR NEW.epoch < OLD.epoch OR NEW.minimum_index < OLD.minimum_index OR NEW.minimum_index > NEW.size
     OR NEW.log <> OLD.log OR NEW.origin <> OLD.origin OR OLD.closed <> 0 THEN RAISE EXCEPTION 'audit_log moves forward only'; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER audit_leaf_no_update BEFORE UPDATE ON audit_leaf FOR EACH STATEMENT EXECUTE FUNCTION amanat_append_only();
CREATE TRIGGER audit_leaf_no_truncate BEFORE TRUNCATE ON audit_leaf FOR EACH STATEMENT EXECUTE FUNCTION amanat_append_only();
CREATE TRIGGER audit_leaf_no_delete BEFORE DELETE ON audit_leaf FOR EACH ROW EXECUTE FUNCTION audit_leaf_delete();
CREATE TRIGGER audit_leaf_dense AFTER INSERT ON audit_leaf REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION audit_leaf_dense();
CREATE TRIGGER audit_log_forward BEFORE UPDATE ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_log_forward();
CREATE TRIGGER audit_log_kept BEFORE DELETE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION amanat_append_only();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION amanat_append_only();
CREATE TRIGGER term_no_update BEFORE UPDATE ON term FOR EACH STATEMENT EXECUTE FUNCTION amanat_append_only();
CREATE TRIGGER term_no_delete BEFORE DELETE ON term FOR EACH STATEMENT EXECUTE FUNCTION amanat_append_only();
CREATE TRIGGER consent_event_no_update BEFORE UPDATE ON consent_event FOR EACH STATEMENT EXECUTE FUNCTION amanat_append_only();
CREATE TRIGGER disclosure_no_update BEFORE UPDATE ON disclosure FOR EACH STATEMENT EXECUTE FUNCTION amanat_append_only();
CREATE TRIGGER identity_edge_no_update BEFORE UPDATE ON identity_edge FOR EACH STATEMENT EXECUTE FUNCTION amanat_append_only();

-- Every trigger fires always: else session_replication_role = replica would skip it.
ALTER TABLE audit_leaf ENABLE ALWAYS TRIGGER audit_leaf_no_update;
ALTER TABLE audit_leaf ENABLE ALWAYS TRIGGER audit_leaf_no_truncate;
ALTER TABLE audit_leaf ENABLE ALWAYS TRIGGER audit_leaf_no_delete;
ALTER TABLE audit_leaf ENABLE ALWAYS TRIGGER audit_leaf_dense;
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_forward;
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_kept;
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_no_truncate;
ALTER TABLE term ENABLE ALWAYS TRIGGER term_no_update;
ALTER TABLE term ENABLE ALWAYS TRIGGER term_no_delete;
ALTER TABLE consent_event ENABLE ALWAYS TRIGGER consent_event_no_update;
ALTER TABLE disclosure ENABLE ALWAYS TRIGGER disclosure_no_update;
ALTER TABLE identity_edge ENABLE ALWAYS TRIGGER identity_edge_no_update;
