-- Which key signs the log is asked with every checkpoint, and said by a handful of leaves.
CREATE INDEX audit_leaf_key_rotated ON audit_leaf (log, seq) WHERE event = 104;
