-- Time-stamps on checkpoints, by authority. Without a reply: asked for, and not there yet.
CREATE TABLE audit_anchor (
  log smallint NOT NULL,
  size bigint NOT NULL,
  kind text NOT NULL,
  asked_at timestamptz NOT NULL,
  reply bytea,
  made_at timestamptz,
  overdue smallint NOT NULL,
  PRIMARY KEY (log, size, kind)
);
CREATE INDEX audit_anchor_kind ON audit_anchor (kind, size);
