-- Rights: who may do what, and that nobody else may do anything.
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
DROP ROLE IF EXISTS regress_saga_creator, regress_saga_publisher, regress_saga_subscriber, regress_saga_operator,
  regress_saga_stranger, regress_saga_team, regress_saga_member;
RESET client_min_messages;
CREATE ROLE regress_saga_creator LOGIN;
CREATE ROLE regress_saga_publisher LOGIN;
CREATE ROLE regress_saga_subscriber LOGIN;
CREATE ROLE regress_saga_operator LOGIN;
CREATE ROLE regress_saga_stranger LOGIN;
CREATE ROLE regress_saga_team;
CREATE ROLE regress_saga_member LOGIN IN ROLE regress_saga_team;

-- Nothing is granted to PUBLIC.
SELECT p.oid::regprocedure AS executable FROM pg_proc p
 WHERE p.pronamespace = 'saga'::regnamespace AND has_function_privilege('regress_saga_stranger', p.oid, 'EXECUTE');
SELECT c.oid::regclass AS readable FROM pg_class c WHERE c.relnamespace = 'saga'::regnamespace AND c.relkind IN ('r', 'p', 'v')
   AND has_table_privilege('regress_saga_stranger', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES');
SELECT c.oid::regclass AS drawable FROM pg_class c WHERE c.relnamespace = 'saga'::regnamespace
   AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege('regress_saga_stranger', c.oid, 'USAGE, SELECT, UPDATE') END;
SELECT has_schema_privilege('regress_saga_stranger', 'saga', 'USAGE, CREATE') AS schema,
       has_type_privilege('regress_saga_stranger', 'saga.event', 'USAGE') AS type;
SET ROLE regress_saga_stranger;
SELECT * FROM error_of($$SELECT saga.create_topic('g_mine')$$);
RESET ROLE;

-- Whoever may execute create_topic owns what it creates, and can use it at once.
GRANT USAGE ON SCHEMA saga TO regress_saga_creator;
GRANT EXECUTE ON FUNCTION saga.create_topic TO regress_saga_creator;
SET ROLE regress_saga_creator;
SELECT saga.create_topic('g_orders', partitions => 1);
SELECT topic, owner FROM saga.topics;
SELECT saga.publish('g_orders', '{}') IS NOT NULL AS published;
RESET ROLE;
SELECT saga.create_topic('g_loans', partitions => 1);
SET ROLE regress_saga_creator;
SELECT topic FROM saga.topics;
SELECT * FROM error_of($$SELECT saga.publish('g_loans', '{}')$$);
SELECT * FROM error_of($$SELECT saga.alter_topic('g_loans', on_invalid => 'reject')$$);
SELECT * FROM error_of($$SELECT saga.drop_topic('g_loans')$$);
SELECT * FROM error_of($$SELECT saga.grant_topic('g_loans', 'regress_saga_creator', ARRAY['operate'])$$);
SELECT * FROM error_of($$SELECT saga.grant_topic(NULL, 'regress_saga_creator', ARRAY['operate'])$$);
SELECT * FROM error_of($$CALL saga.remove_all_data(current_database()::text)$$);
SELECT * FROM error_of($$SELECT * FROM saga.topic$$);
SELECT * FROM error_of($$SELECT saga.pause_all('mine')$$);

-- The owner grants; what is refused.
SELECT saga.grant_topic('g_orders', 'regress_saga_publisher', ARRAY['publish']);
SELECT saga.grant_topic('g_orders', 'regress_saga_subscriber', ARRAY['subscribe']);
SELECT saga.grant_topic('g_orders', 'regress_saga_operator', ARRAY['operate', 'operate']);
SELECT saga.grant_topic('g_orders', 'regress_saga_team', ARRAY['publish', 'subscribe']);
SELECT * FROM error_of($$SELECT saga.grant_topic('g_orders', 'regress_saga_publisher', ARRAY['write'])$$);
SELECT * FROM error_of($$SELECT saga.grant_topic('g_orders', 'regress_saga_publisher', ARRAY['publish', NULL])$$);
SELECT * FROM error_of($$SELECT saga.grant_topic('g_orders', 'regress_saga_publisher', '{}')$$);
SELECT * FROM error_of($$SELECT saga.grant_topic('g_orders', 'regress_saga_publisher', NULL)$$);
SELECT * FROM error_of($$SELECT saga.grant_topic('g_orders', 'regress_saga_nobody', ARRAY['publish'])$$);
SELECT * FROM error_of($$SELECT saga.grant_topic('g_orders', 'public', ARRAY['publish'])$$);
SELECT * FROM error_of($$SELECT saga.grant_topic('g_nowhere', 'regress_saga_publisher', ARRAY['publish'])$$);
RESET ROLE;

-- publish: may publish, and sees its topics; nothing else.
SET ROLE regress_saga_publisher;
SELECT topic FROM saga.topics;
SELECT saga.publish('g_orders', '{}') IS NOT NULL AS published;
SELECT * FROM error_of($$SELECT saga.publish('g_loans', '{}')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('g_orders', 'g_handler')$$);
SELECT * FROM error_of($$SELECT saga.drop_topic('g_orders')$$);
SELECT * FROM error_of($$SELECT count(*) FROM saga.event_v1$$);
SELECT * FROM error_of($$SELECT count(*) FROM saga.subscriptions$$);
RESET ROLE;

-- subscribe: may subscribe as itself, and operate what it subscribed.
CREATE SCHEMA g_app;
GRANT ALL ON SCHEMA g_app TO regress_saga_subscriber, regress_saga_member;
SET ROLE regress_saga_subscriber;
CREATE FUNCTION g_app.handler(event saga.event) RETURNS void LANGUAGE sql AS '';
SELECT saga.subscribe('g_orders', 'g_app.handler');
SELECT topic, consumer_group, run_as FROM saga.subscriptions;
SELECT * FROM error_of($$SELECT saga.subscribe('g_loans', 'g_app.handler')$$);
SELECT * FROM error_of($$SELECT saga.publish('g_orders', '{}')$$);
SELECT * FROM error_of($$SELECT saga.subscribe('g_orders', 'g_app.handler', 'other', run_as => 'regress_saga_operator')$$);
SELECT saga.pause('g_orders', 'handler', 'mine');
SELECT saga.resume('g_orders', 'handler');
SELECT saga.seek('g_orders', 'handler', 'latest');
SELECT saga.alter_subscription('g_orders', 'handler', max_attempts => 7);
RESET ROLE;

-- A right of a group is one of its members; the subscription of somebody else is not.
SET ROLE regress_saga_member;
SELECT topic FROM saga.topics;
SELECT saga.publish('g_orders', '{}') IS NOT NULL AS published;
SELECT * FROM error_of($$SELECT saga.pause('g_orders', 'handler')$$);
SELECT * FROM error_of($$SELECT saga.unsubscribe('g_orders', 'handler')$$);
SELECT code, message FROM error_of($$SELECT saga.pause('g_orders', 'nobody')$$);
RESET ROLE;

-- operate: may operate what others subscribed, but cannot make their role run something else.
SET ROLE regress_saga_operator;
SELECT saga.pause('g_orders', 'handler', 'operator');
SELECT consumer_group, state, paused_reason FROM saga.subscriptions;
SELECT saga.resume('g_orders', 'handler');
SELECT saga.alter_subscription('g_orders', 'handler', max_attempts => 8);
SELECT * FROM error_of($$SELECT saga.alter_subscription('g_orders', 'handler', handler => 'g_app.handler')$$);
SELECT * FROM error_of($$SELECT saga.publish('g_orders', '{}')$$);
SELECT * FROM error_of($$SELECT saga.create_topic('g_other')$$);
RESET ROLE;
-- The function changed hands: an operator cannot confirm it for another role.
ALTER FUNCTION g_app.handler OWNER TO regress_saga_member;
SELECT saga.pause('g_orders', 'handler', 'another owner');
SET ROLE regress_saga_operator;
SELECT * FROM error_of($$SELECT saga.resume('g_orders', 'handler')$$);
RESET ROLE;
SET ROLE regress_saga_subscriber;
SELECT saga.resume('g_orders', 'handler');
SELECT consumer_group, state, handler_owner FROM saga.subscriptions;
RESET ROLE;

-- Rights on all topics, those made later included.
SELECT saga.grant_topic(NULL, 'regress_saga_stranger', ARRAY['publish']);
SELECT saga.create_topic('g_later', partitions => 1);
SET ROLE regress_saga_stranger;
SELECT topic FROM saga.topics WHERE topic LIKE 'g\_%' ORDER BY topic;
SELECT saga.publish('g_later', '{}') IS NOT NULL AS published;
RESET ROLE;

-- Every view that a right opens can be read by a role that has nothing but this right.
CREATE FUNCTION read_views(access_right text) RETURNS TABLE (view regclass, code text, message text) LANGUAGE plpgsql AS $$
BEGIN
  FOREACH view IN ARRAY saga.views_of_right(access_right) LOOP
    EXECUTE 'SET LOCAL ROLE ' || CASE access_right WHEN 'subscribe' THEN 'regress_saga_subscriber' WHEN 'operate'
      THEN 'regress_saga_operator' ELSE 'regress_saga_publisher' END;
    SELECT e.code, e.message INTO code, message FROM error_of('SELECT count(*) FROM ' || view) e;
    RESET ROLE;
    IF code IS NOT NULL THEN RETURN NEXT; END IF;
  END LOOP;
END $$;
SELECT r, v.* FROM unnest(ARRAY['publish', 'subscribe', 'operate']) r CROSS JOIN LATERAL read_views(r) v;
-- No right opens what is not filtered by topic; activity and audit_log are filtered by role.
SELECT DISTINCT v::text AS by_role FROM unnest(saga.views_of_right('publish') || saga.views_of_right('subscribe') || saga.views_of_right('operate')) v
 WHERE pg_get_viewdef(v) NOT LIKE '%readable_topics%' ORDER BY 1;

-- revoke takes what no other right needs.
SELECT saga.revoke_topic(NULL, 'regress_saga_stranger', ARRAY['publish', 'operate']);
SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'saga'::regnamespace AND has_function_privilege('regress_saga_stranger', p.oid, 'EXECUTE');
SELECT saga.grant_topic('g_loans', 'regress_saga_publisher', ARRAY['publish', 'subscribe']);
SELECT saga.revoke_topic('g_orders', 'regress_saga_publisher', ARRAY['publish']);
SET ROLE regress_saga_publisher;
SELECT topic FROM saga.topics;
SELECT code, message FROM error_of($$SELECT saga.publish('g_orders', '{}')$$);
SELECT saga.publish('g_loans', '{}') IS NOT NULL AS published;
RESET ROLE;
SELECT saga.revoke_topic('g_loans', 'regress_saga_publisher', ARRAY['publish']);
SELECT has_function_privilege('regress_saga_publisher', 'saga.stage(text, text, jsonb, text, text, jsonb)', 'EXECUTE') AS publish,
       has_function_privilege('regress_saga_publisher', 'saga.pause(text, text, text)', 'EXECUTE') AS subscribe,
       has_function_privilege('regress_saga_publisher', 'saga.readable_topics()', 'EXECUTE') AS both;
SELECT action, subject, before, after FROM saga.audit_v1 WHERE action IN ('grant_topic', 'revoke_topic')
   AND subject LIKE '%regress_saga_publisher' ORDER BY number;

-- A role that comes later under the name of a dropped one has none of its rights.
DROP OWNED BY regress_saga_operator;
DROP ROLE regress_saga_operator;
CREATE ROLE regress_saga_operator LOGIN;
GRANT USAGE ON SCHEMA saga TO regress_saga_operator;
GRANT EXECUTE ON FUNCTION saga.pause TO regress_saga_operator;
SET ROLE regress_saga_operator;
SELECT * FROM error_of($$SELECT saga.pause('g_orders', 'handler')$$);
RESET ROLE;

-- With the topic go its rights, and the privileges that no other topic needs; then the roles can be dropped.
SELECT saga.drop_topic('g_orders', force => true);
SELECT saga.drop_topic('g_loans', force => true);
SELECT saga.drop_topic('g_later', force => true);
REVOKE ALL ON FUNCTION saga.create_topic FROM regress_saga_creator;
REVOKE ALL ON FUNCTION saga.pause FROM regress_saga_operator;
REVOKE ALL ON SCHEMA saga FROM regress_saga_creator, regress_saga_operator;
SET client_min_messages = warning;
DROP SCHEMA g_app CASCADE;
DROP FUNCTION read_views, error_of;
DROP ROLE regress_saga_creator, regress_saga_publisher, regress_saga_subscriber, regress_saga_operator,
  regress_saga_stranger, regress_saga_team, regress_saga_member;
