-- Time-stamps on checkpoints, by authority. Without a reply: asked for, and not there yet.
CREATE TABLE audit_anchor (
  log INTEGER NOT NULL,
  size INTEGER NOT NULL,
  kind TEXT NOT NULL,
  asked_at INTEGER NOT NULL,
  reply BLOB,
  made_at INTEGER,
  overdue INTEGER NOT NULL,
  PRIMARY KEY (log, size, kind)
) STRICT;
CREATE INDEX audit_anchor_kind ON audit_anchor (kind, size);
