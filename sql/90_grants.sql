-- Who may use what. Nothing is granted to PUBLIC; grant_topic gives a role what its rights on topics need. These two
-- functions are the one place that says what that is. They name what there may be: what is not installed is passed over.

CREATE FUNCTION saga.views_of_right(access_right text)
  RETURNS regclass[] LANGUAGE sql STABLE
  AS $$
    SELECT coalesce(pg_catalog.array_agg(c.oid::pg_catalog.regclass ORDER BY c.relname), '{}')
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'saga' AND c.relkind = 'v' AND c.relname = ANY (CASE access_right
       WHEN 'publish' THEN ARRAY['topics', 'event_types']
       WHEN 'subscribe' THEN ARRAY['topics', 'subscriptions', 'event_types', 'event_production_log',
         'event_consumption_log', 'attempts', 'dead_letters', 'lag', 'parked', 'held_keys', 'activity',
         'dependencies', 'circuits', 'metrics', 'event_sequences', 'event_sequence_events', 'sequence_log']
       WHEN 'operate' THEN ARRAY['topics', 'subscriptions', 'event_types', 'event_production_log',
         'event_consumption_log', 'attempts', 'dead_letters', 'lag', 'parked', 'held_keys', 'activity',
         'dependencies', 'circuits', 'metrics', 'event_sequences', 'event_sequence_events', 'sequence_log', 'audit_log', 'alert_rules', 'alerts'] END)
  $$;
COMMENT ON FUNCTION saga.views_of_right IS 'The views that a role with this right on a topic (publish, subscribe or operate) may read.';

CREATE FUNCTION saga.functions_of_right(access_right text)
  RETURNS regprocedure[] LANGUAGE sql STABLE
  AS $$
    WITH RECURSIVE listed(name) AS (
      SELECT pg_catalog.unnest(CASE access_right
        WHEN 'publish' THEN ARRAY['publish', 'publish_batch', 'publish_text', 'publish_row', 'stage', 'current_event',
          'event_status', 'is_processed', 'trace', 'wait_for_event', 'wait_until_idle', 'readable_topics']
        WHEN 'subscribe' THEN ARRAY['subscribe', 'alter_subscription', 'unsubscribe', 'seek', 'pause', 'resume', 'snooze',
          'reject', 'skip', 'current_event', 'event_status', 'is_processed', 'trace', 'wait_for_event', 'wait_until_idle',
          'readable_topics']
        WHEN 'operate' THEN ARRAY['alter_topic', 'drop_topic', 'grant_topic', 'revoke_topic', 'alter_subscription',
          'unsubscribe', 'seek', 'pause', 'resume', 'retry_now', 'skip_event', 'cancel_event', 'release_key',
          'replay_dead_letter', 'replay_dead_letters', 'review_dead_letter', 'discard_dead_letters',
          'purge_dead_letters', 'event_status', 'is_processed', 'trace', 'wait_for_event', 'wait_until_idle',
          'readable_topics'] END)),
    -- Whoever reads a view must be allowed to execute what it calls, also inside the views below it.
    seen(oid) AS (
      SELECT v::oid FROM pg_catalog.unnest(saga.views_of_right(access_right)) v
      UNION
      SELECT d.refobjid FROM seen JOIN pg_catalog.pg_rewrite r ON r.ev_class = seen.oid
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
        JOIN pg_catalog.pg_class c ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.refobjid
       WHERE c.relkind = 'v'),
    called(oid) AS (
      SELECT d.refobjid FROM seen JOIN pg_catalog.pg_rewrite r ON r.ev_class = seen.oid
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
       WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
    SELECT coalesce(pg_catalog.array_agg(p.oid::pg_catalog.regprocedure ORDER BY p.proname), '{}')
      FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname = 'saga'
       AND (p.proname IN (SELECT name FROM listed) OR p.oid IN (SELECT oid FROM called))
  $$;
COMMENT ON FUNCTION saga.functions_of_right IS 'The functions and procedures that a role with this right on a topic (publish, subscribe or operate) may execute, those included that the views of the right call.';

REVOKE ALL ON ALL TABLES IN SCHEMA saga FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA saga FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA saga FROM PUBLIC;
REVOKE ALL ON TYPE saga.event FROM PUBLIC;
