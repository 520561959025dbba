-- subscribe and what changes a subscription: handlers, options, start points, pause, seek.
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
RESET client_min_messages;

SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_saga_runner, regress_saga_group;
RESET client_min_messages;
CREATE ROLE regress_saga_runner LOGIN;
CREATE ROLE regress_saga_group;
CREATE SCHEMA s_app;
CREATE FUNCTION s_app.charge(event saga.event) RETURNS void LANGUAGE plpgsql AS $$BEGIN NULL; END$$;
CREATE FUNCTION s_app."Odd name"(event saga.event) RETURNS jsonb LANGUAGE sql AS $$SELECT '{}'::jsonb$$;
CREATE FUNCTION s_app.returns_text(event saga.event) RETURNS text LANGUAGE sql AS $$SELECT ''$$;
CREATE FUNCTION s_app.returns_set(event saga.event) RETURNS SETOF jsonb LANGUAGE sql AS $$SELECT '{}'::jsonb$$;
CREATE FUNCTION s_app.takes_json(payload jsonb) RETURNS void LANGUAGE sql AS '';
CREATE PROCEDURE s_app.procedure(event saga.event) LANGUAGE sql AS '';
CREATE FUNCTION s_app.count_one(total bigint, event saga.event) RETURNS bigint LANGUAGE sql AS 'SELECT total + 1';
CREATE AGGREGATE s_app.aggregate(saga.event) (SFUNC = s_app.count_one, STYPE = bigint, INITCOND = '0');
CREATE FUNCTION pg_temp.temporary(event saga.event) RETURNS void LANGUAGE sql AS '';
SELECT saga.create_topic('s_orders', partitions => 2);

-- Every default; the handler is stored with its schema.
SELECT saga.subscribe('s_orders', 's_app.charge');
SELECT topic, consumer_group, handler, handler_owner = current_user AS own, event_types, ordering, concurrency, max_attempts,
       backoff, max_backoff, jitter, timeout, max_age, on_exhausted, circuit, isolation, business_critical, start_from,
       run_as = current_user AS me, service_name, state, paused_reason, created_at <= now() AS created
  FROM saga.subscriptions WHERE topic = 's_orders' \gx
SELECT saga.subscribe('s_orders', 's_app.charge');
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 's_app.charge', max_attempts => 5, backoff => '2 s')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 's_app.charge', start_from => 'earliest')$$);

-- The other ways to name a handler, and other options.
SET search_path = s_app, public;
SELECT saga.subscribe('s_orders', 'charge', 'by_path');
RESET search_path;
SELECT saga.subscribe('s_orders', 's_app.charge(saga.event)', consumer_group => 'by_signature',
  event_types => ARRAY['Paid', 'Refunded'], ordering => 'none', concurrency => 1, max_attempts => 1000,
  backoff => '60 s', max_backoff => '2 h', jitter => 0, timeout => '10 ms', max_age => '1 day', on_exhausted => 'halt',
  isolation => 'serializable', business_critical => true, start_from => 'earliest', service_name => 'billing');
SELECT saga.subscribe('s_orders', 's_app.charge', consumer_group => 'by_signature',
  event_types => ARRAY['Paid', 'Refunded'], ordering => 'none', concurrency => 1, max_attempts => 1000,
  backoff => '1 min', max_backoff => '120 min', jitter => 0.0, timeout => '10 ms', max_age => '24 h', on_exhausted => 'halt',
  isolation => 'serializable', business_critical => true, start_from => 'earliest', service_name => 'billing');
SELECT saga.subscribe('s_orders', 's_app."Odd name"', ordering => 'topic');
SELECT consumer_group, handler, event_types, ordering, concurrency, max_attempts, backoff, max_backoff, jitter, timeout,
       max_age, on_exhausted, isolation, business_critical, start_from, service_name
  FROM saga.subscriptions WHERE topic = 's_orders' ORDER BY consumer_group;

-- Handlers that are none.
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 'charge')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 's_app.missing')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 's_nowhere.charge')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 's_app.charge(text)')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 's_app.takes_json')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 's_app.takes_json(jsonb)')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 's_app.returns_text')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 's_app.returns_set')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 's_app.procedure')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 's_app.aggregate')$$);
SELECT message FROM error_of($$SELECT saga.subscribe('s_orders', 'pg_temp.temporary')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', '')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 'a b c(')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', NULL)$$);

-- Options that are none.
SELECT * FROM error_of($$SELECT saga.subscribe('s_nowhere', 's_app.charge')$$);
SELECT * FROM error_of($$SELECT saga.subscribe(NULL, 's_app.charge')$$);
SELECT o AS option, e.* FROM unnest(ARRAY['ordering => ''fifo''', 'ordering => NULL', 'concurrency => 0', 'concurrency => 257',
    'max_attempts => 0', 'max_attempts => 1001', 'backoff => ''-1 s''', 'backoff => ''0''', 'backoff => ''11 years''',
    'backoff => ''2 h''', 'max_backoff => ''-1 s''', 'jitter => -0.1', 'jitter => 1.5', 'jitter => ''NaN''',
    'timeout => ''9 ms''', 'timeout => ''-1 s''', 'timeout => ''11 years''', 'max_age => ''0''', 'max_age => ''-1 day''',
    'on_exhausted => ''stop''', 'circuit => ''nothing''', 'isolation => ''read uncommitted''', 'event_types => ''{}''',
    'event_types => ARRAY[NULL]', 'event_types => ARRAY['''']', 'start_from => ''soon''', 'start_from => ''infinity''',
    'start_from => NULL', 'business_critical => NULL', 'service_name => ''''', 'run_as => ''regress_saga_nobody''',
    'run_as => ''regress_saga_group''']) o
  CROSS JOIN LATERAL error_of('SELECT saga.subscribe(''s_orders'', ''s_app.charge'', ''bad'', ' || o || ')') e;
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 's_app.charge', '')$$);
SELECT count(*) FROM saga.subscriptions WHERE consumer_group = 'bad';

-- Who runs: another role must log in and be allowed to execute; a superuser runs superusers' functions only.
GRANT USAGE ON SCHEMA s_app TO regress_saga_runner;
REVOKE EXECUTE ON FUNCTION s_app.charge FROM PUBLIC;
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 's_app.charge', 'as_runner', run_as => 'regress_saga_runner')$$);
GRANT EXECUTE ON FUNCTION s_app.charge TO regress_saga_runner;
SELECT saga.subscribe('s_orders', 's_app.charge', 'as_runner', run_as => 'regress_saga_runner');
ALTER FUNCTION s_app."Odd name" OWNER TO regress_saga_runner;
SELECT * FROM error_of($$SELECT saga.subscribe('s_orders', 's_app."Odd name"', 'as_superuser')$$);
SELECT saga.subscribe('s_orders', 's_app."Odd name"', 'as_owner', run_as => 'regress_saga_runner');
SELECT consumer_group, handler_owner = current_user AS own, run_as = current_user AS me FROM saga.subscriptions
 WHERE topic = 's_orders' AND consumer_group LIKE 'as\_%' ORDER BY consumer_group;

-- Where to start. Nothing is worked on meanwhile.
SELECT saga.pause_all('test of subscriptions');
SELECT state, paused_reason FROM saga.subscriptions WHERE consumer_group = 'as_owner';
CREATE FUNCTION cursors(consumer_group text)
  RETURNS TABLE (partition_number smallint, generation int, sees_all boolean, sees_none boolean, not_before timestamptz)
  LANGUAGE sql AS $$
    SELECT DISTINCT ON (p.partition_number) p.partition_number, p.generation,
           pg_visible_in_snapshot((SELECT max(e.xid) FROM saga.event_v1 e WHERE e.topic_id = s.topic_id), p.window_snapshot),
           p.window_snapshot::text = '1:1:', p.not_before
      FROM saga.progress_v1 p JOIN saga.subscription s USING (subscription_id)
     WHERE s.consumer_group = $1 ORDER BY p.partition_number, p.number DESC $$;
SELECT count(saga.publish('s_orders', '{}', key => n::text)) FROM generate_series(1, 5) n;
SELECT saga.subscribe('s_orders', 's_app.charge', 'late');
SELECT * FROM cursors('late');
SELECT saga.subscribe('s_orders', 's_app.charge', 'early', start_from => 'earliest');
SELECT * FROM cursors('early');
SET timezone = 'UTC';
SELECT saga.subscribe('s_orders', 's_app.charge', 'timed', start_from => '2001-02-03 04:05:06+00');
SELECT * FROM cursors('timed');
SELECT saga.subscribe('s_orders', 's_app."Odd name"', 'total', ordering => 'topic', run_as => 'regress_saga_runner',
                      start_from => 'earliest');
SELECT * FROM cursors('total');
-- What a transaction publishes after (or before) it subscribes is not skipped: its own cursor does not see it.
BEGIN;
SELECT saga.publish('s_orders', '{}') IS NOT NULL AS published;
SELECT saga.subscribe('s_orders', 's_app.charge', 'own');
COMMIT;
SELECT * FROM cursors('own');

-- seek: a new generation, and what was parked is forgotten.
INSERT INTO saga.parked_v1 (subscription_id, partition_number, slot, parked_id, topic_id, generation, event_id,
    waiting_for, holds_key, due_at, attempts, crashes, parked_at)
  SELECT subscription_id, 0, 0, 1, topic_id, 1, gen_random_uuid(), 'retry', true, now() + interval '1 day', 1, 0, now()
    FROM saga.subscription WHERE consumer_group = 'late';
SELECT saga.seek('s_orders', 'late', 'earliest', 'read them after all');
SELECT * FROM cursors('late');
SELECT saga.seek('s_orders', 'late', '2001-02-03 04:05:06+00');
SELECT * FROM cursors('late');
SELECT saga.seek('s_orders', 'late', 'latest');
SELECT * FROM cursors('late');
SELECT saga.seek('s_orders', 'total', 'latest');
SELECT * FROM cursors('total');
SELECT actor = current_user AS me, reason, after FROM saga.audit_v1 WHERE action = 'seek' AND subject = 's_orders/late'
 ORDER BY number;
SELECT * FROM error_of($$SELECT saga.seek('s_orders', 'late', 'tomorrow or so')$$);
SELECT * FROM error_of($$SELECT saga.seek('s_orders', 'late', NULL)$$);
SELECT code, message FROM error_of($$SELECT saga.seek('s_orders', 'nobody', 'latest')$$);
SELECT * FROM error_of($$SELECT saga.seek('s_nowhere', 'late', 'latest')$$);

-- alter_subscription: NULL keeps.
SELECT saga.alter_subscription('s_orders', 'by_signature', max_attempts => 5, ordering => 'key', reason => 'calmer');
SELECT saga.alter_subscription('s_orders', 'by_signature', event_types => '{}', max_age => '0', jitter => 1,
  business_critical => false, on_exhausted => 'continue', service_name => 'ledger');
SELECT event_types, ordering, concurrency, max_attempts, backoff, jitter, max_age, on_exhausted, isolation,
       business_critical, service_name, run_as = current_user AS me
  FROM saga.subscriptions WHERE consumer_group = 'by_signature';
SELECT reason, before ->> 'max_attempts' AS before, after ->> 'max_attempts' AS after FROM saga.audit_v1
 WHERE action = 'alter_subscription' AND subject = 's_orders/by_signature' ORDER BY number;
SELECT saga.alter_subscription('s_orders', 'by_signature', handler => 's_app."Odd name"', run_as => 'regress_saga_runner');
SELECT handler, handler_owner, run_as FROM saga.subscriptions WHERE consumer_group = 'by_signature';
SELECT * FROM error_of($$SELECT saga.alter_subscription('s_orders', 'by_signature', run_as => current_user)$$);
SELECT * FROM error_of($$SELECT saga.alter_subscription('s_orders', 'by_signature', handler => 'missing')$$);
SELECT * FROM error_of($$SELECT saga.alter_subscription('s_orders', 'by_signature', ordering => 'topic')$$);
SELECT * FROM error_of($$SELECT saga.alter_subscription('s_orders', 'total', ordering => 'key')$$);
SELECT * FROM error_of($$SELECT saga.alter_subscription('s_orders', 'by_signature', max_backoff => '1 s')$$);
SELECT * FROM error_of($$SELECT saga.alter_subscription('s_orders', 'by_signature', concurrency => 0)$$);
SELECT code, message FROM error_of($$SELECT saga.alter_subscription('s_orders', 'nobody')$$);

-- pause and resume. resume checks the handler again.
SELECT saga.resume_all('test of subscriptions');
SELECT saga.pause('s_orders', 'as_runner', 'look at the ledger');
SELECT saga.pause('s_orders', 'as_owner');
SELECT consumer_group, state, paused_reason = 'paused by ' || current_user AS by_me FROM saga.subscriptions
 WHERE consumer_group LIKE 'as\_%' ORDER BY 1;
SELECT saga.resume('s_orders', 'as_runner', 'it is fine');
ALTER FUNCTION s_app."Odd name" OWNER TO CURRENT_USER;
REVOKE EXECUTE ON FUNCTION s_app."Odd name" FROM PUBLIC;
SELECT * FROM error_of($$SELECT saga.resume('s_orders', 'as_owner')$$);
GRANT EXECUTE ON FUNCTION s_app."Odd name" TO regress_saga_runner;
SELECT saga.resume('s_orders', 'as_owner');
SELECT consumer_group, state, handler_owner = current_user AS mine FROM saga.subscriptions
 WHERE consumer_group LIKE 'as\_%' ORDER BY 1;
DROP FUNCTION s_app."Odd name";
SELECT code, message FROM error_of($$SELECT saga.resume('s_orders', 'as_owner')$$);
SELECT action, reason, after ->> 'paused_reason' AS paused_reason FROM saga.audit_v1 WHERE subject = 's_orders/as_runner' ORDER BY number;
SELECT * FROM error_of($$SELECT saga.pause('s_orders', NULL)$$);

-- unsubscribe leaves nothing behind.
SELECT subscription_id AS late FROM saga.subscription WHERE consumer_group = 'late' \gset
SELECT saga.unsubscribe('s_orders', 'late', 'no longer needed');
SELECT code, message FROM error_of($$SELECT saga.unsubscribe('s_orders', 'late')$$);
SELECT count(*) FROM saga.progress_v1 WHERE subscription_id = :late;
SELECT reason, before ->> 'handler' AS handler, after FROM saga.audit_v1 WHERE action = 'unsubscribe' AND subject = 's_orders/late';
SELECT saga.drop_topic('s_orders', force => true);
SELECT count(*) FROM saga.subscription s WHERE NOT EXISTS (SELECT FROM saga.topic t WHERE t.topic_id = s.topic_id);

SET client_min_messages = warning;
DROP SCHEMA s_app CASCADE;
DROP FUNCTION cursors, error_of;
DROP ROLE regress_saga_runner, regress_saga_group;
