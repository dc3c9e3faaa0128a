ALTER TABLE installation DROP COLUMN schema_told;
