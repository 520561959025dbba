-- What users see of events: the two logs, event_status, is_processed, trace, the waits, lag.
\pset format unaligned
\pset fieldsep ' | '
\pset footer off
\pset null '~'
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

-- A handler that does what the payload says.
CREATE FUNCTION track_handler(event saga.event) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
  IF event.attempt <= (event.payload ->> 'failures')::int THEN
    RAISE EXCEPTION 'attempt % failed', event.attempt USING ERRCODE = '22012', DETAIL = 'On purpose.', HINT = 'Try again.';
  END IF;
  IF event.payload ? 'reject' THEN PERFORM saga.reject(event.payload ->> 'reject'); END IF;
  IF event.payload ? 'skip' THEN PERFORM saga.skip(event.payload ->> 'skip'); END IF;
  IF event.payload ? 'snooze' THEN PERFORM saga.snooze((event.payload ->> 'snooze')::interval); END IF;
  IF event.payload ? 'publish' THEN
    PERFORM saga.publish(event.topic, '{}', 'Caused', event.event_key, event_id => event.payload ->> 'publish');
  END IF;
  RETURN jsonb_build_object('n', event.payload -> 'n');
END $$;
CREATE FUNCTION track_plain(event saga.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;

SELECT saga.create_topic('track_orders', 4);
SELECT saga.create_topic('track_other', 1);
SELECT saga.subscribe('track_orders', 'track_handler', 'billing', backoff => '10ms', jitter => 0);
SELECT saga.subscribe('track_orders', 'track_plain', 'archive', event_types => ARRAY['Paid'], service_name => 'archive-service');

-- Each way that an event can take.
SET saga.service_name = 'shop';
SELECT count(saga.publish('track_orders', payload, event_type, key, event_id => id)) FROM (VALUES
  (1, 'trk_plain', 'Paid', 'a', '{"n": 1}'::jsonb), (2, 'trk_retry', 'Paid', 'b', '{"n": 2, "failures": 1}'),
  (3, 'trk_dead', 'Failing', 'c', '{"n": 3, "failures": 9}'), (4, 'trk_reject', 'Bad', 'd', '{"reject": "no amount"}'),
  (5, 'trk_skip', 'Old', 'e', '{"skip": "too old"}'), (6, 'trk_snooze', 'Early', 'f', '{"snooze": "1 hour"}'),
  (7, 'trk_behind', 'Paid', 'f', '{"n": 7}'), (8, 'trk_parent', 'Parent', 'g', '{"n": 8, "publish": "trk_child"}'))
  AS v(i, id, event_type, key, payload);
SELECT saga.publish('track_orders', '{}', 'Later', 'h', event_id => 'trk_later', deliver_at => now() + interval '1 hour') IS NOT NULL AS published;
SELECT saga.stage('trk_staged', 'track_orders', '{}', 'Staged') IS NOT NULL AS staged;
SELECT saga.publish_text('track_orders', '{"amount": }', 'Broken', event_id => 'trk_broken') IS NOT NULL AS published;
SELECT saga.wait_until_idle('track_orders', timeout => '60 s');

SELECT external_id, event_type, event_key, payload, status, retry_count, max_retries, service_name, correlation_id,
       causation_id IS NOT NULL AS caused, partition_number, "offset" IS NOT NULL AS has_offset, metadata,
       published_at >= created_at AS published, deliver_at > now() AS waits, error_message
  FROM saga.event_production_log WHERE topic = 'track_orders' ORDER BY external_id;
SELECT external_id, consumer_group, status, retry_count, max_retries, waiting_for, service_name, error_message, result,
       error_stack_trace ~ 'track_handler' AS stack, processing_time_ms >= 0 AS timed, processed_at >= received_at AS processed
  FROM saga.event_consumption_log WHERE topic = 'track_orders' ORDER BY external_id, consumer_group;
SELECT p.external_id, a.attempt, a.outcome, a.sqlstate, a.error_message, a.error_detail, a.error_hint,
       a.error_stack_trace ~ 'track_handler' AS stack, a.retry_at > a.started_at AS later
  FROM saga.attempts a JOIN saga.event_production_log p USING (event_id) WHERE a.topic = 'track_orders'
 ORDER BY p.external_id, a.attempt;
SELECT topic, consumer_group, partition_number, waiting, waiting_is_estimate, parked, oldest_waiting_published_at, delivered
  FROM saga.lag WHERE topic = 'track_orders' ORDER BY 2, 3;
SELECT external_id, event_key, event_type, waiting_for, holds_key, due_at > now() AS later, attempts, crashes
  FROM saga.parked WHERE topic = 'track_orders' ORDER BY external_id;

-- One event.
SELECT consumer_group, status, attempts, max_attempts, waiting_for, error_message, result FROM saga.event_status('trk_retry');
SELECT consumer_group, status, attempts, max_attempts, waiting_for, error_message, result FROM saga.event_status('trk_dead');
SELECT consumer_group, status FROM saga.event_status('trk_staged');
SELECT saga.is_processed('trk_plain', 'billing') AS processed, saga.is_processed('trk_dead', 'billing') AS dead,
       saga.is_processed('trk_dead', 'archive') AS of_another_type;
SELECT external_id, consumer_group, status, attempts, depth, causation_id FROM saga.trace('trk_parent');
SELECT external_id, consumer_group, status FROM saga.trace('trk_broken');
SELECT external_id, consumer_group, status FROM saga.trace('trk_staged');

-- Waiting for one.
SELECT id, saga.wait_for_event(id, '20 s') FROM unnest(ARRAY['trk_plain', 'trk_retry', 'trk_dead', 'trk_reject', 'trk_skip', 'trk_broken']) id;
SELECT saga.wait_for_event('trk_snooze', '10 ms'), saga.wait_for_event('trk_staged', '10 ms'), saga.wait_for_event('trk_later', '0');
SELECT saga.wait_for_event('trk_retry', '20 s', 'archive');
SELECT * FROM error_of($$SELECT saga.wait_for_event('trk_dead', '1 s', 'archive')$$);
SELECT * FROM error_of($$SELECT saga.wait_for_event('trk_nothing')$$);
SELECT * FROM error_of($$SELECT saga.wait_for_event(NULL)$$);
SELECT * FROM error_of($$SELECT saga.wait_for_event('trk_plain', NULL)$$);
SELECT * FROM error_of($$SELECT saga.wait_for_event('trk_plain', '-1 s')$$);
SELECT * FROM error_of($$SELECT saga.wait_for_event('trk_plain', '1 s', 'nobody')$$);
BEGIN;
SELECT saga.publish('track_orders', '{}', event_id => 'trk_own') IS NOT NULL AS published;
SELECT * FROM error_of($$SELECT saga.wait_for_event('trk_own')$$);
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM error_of($$SELECT saga.wait_for_event('trk_plain')$$);
SELECT * FROM error_of($$SELECT saga.wait_until_idle('track_orders')$$);
ROLLBACK;
SELECT * FROM error_of($$SELECT saga.wait_until_idle('nothing')$$);
SELECT * FROM error_of($$SELECT saga.wait_until_idle('track_orders', 'nobody')$$);
SELECT * FROM error_of($$SELECT saga.wait_until_idle('track_orders', timeout => '-1 s')$$);
SELECT * FROM error_of($$SELECT * FROM saga.event_status('trk_nothing')$$);
SELECT * FROM error_of($$SELECT * FROM saga.event_status(NULL)$$);
SELECT * FROM error_of($$SELECT saga.is_processed('trk_nothing', 'billing')$$);
SELECT * FROM error_of($$SELECT saga.is_processed('trk_plain', 'nobody')$$);
SELECT * FROM error_of($$SELECT saga.is_processed('trk_plain', NULL)$$);
SELECT * FROM error_of($$SELECT * FROM saga.trace('trk_nothing')$$);
SELECT * FROM error_of($$SELECT * FROM saga.trace(NULL)$$);

-- A paused group is not idle while events wait for it; wait_until_idle says so when its time is up.
SELECT saga.pause('track_orders', 'archive');
SELECT saga.publish('track_orders', '{"n": 9}', 'Paid', 'a', event_id => 'trk_paused') IS NOT NULL AS published;
SELECT saga.wait_until_idle('track_orders', 'billing', '60 s') AS billing, saga.wait_until_idle('track_orders', timeout => '0') AS both;
SELECT consumer_group, status FROM saga.event_status('trk_paused');
SELECT saga.wait_for_event('trk_paused', '10 ms');
SELECT sum(waiting) AS waiting FROM saga.lag WHERE topic = 'track_orders' AND consumer_group = 'archive';
SELECT saga.resume('track_orders', 'archive');
SELECT saga.wait_for_event('trk_paused', '60 s');

-- Packed deliveries: every event of many batches is found, in whatever order it is looked up, with its own result.
SELECT saga.create_topic('track_many', 2);
SELECT saga.subscribe('track_many', 'track_handler', 'many');
SELECT saga.subscribe('track_many', 'track_plain', 'total', ordering => 'topic');
DO $$
BEGIN
  FOR i IN 1 .. 40 LOOP
    PERFORM saga.publish_batch('track_many', ARRAY(SELECT jsonb_build_object('n', i * 100 + j) FROM generate_series(1, 100) j),
                               keys => ARRAY(SELECT 'k' || j % 10 FROM generate_series(1, 100) j));
    COMMIT;
  END LOOP;
END $$;
SELECT saga.wait_until_idle('track_many', timeout => '60 s');
SELECT consumer_group, status, count(*), count(DISTINCT event_id) AS events, count(result) AS results,
       count(*) FILTER (WHERE result -> 'n' = payload -> 'n') AS own_result
  FROM saga.event_consumption_log WHERE topic = 'track_many' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) FILTER (WHERE l.status = 'PROCESSED' AND l.result -> 'n' = e.payload -> 'n') AS found
  FROM (SELECT event_id, payload FROM saga.event_production_log WHERE topic = 'track_many' ORDER BY md5(event_id::text) LIMIT 300) e
 CROSS JOIN LATERAL (SELECT * FROM saga.event_consumption_log c WHERE c.event_id = e.event_id AND c.consumer_group = 'many') l;
SELECT consumer_group, sum(waiting) AS waiting, sum(delivered) AS delivered, count(*) AS lanes FROM saga.lag WHERE topic = 'track_many' GROUP BY 1 ORDER BY 1;
-- Moved back, the group delivers again: still one row per event, of the newest delivery.
SELECT saga.seek('track_many', 'many', 'earliest');
SELECT saga.wait_until_idle('track_many', timeout => '60 s');
SELECT consumer_group, status, count(*), count(DISTINCT event_id) AS events, count(*) FILTER (WHERE result -> 'n' = payload -> 'n') AS own_result
  FROM saga.event_consumption_log WHERE topic = 'track_many' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT consumer_group, sum(delivered) AS delivered FROM saga.lag WHERE topic = 'track_many' GROUP BY 1 ORDER BY 1;
-- Moved ahead, it keeps what it did before, and what it has jumped over is not delivered.
SELECT saga.pause('track_many', 'many');
SELECT saga.publish('track_many', '{"n": 0}', event_id => 'trk_jumped') IS NOT NULL AS published;
SELECT saga.seek('track_many', 'many', 'latest');
SELECT saga.resume('track_many', 'many');
SELECT saga.wait_for_event('trk_jumped', '60 s', 'total');
SELECT consumer_group, status FROM saga.event_status('trk_jumped');
SELECT * FROM error_of($$SELECT saga.wait_for_event('trk_jumped', '1 s', 'many')$$);
SELECT status, count(*) FROM saga.event_consumption_log WHERE topic = 'track_many' AND consumer_group = 'many' GROUP BY 1;

-- A role sees the topics on which it has a right, and nothing else.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_saga_tracker, regress_saga_other;
RESET client_min_messages;
CREATE ROLE regress_saga_tracker;
CREATE ROLE regress_saga_other;
SELECT saga.grant_topic('track_orders', 'regress_saga_tracker', ARRAY['operate']);
SELECT saga.grant_topic('track_other', 'regress_saga_other', ARRAY['operate']);
SELECT subscription_id AS billing_id FROM saga.subscription WHERE consumer_group = 'billing' \gset
SET ROLE regress_saga_other;
SELECT count(*) AS produced FROM saga.event_production_log;
SELECT count(*) AS consumed FROM saga.event_consumption_log;
SELECT count(*) AS dead FROM saga.dead_letters;
SELECT count(*) AS attempts FROM saga.attempts;
SELECT count(*) AS held FROM saga.held_keys;
SELECT count(*) AS lanes FROM saga.lag;
SELECT count(*) AS audited FROM saga.audit_log;
SELECT count(*) AS workers FROM saga.activity;
SELECT * FROM error_of($$SELECT * FROM saga.event_status('trk_plain')$$);
SELECT * FROM error_of($$SELECT saga.is_processed('trk_plain', 'billing')$$);
SELECT * FROM error_of($$SELECT * FROM saga.trace('trk_plain')$$);
SELECT * FROM error_of($$SELECT saga.wait_for_event('trk_plain')$$);
SELECT * FROM error_of($$SELECT saga.wait_until_idle('track_orders')$$);
SELECT * FROM error_of(format($$SELECT * FROM saga.delivery_of(%s, 0, 1, '1', 1)$$, :billing_id));
SELECT * FROM error_of($$SELECT * FROM saga.event_v1$$);
SELECT * FROM error_of($$SELECT * FROM saga.consumption$$);

-- The monitoring queries of the event tracking guide, as they stand there (sorted, since
-- they do not say in what order).
SET ROLE regress_saga_tracker;
SET search_path = saga;
-- Count events by status
SELECT status, COUNT(*) FROM event_production_log GROUP BY status \g |LC_ALL=C sort

-- Failed events
SELECT * FROM event_production_log WHERE status = 'FAILED';

-- Events by topic
SELECT topic, COUNT(*) FROM event_production_log GROUP BY topic \g |LC_ALL=C sort

-- Events by service
SELECT service_name, status, COUNT(*)
FROM event_production_log
GROUP BY service_name, status \g |LC_ALL=C sort
-- Count events by status
SELECT status, COUNT(*) FROM event_consumption_log GROUP BY status \g |LC_ALL=C sort

-- Failed events
SELECT * FROM event_consumption_log WHERE status = 'FAILED' \gset failed_
SELECT :'failed_external_id' AS external_id, :'failed_status' AS status, :'failed_error_message' AS error_message;

-- Average processing time
SELECT AVG(processing_time_ms) FROM event_consumption_log
WHERE status = 'PROCESSED' \gset
SELECT :avg > 0 AS measured;

-- Events by consumer group
SELECT consumer_group, status, COUNT(*)
FROM event_consumption_log
GROUP BY consumer_group, status \g |LC_ALL=C sort
RESET search_path;
RESET ROLE;
