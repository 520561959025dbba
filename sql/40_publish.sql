-- Publishing, and what a handler may call about its own event.

CREATE FUNCTION saga.publish(topic text, payload jsonb, event_type text DEFAULT NULL, key text DEFAULT NULL,
    correlation_id text DEFAULT NULL, causation_id text DEFAULT NULL, metadata jsonb DEFAULT '{}',
    event_id text DEFAULT NULL, idempotency_key text DEFAULT NULL, deliver_at timestamptz DEFAULT NULL)
  RETURNS uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_publish';
COMMENT ON FUNCTION saga.publish IS 'Appends one event to a topic within the caller''s transaction and returns its id. key: events with the same key are processed in order. event_id or idempotency_key: a repeat returns the first id; with other content it is SG022. deliver_at: not before that time. Errors: SG010 unknown topic, 42501 no right, 54000 too large, 25006 read only.';

CREATE FUNCTION saga.publish_batch(topic text, payloads jsonb[], event_types text[] DEFAULT NULL, keys text[] DEFAULT NULL,
    correlation_ids text[] DEFAULT NULL, causation_ids text[] DEFAULT NULL, metadata jsonb[] DEFAULT NULL,
    event_ids text[] DEFAULT NULL, deliver_at timestamptz DEFAULT NULL)
  RETURNS uuid[] LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_publish_batch';
COMMENT ON FUNCTION saga.publish_batch IS 'Appends many events in array order and returns their ids in the same order. The other arrays are NULL or as long as payloads. Errors as publish; SG022 for an id that appears twice, 2202E for lengths that differ.';

CREATE FUNCTION saga.publish_text(topic text, payload text, event_type text DEFAULT NULL, key text DEFAULT NULL,
    correlation_id text DEFAULT NULL, causation_id text DEFAULT NULL, metadata jsonb DEFAULT '{}',
    event_id text DEFAULT NULL, idempotency_key text DEFAULT NULL, deliver_at timestamptz DEFAULT NULL)
  RETURNS uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_publish_text';
COMMENT ON FUNCTION saga.publish_text IS 'As publish, for text that may not be JSON: then the event is recorded as INVALID with the full text as a dead letter (on_invalid => record), or refused with SG001 (reject).';

CREATE FUNCTION saga.stage(event_id text, topic text, payload jsonb, event_type text DEFAULT NULL, key text DEFAULT NULL,
    metadata jsonb DEFAULT '{}')
  RETURNS uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_stage';
COMMENT ON FUNCTION saga.stage IS 'Keeps an event that no consumer group sees until a sequence releases it; returns its id. The same id with other content is SG022.';

CREATE FUNCTION saga.publish_row() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'saga_publish_row';
COMMENT ON FUNCTION saga.publish_row IS 'Trigger function: AFTER INSERT OR UPDATE OR DELETE ... FOR EACH ROW EXECUTE FUNCTION saga.publish_row(topic [, key column]) publishes the row as type table.inserted, .updated or .deleted.';

CREATE FUNCTION saga.current_event() RETURNS saga.event LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'saga_current_event';
COMMENT ON FUNCTION saga.current_event IS 'The event whose handler is running; NULL outside a handler.';

CREATE FUNCTION saga.snooze(delay interval) RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_snooze';
COMMENT ON FUNCTION saga.snooze IS 'Ends the handler and runs its event again after delay; no attempt is spent. Raises SG002; SG032 outside a handler.';

CREATE FUNCTION saga.reject(reason text) RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_reject';
COMMENT ON FUNCTION saga.reject IS 'Ends the handler; its event is INVALID and becomes a dead letter without another attempt. Raises SG001; SG032 outside a handler.';

CREATE FUNCTION saga.skip(reason text) RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_skip';
COMMENT ON FUNCTION saga.skip IS 'Ends the handler; its event is recorded as SKIPPED and its key is free. Raises SG003; SG032 outside a handler.';
