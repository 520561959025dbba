-- Topics, storage segments, maintenance, and the installation as a whole.
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

-- A topic with every default.
SELECT saga.create_topic('t_orders');
SELECT topic, partitions, retention, on_invalid, envelope, owner = current_user AS own FROM saga.topics
 WHERE topic LIKE 't\_%';
SELECT saga.create_topic('t_loans', partitions => 4, retention => '50 hours', on_invalid => 'reject', envelope => true);
SELECT topic, partitions, retention, on_invalid, envelope FROM saga.topics WHERE topic LIKE 't\_%' ORDER BY topic;
SELECT saga.create_topic('t_orders', if_not_exists => true);
SELECT action, subject, reason, before, after FROM saga.audit_v1 WHERE subject IN ('t_orders', 't_loans') ORDER BY number;

-- What is refused.
SELECT * FROM error_of($$SELECT saga.create_topic('t_orders')$$);
SELECT * FROM error_of($$SELECT saga.create_topic('')$$);
SELECT * FROM error_of($$SELECT saga.create_topic(NULL)$$);
SELECT * FROM error_of($$SELECT saga.create_topic(repeat('x', 256))$$);
SELECT * FROM error_of($$SELECT saga.create_topic('t_bad', partitions => 0)$$);
SELECT * FROM error_of($$SELECT saga.create_topic('t_bad', partitions => 10000)$$);
SELECT * FROM error_of($$SELECT saga.create_topic('t_bad', partitions => 3)$$);
SELECT * FROM error_of($$SELECT saga.create_topic('t_bad', partitions => -1)$$);
SELECT * FROM error_of($$SELECT saga.create_topic('t_bad', partitions => NULL)$$);
SELECT * FROM error_of($$SELECT saga.create_topic('t_bad', retention => '-1 day')$$);
SELECT * FROM error_of($$SELECT saga.create_topic('t_bad', retention => '59 minutes')$$);
SELECT * FROM error_of($$SELECT saga.create_topic('t_bad', retention => '101 years')$$);
SELECT * FROM error_of($$SELECT saga.create_topic('t_bad', on_invalid => 'ignore')$$);
BEGIN TRANSACTION READ ONLY;
SELECT * FROM error_of($$SELECT saga.create_topic('t_bad')$$);
ROLLBACK;
SELECT count(*) FROM saga.topics WHERE topic = 't_bad';

-- A topic is there for its own transaction, and gone with its rollback.
BEGIN;
SELECT saga.create_topic('t_passing', retention => '90 hours');
SELECT topic FROM saga.topics WHERE topic = 't_passing';
ROLLBACK;
SELECT count(*) FROM saga.topics WHERE topic = 't_passing';
SELECT count(*) FROM saga.segment WHERE retention = '90 hours';

-- One open segment per retention class, with its leaves: no members of the extension, owned by its owner, indexed.
SELECT retention, count(*) FROM saga.segment WHERE closed_at IS NULL AND retention IN ('7 days', '50 hours')
 GROUP BY retention ORDER BY retention;
SELECT segment_id AS segment FROM saga.segment WHERE retention = '50 hours' AND closed_at IS NULL \gset
SELECT i.inhparent::regclass AS parent, c.relowner = e.extowner AS owned,
       EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') AS member,
       (SELECT string_agg(replace(pg_get_indexdef(x.indexrelid), '_s' || :segment, ''), E'\n' ORDER BY x.indexrelid)
          FROM pg_index x WHERE x.indrelid = c.oid) AS indexes
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_extension e ON e.extname = 'pg_saga'
 WHERE c.relname LIKE '%\_v1\_s' || :segment ORDER BY c.oid;

-- Changes.
SELECT saga.alter_topic('t_loans', retention => '70 hours');
SELECT saga.alter_topic('t_loans', on_invalid => 'record');
SELECT topic, retention, on_invalid FROM saga.topics WHERE topic = 't_loans';
SELECT count(*) FROM saga.segment WHERE retention = '70 hours' AND closed_at IS NULL;
SELECT * FROM error_of($$SELECT saga.alter_topic('t_loans', retention => '-1 day')$$);
SELECT * FROM error_of($$SELECT saga.alter_topic('t_loans', on_invalid => 'x')$$);
SELECT * FROM error_of($$SELECT saga.alter_topic('t_nowhere', retention => '1 day')$$);
SELECT * FROM error_of($$SELECT saga.alter_topic(NULL)$$);

-- Maintenance: an old segment is closed and its successor opened.
SELECT saga.pause_all('test of topics');
SELECT saga.publish('t_loans', '{"n": 1}', key => 'a') IS NOT NULL AS published;
SELECT segment_id AS first_segment FROM saga.segment WHERE retention = '70 hours' \gset
CALL saga.run_maintenance();
SELECT count(*) FROM saga.segment WHERE retention = '70 hours';
UPDATE saga.segment SET opened_at = opened_at - interval '10 hours' WHERE segment_id = :first_segment;
CALL saga.run_maintenance();
SELECT segment_id = :first_segment AS first, closed_at IS NOT NULL AS closed FROM saga.segment
 WHERE retention = '70 hours' ORDER BY segment_id;
SELECT saga.publish('t_loans', '{"n": 2}', key => 'a') IS NOT NULL AS published;
SELECT payload, segment_id = :first_segment AS first FROM saga.event_v1 e
 WHERE segment_id IN (SELECT segment_id FROM saga.segment WHERE retention = '70 hours') ORDER BY "position";
-- The segment of a class that no topic uses is closed without a successor.
UPDATE saga.segment SET opened_at = opened_at - interval '10 hours' WHERE retention = '50 hours';
CALL saga.run_maintenance();
SELECT count(*), count(closed_at) AS closed FROM saga.segment WHERE retention = '50 hours';

-- A closed segment stays as long as a consumer group has to read it, or a parked event lives there.
CREATE FUNCTION t_handler(event saga.event) RETURNS void LANGUAGE sql AS '';
SELECT saga.subscribe('t_loans', 't_handler', start_from => 'earliest');
SELECT segment_id AS first_segment FROM saga.segment WHERE retention = '70 hours' ORDER BY segment_id LIMIT 1 \gset
UPDATE saga.segment SET closed_at = closed_at - interval '4 days' WHERE segment_id = :first_segment;
CALL saga.run_maintenance();
SELECT count(*) AS unread FROM saga.segment WHERE segment_id = :first_segment;
SELECT saga.seek('t_loans', 't_handler', 'latest', 'skip the test events');
INSERT INTO saga.parked_v1 (subscription_id, partition_number, slot, parked_id, topic_id, generation, event_id, event_key,
    waiting_for, holds_key, due_at, attempts, crashes, parked_at)
  SELECT s.subscription_id, e.partition_number, e.slot, 1, e.topic_id, s.generation, e.event_id, 'a', 'halt', true,
         now(), 3, 0, now()
    FROM saga.event_v1 e JOIN saga.subscription s USING (topic_id) WHERE e.segment_id = :first_segment;
CALL saga.run_maintenance();
SELECT count(*) AS with_parked_event FROM saga.segment WHERE segment_id = :first_segment;
DELETE FROM saga.parked_v1 WHERE event_key = 'a' AND waiting_for = 'halt';
CALL saga.run_maintenance();
SELECT count(*) AS no_longer_needed FROM saga.segment WHERE segment_id = :first_segment;
SELECT count(*) AS leaves FROM pg_class WHERE relname LIKE '%\_v1\_s' || :first_segment;
BEGIN;
SAVEPOINT before;
CALL saga.run_maintenance();
ROLLBACK;

-- Maintenance: of the cursors the newest stays, of the ticks one of ten seconds after an hour.
SELECT count(*) = 4 AS one_per_lane FROM saga.progress_v1 p JOIN saga.subscription s USING (subscription_id)
  JOIN saga.topic t USING (topic_id) WHERE t.topic = 't_loans';
INSERT INTO saga.progress_v1 SELECT -1, 0, 7, 1, 1, true, '1:1:', '1:1:', 0, NULL, 0;
UPDATE saga.segment SET opened_at = opened_at - interval '30 days' WHERE retention = '7 days';
INSERT INTO saga.tick_v1 SELECT n::text::xid8, -5, '1:1:', date_trunc('minute', now()) - interval '2 hours' + n * interval '1 s'
  FROM generate_series(1, 20) n;
INSERT INTO saga.tick_v1 SELECT n::text::xid8, -5, '1:1:', now() - interval '1 minute' + n * interval '1 s'
  FROM generate_series(30, 33) n;
INSERT INTO saga.tick_v1 SELECT '40'::xid8, -5, '1:1:', now() - interval '90 days';
INSERT INTO saga.idempotency_v1
  SELECT 0, 10, -1, age, gen_random_uuid(), '', now() - age::interval FROM unnest(ARRAY['29 days', '31 days']) age;
INSERT INTO saga.dead_letter_v1 (dead_letter_id, slot, topic_id, topic, event_id, reason, attempts, dead_at, settled_at)
  SELECT gen_random_uuid(), 0, -1, 't_gone', gen_random_uuid(), age, 1, now() - age::interval, NULL
    FROM unnest(ARRAY['29 days', '31 days']) age;
INSERT INTO saga.audit_v1 (actor, action, subject, at)
  SELECT current_user, 't_age', age, now() - age::interval FROM unnest(ARRAY['89 days', '91 days']) age;
CALL saga.run_maintenance();
SELECT count(*) AS orphans FROM saga.progress_v1 WHERE subscription_id = -1;
SELECT count(*) FILTER (WHERE taken_at < now() - interval '80 days') AS ancient,
       count(*) FILTER (WHERE taken_at BETWEEN now() - interval '80 days' AND now() - interval '1 hour') AS old,
       count(*) FILTER (WHERE taken_at > now() - interval '1 hour') AS young
  FROM saga.tick_v1 WHERE era = -5;
SELECT given_id FROM saga.idempotency_v1 WHERE topic_id = -1;
SELECT reason FROM saga.dead_letter_v1 WHERE topic = 't_gone';
SELECT subject FROM saga.audit_v1 WHERE action = 't_age';
DELETE FROM saga.tick_v1 WHERE era = -5;
DELETE FROM saga.idempotency_v1 WHERE topic_id = -1;
DELETE FROM saga.dead_letter_v1 WHERE topic = 't_gone';

-- A topic in use is dropped by force only.
SELECT * FROM error_of($$SELECT saga.drop_topic('t_loans')$$);
SELECT saga.unsubscribe('t_loans', 't_handler', 'the end');
SELECT * FROM error_of($$SELECT saga.drop_topic('t_loans')$$);
SELECT saga.drop_topic('t_loans', force => true, reason => 'the end');
SELECT saga.drop_topic('t_orders');
SELECT * FROM error_of($$SELECT saga.drop_topic('t_loans')$$);
SELECT * FROM error_of($$SELECT saga.drop_topic('t_orders', force => NULL)$$);
SELECT count(*) FROM saga.topics WHERE topic LIKE 't\_%';
SELECT action, subject, reason, after FROM saga.audit_v1 WHERE subject LIKE 't\_loans%' ORDER BY number;
SELECT action, subject, reason, before ->> 'paused_reason' AS before, after ->> 'paused_reason' AS after
  FROM saga.audit_v1 WHERE action IN ('pause_all', 'resume_all') AND reason LIKE 'test of topics';
SELECT saga.resume_all('test of topics');
SELECT paused_reason IS NULL AS running FROM saga.installation;
DROP FUNCTION t_handler;

-- DROP EXTENSION refuses while there is data. A copy of the database is paused until somebody takes it over.
\set main :DBNAME
CREATE DATABASE regress_saga_drop;
\c regress_saga_drop
CREATE EXTENSION pg_saga;
SELECT saga.create_topic('t_one');
CREATE FUNCTION t_handler(event saga.event) RETURNS void LANGUAGE sql AS '';
SELECT saga.subscribe('t_one', 't_handler');
SELECT saga.paused_reason() IS NULL AS running, state FROM saga.subscriptions;
\c :main
CREATE DATABASE regress_saga_copy TEMPLATE regress_saga_drop;
\c regress_saga_copy
\set VERBOSITY default
SELECT saga.create_topic('t_two');
SELECT saga.alter_topic('t_one', retention => '1 day');
SELECT state, paused_reason FROM saga.subscriptions;
CALL saga.run_maintenance();
SELECT saga.resume_all('we take it over');
SELECT state, paused_reason FROM saga.subscriptions;
SELECT era FROM saga.installation;
SELECT action, reason, before ->> 'era' AS before, after ->> 'era' AS after FROM saga.audit_v1 WHERE action = 'resume_all';
SELECT saga.create_topic('t_two');
\c regress_saga_drop
DROP FUNCTION t_handler;
DROP EXTENSION pg_saga;
CALL saga.remove_all_data(confirm => 'other');
CALL saga.remove_all_data(confirm => NULL);
CALL saga.remove_all_data(confirm => 'regress_saga_drop');
SELECT count(*) FROM saga.topics;
SELECT count(*) AS leaves FROM pg_inherits WHERE inhparent = 'saga.event_v1'::regclass;
-- It can be filled again, too.
SELECT saga.create_topic('t_one');
CALL saga.remove_all_data(confirm => 'regress_saga_drop');
DROP EXTENSION pg_saga;
SELECT count(*) AS left_behind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'saga';
\c :main
DROP DATABASE regress_saga_copy;
DROP DATABASE regress_saga_drop;
DROP FUNCTION error_of;
