-- Publishing: what comes back, what is refused, and that a refusal leaves nothing behind.
\pset format unaligned
\pset fieldsep ' | '
\pset footer off
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_saga;
DROP FUNCTION IF EXISTS error_of(text);
CREATE FUNCTION error_of(statement text, OUT code text, OUT message text, OUT detail text, OUT hint text)
LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement;
  message := 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
                          hint = PG_EXCEPTION_HINT;
END $$;
SELECT saga.create_topic('p_orders');
SELECT saga.create_topic('p_strict', on_invalid => 'reject');
SELECT saga.create_topic('p_wrapped', envelope => true);

-- What is given comes back; what is not given has its default.
SELECT saga.publish('p_orders', '{"n": 1}', event_type => 'OrderPlaced', key => 'o-1', correlation_id => 'c-1',
                    causation_id => 'x-1', metadata => '{"by": "test"}', event_id => 'evt_1');
SELECT event_id, external_id, topic, event_key, event_type, payload, status, correlation_id, causation_id, metadata,
       service_name = current_setting('application_name') AS named
  FROM saga.event_production_log WHERE event_type = 'OrderPlaced';
SET saga.service_name = 'billing';
SELECT saga.publish('p_orders', '{}', event_type => 'Billed') IS NOT NULL AS published;
SELECT service_name, correlation_id = event_id::text AS own_story FROM saga.event_production_log WHERE event_type = 'Billed';
RESET saga.service_name;

-- A repeat returns the first id and adds nothing; a repeat that says something else is refused.
SELECT saga.publish('p_orders', '{"n": 1}', event_type => 'OrderPlaced', key => 'o-1', event_id => 'evt_1');
SELECT saga.publish('p_orders', '{"n": 2}', key => 'o-2', idempotency_key => 'once')
     = saga.publish('p_orders', '{"n": 2}', key => 'o-2', idempotency_key => 'once') AS same;
SELECT count(*) FROM saga.event_production_log WHERE topic = 'p_orders';
SELECT * FROM error_of($$SELECT saga.publish('p_orders', '{"n": 3}', key => 'o-2', idempotency_key => 'once')$$);
SELECT * FROM error_of($$SELECT saga.publish('p_orders', '{"n": 2}', key => 'o-3', idempotency_key => 'once')$$);
SELECT * FROM error_of($$SELECT saga.publish('p_strict', '{"n": 1}', event_type => 'OrderPlaced', key => 'o-1', event_id => 'evt_1')$$);
SELECT * FROM error_of($$SELECT saga.publish('p_orders', '{}', event_id => 'a', idempotency_key => 'b')$$);

-- The envelope fills what the arguments leave out.
SELECT saga.publish('p_wrapped', '{"eventId": "4b9c5a54-6a1e-4c5c-9d3e-0123456789ab", "eventType": "Wrapped", "correlationId": "c-9"}');
SELECT event_id, event_type, correlation_id FROM saga.event_production_log WHERE topic = 'p_wrapped';

-- Batches keep their order and answer in it.
SELECT array_length(saga.publish_batch('p_orders', ARRAY['{"b":1}', '{"b":2}', '{"b":3}']::jsonb[], keys => ARRAY['k', 'k', 'k']), 1);
SELECT payload FROM saga.event_production_log WHERE payload ? 'b' ORDER BY "offset";
SELECT saga.publish_batch('p_orders', '{}');
SELECT * FROM error_of($$SELECT saga.publish_batch('p_orders', ARRAY['{}', '{}']::jsonb[], keys => ARRAY['k'])$$);
SELECT * FROM error_of($$SELECT saga.publish_batch('p_orders', ARRAY['{}', NULL]::jsonb[])$$);
SELECT * FROM error_of($$SELECT saga.publish_batch('p_orders', ARRAY['{}', '{}']::jsonb[], event_ids => ARRAY['x', 'x'])$$);

-- Text that is no JSON: kept as INVALID, or refused.
SELECT saga.publish_text('p_orders', '{"fine": true}', event_type => 'Text') IS NOT NULL AS published;
SELECT saga.publish_text('p_orders', '{broken', event_id => 'evt_broken');
SELECT status, payload, external_id FROM saga.event_production_log WHERE status = 'INVALID' AND topic LIKE 'p\_%' ORDER BY external_id;
SELECT reason, consumer_group, sqlstate, payload FROM saga.dead_letters WHERE topic LIKE 'p\_%' ORDER BY event_id;
SELECT * FROM error_of($$SELECT saga.publish_text('p_strict', '{broken')$$);

-- Staged events are pending and nobody's.
SELECT saga.stage('evt_staged', 'p_orders', '{"s": 1}', key => 'o-1') = saga.stage('evt_staged', 'p_orders', '{"s": 1}', key => 'o-1') AS same;
SELECT status, payload FROM saga.event_production_log WHERE status = 'PENDING' AND topic LIKE 'p\_%';
SELECT * FROM error_of($$SELECT saga.stage('evt_staged', 'p_orders', '{"s": 2}', key => 'o-1')$$);

-- Bad input.
SELECT * FROM error_of($$SELECT saga.publish('nowhere', '{}')$$);
SELECT * FROM error_of($$SELECT saga.publish(NULL, '{}')$$);
SELECT * FROM error_of($$SELECT saga.publish('p_orders', NULL)$$);
SELECT * FROM error_of($$SELECT saga.publish('p_orders', '{}', key => repeat('k', 1000000))$$);
SELECT * FROM error_of($$SELECT saga.publish('p_orders', jsonb_build_object('x', (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 9000) g)))$$);
SELECT * FROM error_of($$SELECT saga.publish('p_orders', '{}', deliver_at => 'infinity')$$);
SELECT * FROM error_of($$SELECT saga.publish('p_orders', '{}', event_type => repeat('t', 2000))$$);
BEGIN READ ONLY;
SELECT saga.publish('p_orders', '{}');
ROLLBACK;
SELECT * FROM error_of($$SELECT saga.snooze('1 s')$$);
SELECT * FROM error_of($$SELECT saga.reject('no')$$);
SELECT * FROM error_of($$SELECT saga.skip('no')$$);
SELECT saga.current_event() IS NULL AS outside;

-- The trigger.
CREATE TABLE item (id int PRIMARY KEY, name text);
CREATE TRIGGER item_events AFTER INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION saga.publish_row('p_orders', 'id');
INSERT INTO item VALUES (7, 'seven');
UPDATE item SET name = 'VII';
DELETE FROM item;
SELECT event_key, event_type, payload FROM saga.event_production_log WHERE event_type LIKE 'item.%' ORDER BY "offset";
DROP TRIGGER item_events ON item;
CREATE TRIGGER item_events AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION saga.publish_row('p_orders', 'nothing');
SELECT * FROM error_of($$INSERT INTO item VALUES (8, 'eight')$$);
SELECT * FROM error_of($$SELECT saga.publish_row()$$);

-- Rights.
CREATE ROLE regress_saga_nobody;
SET ROLE regress_saga_nobody;
SELECT saga.publish('p_orders', '{}');
RESET ROLE;
DROP ROLE regress_saga_nobody;

DROP TABLE item;
