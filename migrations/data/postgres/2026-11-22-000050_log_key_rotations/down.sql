DROP INDEX audit_leaf_key_rotated;
