DROP TABLE audit_witnessing;
DROP TABLE audit_cosignature;
