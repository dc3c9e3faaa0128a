DROP INDEX record_device;
DROP INDEX delivery_settled_subject;
CREATE INDEX delivery_subject ON delivery (subject, state);
