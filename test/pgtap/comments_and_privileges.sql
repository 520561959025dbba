-- Every object of the extension says what it is, and nothing is open to everybody.
BEGIN;
SELECT plan(13);

CREATE TEMP VIEW members AS
  SELECT d.classid, d.objid FROM pg_depend d
   WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
     AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_saga');

SELECT is_empty($$SELECT c.relkind, c.oid::regclass FROM pg_class c JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
                   WHERE c.relkind IN ('r', 'p', 'v', 'S') AND obj_description(c.oid, 'pg_class') IS NULL$$,
                'every table, view and sequence has a comment');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p JOIN members m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
                   WHERE obj_description(p.oid, 'pg_proc') IS NULL$$,
                'every function and procedure has a comment');
SELECT is_empty($$SELECT t.oid::regtype FROM pg_type t JOIN members m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
                   WHERE t.typtype = 'c' AND t.typrelid <> 0
                     AND (SELECT relkind FROM pg_class WHERE oid = t.typrelid) = 'c' AND obj_description(t.oid, 'pg_type') IS NULL$$,
                'every type has a comment');
-- Functions that somebody calls say what can go wrong.
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p JOIN members m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
                   WHERE p.proname IN ('publish', 'subscribe', 'retry_now', 'skip_event', 'cancel_event', 'release_key',
                                       'replay_dead_letter', 'wait_for_event', 'event_status', 'is_processed', 'trace')
                     AND obj_description(p.oid, 'pg_proc') !~ 'Error|error'$$,
                'comments name the errors');

SELECT is_empty($$SELECT proname, count(*) FROM pg_proc WHERE pronamespace = 'saga'::regnamespace GROUP BY proname HAVING count(*) > 1$$,
                'no function is overloaded');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p JOIN members m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
                   WHERE p.prosecdef$$,
                'no function runs with the rights of its owner by declaration');

-- Nothing to PUBLIC.
CREATE ROLE regress_saga_nobody;
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p
                   WHERE p.pronamespace = 'saga'::regnamespace AND has_function_privilege('regress_saga_nobody', p.oid, 'EXECUTE')$$,
                'nobody may execute a function without a grant');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c
                   WHERE c.relnamespace = 'saga'::regnamespace AND c.relkind IN ('r', 'p', 'v')
                     AND has_table_privilege('regress_saga_nobody', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')$$,
                'nobody may touch a table or view without a grant');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c
                   WHERE c.relnamespace = 'saga'::regnamespace AND c.relkind = 'S'
                     AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege('regress_saga_nobody', c.oid, 'USAGE, SELECT, UPDATE') END$$,
                'nobody may draw from a sequence without a grant');
SELECT ok(NOT has_schema_privilege('regress_saga_nobody', 'saga', 'USAGE, CREATE'), 'nobody may use the schema without a grant');

-- What users read is behind a security barrier; a right on a topic opens views and functions, never storage.
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
                   WHERE c.relkind = 'v' AND c.relname IN ('topics', 'subscriptions', 'event_production_log', 'event_consumption_log',
                         'attempts', 'dead_letters', 'parked', 'held_keys', 'lag', 'activity', 'audit_log')
                     AND NOT coalesce('security_barrier=true' = ANY (c.reloptions), false)$$,
                'the views of users are security barriers');
SELECT saga.create_topic('pgtap_topic', 1);
SELECT saga.grant_topic('pgtap_topic', 'regress_saga_nobody', ARRAY['publish', 'subscribe', 'operate']);
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c
                   WHERE c.relnamespace = 'saga'::regnamespace AND (c.relkind IN ('r', 'p') OR c.relname IN ('consumption', 'lane', 'newest_outcome'))
                     AND has_table_privilege('regress_saga_nobody', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')$$,
                'all rights on a topic open no table');
SET ROLE regress_saga_nobody;
SELECT lives_ok($$SELECT count(*) FROM saga.event_production_log, saga.event_consumption_log, saga.attempts, saga.dead_letters,
                                       saga.held_keys, saga.lag, saga.activity, saga.audit_log, saga.topics, saga.subscriptions$$,
                'who operates a topic can read every view');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
