-- Dead letters: replay, discard, review, purge.
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

CREATE TABLE dead_seen (n serial, id text, attempt int, payload jsonb);
CREATE TABLE dead_switch (healthy boolean);
INSERT INTO dead_switch VALUES (false);
CREATE FUNCTION dead_handler(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF event.payload ? 'reject' THEN PERFORM saga.reject('no amount'); END IF;
  IF event.payload ? 'fail' AND NOT (SELECT healthy FROM dead_switch) THEN
    RAISE EXCEPTION 'the bank does not answer' USING ERRCODE = coalesce(event.payload ->> 'code', 'P0001');
  END IF;
  INSERT INTO dead_seen (id, attempt, payload) VALUES (event.payload ->> 'id', event.attempt, event.payload - 'id');
END $$;
CREATE FUNCTION dead_publish(id text, payload jsonb, topic text DEFAULT 'dead', key text DEFAULT 'k', event_type text DEFAULT 'T') RETURNS void LANGUAGE sql
  AS $$ SELECT saga.publish(topic, payload || jsonb_build_object('id', id), event_type, key, event_id => id) $$;
CREATE FUNCTION dead_id(id text) RETURNS uuid LANGUAGE sql AS $$ SELECT dead_letter_id FROM saga.dead_letters WHERE external_id = id $$;

SELECT saga.create_topic('dead', 2);
SELECT saga.create_topic('dead_halt', 2);
SELECT saga.subscribe('dead', 'dead_handler', 'bank', max_attempts => 2, backoff => '10ms', jitter => 0, business_critical => true);
SELECT saga.subscribe('dead_halt', 'dead_handler', 'strict', max_attempts => 1, on_exhausted => 'halt');
SELECT dead_publish('dl_' || i, '{"fail": true}', event_type => 'T' || i % 2) FROM generate_series(1, 6) i;
SELECT dead_publish('dl_division', '{"fail": true, "code": "22012"}');
SELECT dead_publish('dl_reject', '{"reject": true}');
SELECT dead_publish('dl_good', '{}');
SELECT saga.publish_text('dead', 'no json', 'T', 'k', event_id => 'dl_broken') IS NOT NULL AS published;
SELECT saga.wait_until_idle('dead', timeout => '1 min');

SELECT external_id, topic, consumer_group, event_key, event_type, reason, sqlstate, error_message, attempts,
       first_failed_at <= dead_at AS failed, review_state, reviewer, note, payload, error_stack_trace ~ 'dead_handler' AS stack, raw_text
  FROM saga.dead_letters WHERE topic = 'dead' ORDER BY external_id;

-- A review.
SELECT saga.review_dead_letter(dead_id('dl_1'), 'in_review', 'asked the bank');
SELECT saga.review_dead_letter(dead_id('dl_1'), 'reviewed');
SELECT review_state, reviewer = current_user AS own, note FROM saga.dead_letters WHERE external_id = 'dl_1';
SELECT * FROM error_of($$SELECT saga.review_dead_letter(dead_id('dl_1'), 'looked at')$$);
SELECT * FROM error_of($$SELECT saga.review_dead_letter(dead_id('dl_1'), NULL)$$);
SELECT * FROM error_of($$SELECT saga.review_dead_letter('00000000-0000-0000-0000-000000000001', 'reviewed')$$);

-- A replay is a new delivery with a fresh budget: it may die again, under a new dead letter.
SELECT dead_id('dl_1') AS first_death \gset
SELECT saga.replay_dead_letter(:'first_death', 'try');
SELECT saga.wait_until_idle('dead', timeout => '1 min');
SELECT consumer_group, status, attempts FROM saga.event_status('dl_1');
SELECT dead_id('dl_1') <> :'first_death' AS another, (SELECT count(*) FROM saga.dead_letters WHERE external_id = 'dl_1') AS letters;
SELECT count(*) AS attempts FROM saga.attempts JOIN saga.event_production_log USING (event_id) WHERE external_id = 'dl_1';
UPDATE dead_switch SET healthy = true;
SELECT saga.replay_dead_letter(dead_id('dl_1'), 'the bank is back');
SELECT saga.replay_dead_letter(dead_id('dl_reject'), 'amount added', '{"id": "dl_reject", "amount": 5}');
SELECT saga.wait_until_idle('dead', timeout => '1 min');
SELECT id, attempt, payload FROM dead_seen ORDER BY n;
SELECT e.id, s.consumer_group, s.status, s.attempts FROM unnest(ARRAY['dl_1', 'dl_reject']) e(id), saga.event_status(e.id) s ORDER BY 1;

-- An event that was invalid when published needs a payload; then it is published under its id.
SELECT regexp_replace(r.hint, '[-0-9a-f]{36}', 'ID') AS hint, r.code, r.message
  FROM error_of(format('SELECT saga.replay_dead_letter(%L)', dead_id('dl_broken'))) r;
SELECT status, payload FROM saga.event_production_log WHERE external_id = 'dl_broken';
SELECT saga.replay_dead_letter(dead_id('dl_broken'), payload => '{"id": "dl_broken"}');
SELECT status, payload, event_type, event_key FROM saga.event_production_log WHERE external_id = 'dl_broken';
SELECT saga.wait_for_event('dl_broken', '1 min');

-- The log's row may be gone: the dead letter has its own copy.
DELETE FROM saga.event_v1 WHERE external_id = 'dl_2';
SELECT count(*) AS in_log FROM saga.event_production_log WHERE external_id = 'dl_2';
SELECT saga.replay_dead_letter(dead_id('dl_2'));
SELECT saga.wait_for_event('dl_2', '1 min');
SELECT event_type, event_key, payload FROM saga.event_production_log WHERE external_id = 'dl_2';

-- Errors.
SELECT regexp_replace(r.message, '[-0-9a-f]{36}', 'ID') AS message, r.code, r.hint
  FROM error_of(format('SELECT saga.replay_dead_letter(%L)', :'first_death')) r;
SELECT * FROM error_of($$SELECT saga.replay_dead_letter('00000000-0000-0000-0000-000000000001')$$);
SELECT * FROM error_of($$SELECT saga.replay_dead_letter(NULL)$$);
SELECT r.code, r.message, r.hint FROM error_of(format('SELECT saga.replay_dead_letter(%L, payload => to_jsonb(repeat(''x'', 20000000)))', dead_id('dl_3'))) r;

-- Under halt: what waits behind runs after the replay, in order.
UPDATE dead_switch SET healthy = false;
TRUNCATE dead_seen;
SELECT dead_publish('dl_h' || i, CASE i WHEN 1 THEN '{"fail": true}'::jsonb ELSE '{}' END, 'dead_halt', 'x') FROM generate_series(1, 4) i;
SELECT saga.wait_until_idle('dead_halt', timeout => '1 min');
SELECT count(*) AS seen FROM dead_seen;
SELECT event_key, waiting_for, waiting FROM saga.held_keys WHERE topic = 'dead_halt';
SELECT saga.replay_dead_letter(dead_id('dl_h1'), 'with another payload', '{"id": "dl_h1", "edited": true}');
SELECT saga.wait_until_idle('dead_halt', timeout => '1 min');
SELECT id, attempt, payload FROM dead_seen ORDER BY n;
SELECT count(*) AS held FROM saga.held_keys WHERE topic = 'dead_halt';
-- Discarded, it lets the key go, and stays FAILED.
SELECT dead_publish('dl_h5', '{"fail": true}', 'dead_halt', 'y'), dead_publish('dl_h6', '{}', 'dead_halt', 'y');
SELECT saga.wait_until_idle('dead_halt', timeout => '1 min');
CALL saga.discard_dead_letters('{"topic": "dead_halt"}', 'nobody needs it');
SELECT saga.wait_for_event('dl_h6', '1 min'), saga.wait_for_event('dl_h5', '1 min');
SELECT count(*) AS dead FROM saga.dead_letters WHERE topic = 'dead_halt';

-- Many at once.
UPDATE dead_switch SET healthy = true;
TRUNCATE dead_seen;
CALL saga.replay_dead_letters('{"topic": "dead", "event_type": "T1"}', dry_run => true);
CALL saga.replay_dead_letters('{"topic": "dead", "event_type": "T1", "consumer_group": "bank", "reason": "exhausted"}', reason => 'the bank is back');
SELECT saga.wait_until_idle('dead', timeout => '1 min');
SELECT id FROM dead_seen ORDER BY id;
CALL saga.replay_dead_letters('{"topic": "dead", "sqlstate": "22012"}');
CALL saga.replay_dead_letters(jsonb_build_object('ids', jsonb_build_array(dead_id('dl_4'))));
CALL saga.replay_dead_letters('{"topic": "dead", "dead_after": "2100-01-01"}');
SELECT saga.wait_until_idle('dead', timeout => '1 min');
SELECT external_id FROM saga.dead_letters WHERE topic = 'dead' ORDER BY 1;
CALL saga.replay_dead_letters('{"topic": "dead"}', max_events => 1);
SELECT saga.wait_until_idle('dead', timeout => '1 min');
SELECT count(*) AS dead FROM saga.dead_letters WHERE topic = 'dead';
-- Over several commits, and not faster than asked.
UPDATE dead_switch SET healthy = false;
SELECT count(*) FROM generate_series(1, 230) i, LATERAL dead_publish('dl_many' || i, '{"fail": true}', key => 'k' || i);
SELECT saga.wait_until_idle('dead', timeout => '1 min');
UPDATE dead_switch SET healthy = true;
CALL saga.replay_dead_letters('{"topic": "dead"}', max_events => 205);
SELECT clock_timestamp() AS started \gset
CALL saga.replay_dead_letters('{"topic": "dead"}', per_second => 20);
SELECT clock_timestamp() - :'started' >= interval '1 s' AS slowly;
SELECT saga.wait_until_idle('dead', timeout => '1 min');
SELECT status, count(*) FROM saga.event_consumption_log WHERE external_id LIKE 'dl_many%' GROUP BY 1;

-- Refused.
\set SHOW_CONTEXT never
CALL saga.replay_dead_letters('{"topics": "dead"}');
\echo :SQLSTATE
CALL saga.replay_dead_letters('{"topic": 1}');
\echo :SQLSTATE
CALL saga.replay_dead_letters('{"topic": "nothing"}');
\echo :SQLSTATE
CALL saga.replay_dead_letters('{"ids": "all"}');
\echo :SQLSTATE
CALL saga.replay_dead_letters('{"ids": ["all"]}');
\echo :SQLSTATE
CALL saga.replay_dead_letters('[]');
\echo :SQLSTATE
CALL saga.replay_dead_letters(NULL);
\echo :SQLSTATE
CALL saga.replay_dead_letters(max_events => 0);
\echo :SQLSTATE
CALL saga.replay_dead_letters(per_second => 0);
\echo :SQLSTATE
CALL saga.replay_dead_letters('{"dead_after": "once"}');
\echo :SQLSTATE
CALL saga.discard_dead_letters(NULL);
\echo :SQLSTATE
CALL saga.purge_dead_letters('-1 day');
\echo :SQLSTATE
CALL saga.purge_dead_letters(NULL);
\echo :SQLSTATE
BEGIN;
CALL saga.replay_dead_letters();
\echo :SQLSTATE
ROLLBACK;
BEGIN;
CALL saga.discard_dead_letters('{}');
\echo :SQLSTATE
ROLLBACK;
BEGIN;
CALL saga.purge_dead_letters('1 day');
\echo :SQLSTATE
ROLLBACK;
DO $$ BEGIN CALL saga.replay_dead_letters('{"topic": "dead"}'); END $$;
SELECT * FROM error_of($$CALL saga.replay_dead_letters()$$);
\set SHOW_CONTEXT errors

-- The dead letters of a topic outlive it, and can be replayed when it is there again.
UPDATE dead_switch SET healthy = false;
SELECT dead_publish('dl_last', '{"fail": true}');
SELECT saga.wait_until_idle('dead', timeout => '1 min');
SELECT dead_id('dl_last') AS last \gset
SELECT saga.unsubscribe('dead', 'bank');
SELECT regexp_replace(r.message, '[-0-9a-f]{36}', 'ID') AS message, r.code, r.hint FROM error_of(format('SELECT saga.replay_dead_letter(%L)', :'last')) r;
SELECT saga.drop_topic('dead', force => true);
SELECT external_id, consumer_group FROM saga.dead_letters WHERE topic = 'dead';
SELECT regexp_replace(r.message, '[-0-9a-f]{36}', 'ID') AS message, r.code, r.hint FROM error_of(format('SELECT saga.replay_dead_letter(%L)', :'last')) r;
SELECT saga.create_topic('dead', 4);
SELECT saga.subscribe('dead', 'dead_handler', 'bank');
UPDATE dead_switch SET healthy = true;
SELECT saga.replay_dead_letter(:'last');
SELECT saga.wait_for_event('dl_last', '1 min');

-- Rights.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_saga_mourner, regress_saga_dead_operator;
RESET client_min_messages;
CREATE ROLE regress_saga_mourner;
CREATE ROLE regress_saga_dead_operator;
UPDATE dead_switch SET healthy = false;
SELECT dead_publish('dl_right', '{"fail": true}', 'dead_halt', 'r');
SELECT saga.wait_until_idle('dead_halt', timeout => '1 min');
SELECT dead_id('dl_right') AS right_id \gset
SELECT saga.grant_topic('dead_halt', 'regress_saga_mourner', ARRAY['subscribe']);
SELECT saga.grant_topic('dead_halt', 'regress_saga_dead_operator', ARRAY['operate']);
GRANT EXECUTE ON FUNCTION saga.replay_dead_letter, saga.review_dead_letter TO regress_saga_mourner;
GRANT EXECUTE ON PROCEDURE saga.discard_dead_letters TO regress_saga_mourner;
SET ROLE regress_saga_mourner;
SELECT r.code, r.message, r.hint FROM error_of(format('SELECT saga.replay_dead_letter(%L)', :'right_id')) r;
SELECT r.code, r.message, r.hint FROM error_of(format('SELECT saga.review_dead_letter(%L, ''reviewed'')', :'right_id')) r;
CALL saga.discard_dead_letters('{}');
\set SHOW_CONTEXT never
CALL saga.discard_dead_letters('{"topic": "dead_halt"}');
\set SHOW_CONTEXT errors
SET ROLE regress_saga_dead_operator;
SELECT saga.review_dead_letter(:'right_id', 'reviewed', 'seen');
CALL saga.discard_dead_letters('{"topic": "dead_halt"}', 'done');
SELECT actor, action, reason, after FROM saga.audit_log ORDER BY number;
RESET ROLE;

-- Purged: what is settled or old, but not what still holds a key.
SELECT dead_publish('dl_holds', '{"fail": true}', 'dead_halt', 'p');
SELECT saga.wait_until_idle('dead_halt', timeout => '1 min');
SET client_min_messages = warning;
CALL saga.purge_dead_letters('0');
RESET client_min_messages;
SELECT external_id FROM saga.dead_letters WHERE topic IN ('dead', 'dead_halt');
SELECT count(*) AS stored FROM saga.dead_letter_v1 WHERE topic IN ('dead', 'dead_halt');
SELECT action, subject <> '' AS subject, reason, after FROM saga.audit_log WHERE action LIKE '%dead_letter%' AND reason IS NOT NULL AND actor NOT LIKE 'regress_saga%' ORDER BY number;
