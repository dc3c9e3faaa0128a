-- The schema that the log was told of last: SHA-256 of the names of all migrations.
ALTER TABLE installation ADD COLUMN schema_told BLOB;
