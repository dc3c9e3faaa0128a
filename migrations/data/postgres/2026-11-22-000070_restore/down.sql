DROP TABLE audit_restore;
DROP INDEX audit_leaf_destroyed_keys;
