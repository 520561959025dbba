-- The columns that the event tracking guide names exist under those names, with their types; what follows them is ours.
BEGIN;
SELECT plan(50);

CREATE FUNCTION pg_temp.columns_of(relation text) RETURNS TABLE (name text, type text) LANGUAGE sql AS $$
  SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
   WHERE attrelid = relation::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
$$;

CREATE TEMP TABLE seed (relation text, name text, type text);
INSERT INTO seed VALUES
  ('saga.event_production_log', 'event_id', 'uuid'), ('saga.event_production_log', 'service_name', 'text'),
  ('saga.event_production_log', 'topic', 'text'), ('saga.event_production_log', 'event_key', 'text'),
  ('saga.event_production_log', 'event_type', 'text'), ('saga.event_production_log', 'payload', 'jsonb'),
  ('saga.event_production_log', 'status', 'text'), ('saga.event_production_log', 'retry_count', 'integer'),
  ('saga.event_production_log', 'max_retries', 'integer'), ('saga.event_production_log', 'partition_number', 'integer'),
  ('saga.event_production_log', 'offset', 'bigint'), ('saga.event_production_log', 'correlation_id', 'text'),
  ('saga.event_production_log', 'metadata', 'jsonb'),
  ('saga.event_consumption_log', 'event_id', 'uuid'), ('saga.event_consumption_log', 'service_name', 'text'),
  ('saga.event_consumption_log', 'topic', 'text'), ('saga.event_consumption_log', 'partition_number', 'integer'),
  ('saga.event_consumption_log', 'offset', 'bigint'), ('saga.event_consumption_log', 'consumer_group', 'text'),
  ('saga.event_consumption_log', 'event_type', 'text'), ('saga.event_consumption_log', 'payload', 'jsonb'),
  ('saga.event_consumption_log', 'status', 'text'), ('saga.event_consumption_log', 'retry_count', 'integer'),
  ('saga.event_consumption_log', 'max_retries', 'integer'),
  ('saga.event_consumption_log', 'processing_time_ms', 'double precision'),
  ('saga.event_consumption_log', 'error_message', 'text'), ('saga.event_consumption_log', 'error_stack_trace', 'text'),
  ('saga.event_consumption_log', 'correlation_id', 'text'), ('saga.event_consumption_log', 'metadata', 'jsonb');

SELECT col_type_is(split_part(relation, '.', 1)::name, split_part(relation, '.', 2)::name, name::name, type, relation || '.' || name)
  FROM seed;

-- What the design lists, in its order.
SELECT is((SELECT array_agg(name) FROM (SELECT name FROM pg_temp.columns_of('saga.dead_letters') LIMIT 16) c),
          ARRAY['dead_letter_id', 'event_id', 'topic', 'consumer_group', 'event_key', 'event_type', 'reason', 'sqlstate',
                'error_message', 'attempts', 'first_failed_at', 'dead_at', 'review_state', 'reviewer', 'note', 'payload'],
          'dead_letters has its columns in their order');
SELECT is((SELECT array_agg(attname::text || ' ' || format_type(atttypid, atttypmod) ORDER BY attnum) FROM pg_attribute
            WHERE attrelid = (SELECT typrelid FROM pg_type WHERE oid = 'saga.event'::regtype) AND attnum > 0),
          ARRAY['event_id uuid', 'topic text', 'event_key text', 'event_type text', 'payload jsonb', 'correlation_id text',
                'causation_id text', 'metadata jsonb', 'service_name text', 'published_at timestamp with time zone',
                'partition_number integer', 'position bigint', 'consumer_group text', 'attempt integer',
                'sequence_id text', 'step_order integer'],
          'saga.event has its attributes in their order');

-- No timestamp without time zone is shown anywhere.
SELECT is_empty($$SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                   WHERE c.relnamespace = 'saga'::regnamespace AND a.atttypid = 'timestamp'::regtype AND a.attnum > 0$$,
                'every time has a time zone');

SELECT has_view('saga'::name, name::name, 'view ' || name)
  FROM unnest(ARRAY['topics', 'subscriptions', 'event_production_log', 'event_consumption_log', 'attempts', 'dead_letters',
                    'parked', 'held_keys', 'lag', 'activity', 'audit_log']) name;

-- Arguments and defaults are those of the design.
SELECT is(pg_get_function_arguments(('saga.' || name)::regproc), arguments, name || ' takes what the design says')
  FROM (VALUES
    ('wait_for_event', $$event_id text, timeout interval DEFAULT '00:00:30'::interval, consumer_group text DEFAULT NULL::text$$),
    ('wait_until_idle', $$topic text DEFAULT NULL::text, consumer_group text DEFAULT NULL::text, timeout interval DEFAULT '00:05:00'::interval$$),
    ('replay_dead_letter', $$dead_letter_id uuid, reason text DEFAULT NULL::text, payload jsonb DEFAULT NULL::jsonb$$),
    ('replay_dead_letters', $$IN filters jsonb DEFAULT '{}'::jsonb, IN max_events integer DEFAULT 1000, IN per_second integer DEFAULT NULL::integer, IN dry_run boolean DEFAULT false, IN reason text DEFAULT NULL::text$$),
    ('publish', $$topic text, payload jsonb, event_type text DEFAULT NULL::text, key text DEFAULT NULL::text, correlation_id text DEFAULT NULL::text, causation_id text DEFAULT NULL::text, metadata jsonb DEFAULT '{}'::jsonb, event_id text DEFAULT NULL::text, idempotency_key text DEFAULT NULL::text, deliver_at timestamp with time zone DEFAULT NULL::timestamp with time zone$$),
    ('create_topic', $$topic text, partitions integer DEFAULT 16, retention interval DEFAULT '7 days'::interval, on_invalid text DEFAULT 'record'::text, envelope boolean DEFAULT false, if_not_exists boolean DEFAULT false$$),
    ('release_key', $$topic text, consumer_group text, key text, reason text DEFAULT NULL::text$$)) v(name, arguments);

SELECT * FROM finish();
ROLLBACK;
