-- The operators' verbs on parked events and held keys.
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

CREATE TABLE operate_seen (n serial, id text, attempt int);
CREATE TABLE operate_switch (healthy boolean);
INSERT INTO operate_switch VALUES (false);
CREATE FUNCTION operate_handler(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF event.payload ? 'fail' AND NOT (SELECT healthy FROM operate_switch) THEN RAISE EXCEPTION 'the bank does not answer'; END IF;
  IF event.payload ? 'sleep' THEN PERFORM pg_sleep(60); END IF;
  INSERT INTO operate_seen (id, attempt) VALUES (event.payload ->> 'id', event.attempt);
END $$;
CREATE FUNCTION operate_publish(id text, key text, payload jsonb DEFAULT '{}') RETURNS void LANGUAGE sql
  AS $$ SELECT saga.publish('operate', payload || jsonb_build_object('id', id), 'T', key, event_id => id) $$;

SELECT saga.create_topic('operate', 2);
SELECT saga.subscribe('operate', 'operate_handler', 'bank', event_types => ARRAY['T'], backoff => '1 hour', jitter => 0);
SELECT operate_publish('op_' || i || '_' || k, 'key ' || k, CASE WHEN i = 1 THEN '{"fail": true}'::jsonb ELSE '{}' END)
  FROM generate_series(1, 3) i, unnest(ARRAY['a', 'b', 'c', 'd']) k ORDER BY i, k;
SELECT operate_publish('op_free', 'key z');
SELECT saga.publish('operate', '{"id": "op_delayed"}', 'T', 'key e', event_id => 'op_delayed', deliver_at => now() + interval '1 day') IS NOT NULL AS published;
SELECT saga.wait_until_idle('operate', timeout => '1 min');

-- The first event of each key holds it; every other key flows on.
SELECT id FROM operate_seen;
SELECT h.topic, h.consumer_group, h.event_key, p.external_id, h.waiting_for, h.due_at > now() AS later, h.waiting, h.error_message,
       replace(h.release_command, h.event_id::text, 'ID') AS release_command
  FROM saga.held_keys h JOIN saga.event_production_log p USING (event_id) WHERE h.topic = 'operate' ORDER BY h.event_key;

-- The command of the view works as it is.
UPDATE operate_switch SET healthy = true;
SELECT release_command FROM saga.held_keys WHERE topic = 'operate' AND event_key = 'key a' \gset
:release_command
SELECT saga.wait_until_idle('operate', timeout => '1 min');
SELECT id, attempt FROM operate_seen WHERE id LIKE '%_a' ORDER BY n;
SELECT saga.skip_event('op_1_b', 'bank', 'refunded by hand');
SELECT saga.cancel_event('op_1_c', 'bank', 'order was withdrawn');
SELECT saga.release_key('operate', 'bank', 'key d', 'not worth it');
SELECT saga.retry_now('op_delayed', 'bank', 'it is urgent');
SELECT saga.wait_until_idle('operate', timeout => '1 min');
SELECT id, attempt FROM operate_seen WHERE id NOT LIKE '%_a' ORDER BY substr(id, 6), n;
SELECT p.external_id, c.status, c.retry_count FROM saga.event_consumption_log c JOIN saga.event_production_log p USING (event_id)
 WHERE c.topic = 'operate' AND p.external_id LIKE 'op_1%' ORDER BY 1;
SELECT count(*) AS held FROM saga.held_keys WHERE topic = 'operate';
SELECT count(*) AS parked FROM saga.parked WHERE topic = 'operate';

-- What runs now can be cancelled, and only that.
SELECT operate_publish('op_slow', 'key s', '{"sleep": true}');
SELECT operate_publish('op_after', 'key s');
DO $$
BEGIN
  FOR i IN 1 .. 3000 LOOP
    EXIT WHEN EXISTS (SELECT FROM saga.activity a JOIN saga.event_production_log p USING (event_id) WHERE p.external_id = 'op_slow');
    PERFORM pg_sleep(0.01);
  END LOOP;
END $$;
SELECT a.topic, a.consumer_group, a.attempt, a.state FROM saga.activity a WHERE a.topic = 'operate';
SELECT c.status FROM saga.event_consumption_log c WHERE c.external_id = 'op_slow';
SELECT * FROM error_of($$SELECT saga.skip_event('op_slow', 'bank')$$);
SELECT saga.cancel_event('op_slow', 'bank', 'it hangs');
SELECT saga.wait_for_event('op_after', '1 min'), saga.wait_for_event('op_slow', '1 min');
SELECT id FROM operate_seen WHERE id IN ('op_slow', 'op_after');

-- One that waits behind another can be skipped, but not run before it.
UPDATE operate_switch SET healthy = false;
SELECT operate_publish('op_locked', 'key l', '{"fail": true}');
SELECT operate_publish('op_follower', 'key l');
SELECT saga.wait_until_idle('operate', timeout => '1 min');
SELECT * FROM error_of($$SELECT saga.retry_now('op_follower', 'bank')$$);
SELECT saga.skip_event('op_follower', 'bank');
SELECT saga.wait_for_event('op_follower', '1 min');
SELECT event_key, waiting FROM saga.held_keys WHERE topic = 'operate';

-- Under halt the key stays held when the attempts are used up, until the event is let go or replayed.
SELECT saga.subscribe('operate', 'operate_handler', 'strict', event_types => ARRAY['H'], max_attempts => 1, on_exhausted => 'halt');
SELECT saga.publish('operate', '{"id": "op_halted", "fail": true}', 'H', 'key h', event_id => 'op_halted') IS NOT NULL AS published;
SELECT saga.publish('operate', '{"id": "op_halted_next"}', 'H', 'key h', event_id => 'op_halted_next') IS NOT NULL AS published;
SELECT saga.wait_until_idle('operate', 'strict', '1 min');
SELECT consumer_group, event_key, waiting_for, waiting, release_command ~ '^SELECT saga.replay_dead_letter\(''[-0-9a-f]{36}''\);$' AS replay
  FROM saga.held_keys WHERE topic = 'operate' ORDER BY 1, 2;
SELECT consumer_group, status, attempts, error_message FROM saga.event_status('op_halted');
SELECT * FROM error_of($$SELECT saga.retry_now('op_halted', 'strict')$$);
SELECT saga.release_key('operate', 'strict', 'key h');
SELECT saga.wait_for_event('op_halted_next', '1 min', 'strict');
SELECT consumer_group, status FROM saga.event_status('op_halted');
SELECT count(*) AS dead FROM saga.dead_letters WHERE topic = 'operate';

-- Errors: nothing is changed.
SELECT * FROM error_of($$SELECT saga.retry_now('op_free', 'bank')$$);
SELECT * FROM error_of($$SELECT saga.skip_event('op_1_b', 'bank')$$);
SELECT * FROM error_of($$SELECT saga.cancel_event('op_free', 'strict')$$);
SELECT * FROM error_of($$SELECT saga.retry_now('op_nothing', 'bank')$$);
SELECT * FROM error_of($$SELECT saga.retry_now('op_free', 'nobody')$$);
SELECT * FROM error_of($$SELECT saga.retry_now(NULL, 'bank')$$);
SELECT * FROM error_of($$SELECT saga.skip_event('op_free', NULL)$$);
SELECT * FROM error_of($$SELECT saga.release_key('operate', 'bank', 'nothing')$$);
SELECT * FROM error_of($$SELECT saga.release_key('nothing', 'bank', 'key a')$$);
SELECT * FROM error_of($$SELECT saga.release_key('operate', 'nobody', 'key a')$$);
SELECT * FROM error_of($$SELECT saga.release_key('operate', 'bank', NULL)$$);
BEGIN READ ONLY;
SELECT * FROM error_of($$SELECT saga.retry_now('op_locked', 'bank')$$);
ROLLBACK;

-- Rights: to operate the topic, or to be a member of the role that the group runs as.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_saga_reader, regress_saga_duty;
RESET client_min_messages;
CREATE ROLE regress_saga_reader;
CREATE ROLE regress_saga_duty;
SELECT saga.grant_topic('operate', 'regress_saga_reader', ARRAY['subscribe']);
SELECT saga.grant_topic('operate', 'regress_saga_duty', ARRAY['operate']);
GRANT EXECUTE ON FUNCTION saga.skip_event, saga.release_key TO regress_saga_reader;
SET ROLE regress_saga_reader;
SELECT * FROM error_of($$SELECT saga.skip_event('op_locked', 'bank')$$);
SELECT * FROM error_of($$SELECT saga.release_key('operate', 'bank', 'key l')$$);
SET ROLE regress_saga_duty;
SELECT saga.skip_event('op_locked', 'bank', 'on duty');
SELECT actor, action, subject, reason FROM saga.audit_log;
RESET ROLE;

SELECT actor = current_user AS own, action, CASE WHEN action <> 'release_key' THEN subject ELSE regexp_replace(subject, '[-0-9a-f]{36}', 'ID') END AS subject, reason,
       before - 'due_at' AS before, after
  FROM saga.audit_log WHERE subject LIKE 'operate/%/%' ORDER BY number;
