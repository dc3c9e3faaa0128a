DROP TABLE audit_prune;
DROP TABLE audit_scrub;
