-- The SQLSTATE of the errors that callers meet, and that each comes with a hint.
BEGIN;
SELECT plan(38);

CREATE FUNCTION pg_temp.hint_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE hint text;
BEGIN
  EXECUTE statement;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
  RETURN hint;
END $$;

SELECT saga.create_topic('pgtap_orders', 1);
CREATE FUNCTION pgtap_handler(event saga.event) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION pgtap_other(event saga.event) RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT saga.subscribe('pgtap_orders', 'pgtap_handler', 'billing');
SELECT saga.publish('pgtap_orders', '{}', event_id => 'pgtap_event');

CREATE TEMP TABLE cases (code text, what text, statement text);
INSERT INTO cases VALUES
  ('SG010', 'publish to an unknown topic', $$SELECT saga.publish('nothing', '{}')$$),
  ('SG010', 'subscribe to an unknown topic', $$SELECT saga.subscribe('nothing', 'pgtap_handler')$$),
  ('SG010', 'release a key of an unknown topic', $$SELECT saga.release_key('nothing', 'billing', 'k')$$),
  ('SG010', 'wait for an unknown topic', $$SELECT saga.wait_until_idle('nothing')$$),
  ('SG011', 'pause an unknown group', $$SELECT saga.pause('pgtap_orders', 'nobody')$$),
  ('SG011', 'retry for an unknown group', $$SELECT saga.retry_now('pgtap_event', 'nobody')$$),
  ('SG012', 'status of an unknown event', $$SELECT * FROM saga.event_status('nothing')$$),
  ('SG012', 'trace of nothing', $$SELECT * FROM saga.trace('nothing')$$),
  ('SG012', 'skip an unknown event', $$SELECT saga.skip_event('nothing', 'billing')$$),
  ('SG013', 'replay an unknown dead letter', $$SELECT saga.replay_dead_letter('00000000-0000-0000-0000-000000000001')$$),
  ('SG014', 'retry what is not parked', $$SELECT saga.retry_now('pgtap_event', 'billing')$$),
  ('SG014', 'release what is not held', $$SELECT saga.release_key('pgtap_orders', 'billing', 'k')$$),
  ('SG020', 'partitions that are no power of two', $$SELECT saga.create_topic('pgtap_bad', 3)$$),
  ('SG020', 'an unknown ordering', $$SELECT saga.subscribe('pgtap_orders', 'pgtap_handler', 'other', ordering => 'random')$$),
  ('SG020', 'a negative timeout', $$SELECT saga.wait_for_event('pgtap_event', '-1 s')$$),
  ('SG021', 'create a topic twice', $$SELECT saga.create_topic('pgtap_orders', 1)$$),
  ('SG022', 'an id for two events', $$SELECT saga.publish('pgtap_orders', '{"other": 1}', event_id => 'pgtap_event')$$),
  ('SG023', 'a handler that does not exist', $$SELECT saga.subscribe('pgtap_orders', 'pgtap_nothing')$$),
  ('SG023', 'a handler that returns something else', $$SELECT saga.subscribe('pgtap_orders', 'pgtap_other')$$),
  ('SG024', 'drop a topic that is in use', $$SELECT saga.drop_topic('pgtap_orders')$$),
  ('SG032', 'snooze outside a handler', $$SELECT saga.snooze('1 s')$$),
  ('SG032', 'reject outside a handler', $$SELECT saga.reject('no')$$),
  ('SG032', 'skip outside a handler', $$SELECT saga.skip('no')$$),
  ('22004', 'a payload that is NULL', $$SELECT saga.publish('pgtap_orders', NULL)$$),
  ('22004', 'an event that is NULL', $$SELECT saga.wait_for_event(NULL)$$),
  ('54000', 'a payload that is too large', $$SELECT saga.publish('pgtap_orders', to_jsonb(repeat('x', 20000000)))$$),
  ('55000', 'wait for an own event', $$SELECT saga.wait_for_event('pgtap_event')$$),
  ('25001', 'a procedure inside a transaction block', $$CALL saga.replay_dead_letters()$$),
  ('25001', 'discard inside a transaction block', $$CALL saga.discard_dead_letters('{}')$$),
  ('25001', 'purge inside a transaction block', $$CALL saga.purge_dead_letters('1 day')$$);

SELECT throws_ok(statement, code, NULL, code || ': ' || what) FROM cases;
SELECT is_empty($$SELECT code, what FROM cases WHERE coalesce(pg_temp.hint_of(statement), '') = ''$$, 'every error has a hint');

CREATE ROLE regress_saga_denied;
GRANT USAGE ON SCHEMA saga TO regress_saga_denied;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA saga TO regress_saga_denied;
SET ROLE regress_saga_denied;
SELECT throws_ok(statement, '42501', NULL, '42501: ' || what) FROM (VALUES
  ('publish without the right', $$SELECT saga.publish('pgtap_orders', '{}')$$),
  ('alter a topic without the right', $$SELECT saga.alter_topic('pgtap_orders', on_invalid => 'reject')$$),
  ('release a key without the right', $$SELECT saga.release_key('pgtap_orders', 'billing', 'k')$$),
  ('pause a group without the right', $$SELECT saga.pause('pgtap_orders', 'billing')$$),
  ('wait for a topic without a right', $$SELECT saga.wait_until_idle('pgtap_orders')$$),
  ('see the deliveries of a group without a right', $$SELECT saga.delivery_of(max(i), 0, 1, '1', 1) FROM generate_series(1, 1) i$$)) v(what, statement);
SELECT throws_ok($$SELECT * FROM saga.event_status('pgtap_event')$$, 'SG012', NULL, 'an event of a foreign topic does not exist');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
