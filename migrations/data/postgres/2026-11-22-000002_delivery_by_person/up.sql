-- A promise stands in one index by person at a time: the open ones in `delivery_open_subject`, the others
-- here, so that taking an event in writes one page of it less.
DROP INDEX delivery_subject;
CREATE INDEX delivery_settled_subject ON delivery (subject) WHERE state NOT IN (0, 1);

-- An erased device is forgotten by the records of others; without this, every record is looked at.
CREATE INDEX record_device ON record (device) WHERE device IS NOT NULL;
