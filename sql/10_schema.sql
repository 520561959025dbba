-- Types, counters and storage. Settings tables are ordinary members whose rows are dumped; bulk parents
-- hold no rows and no indexes (their leaves, made by create_topic and maintenance, are ordinary tables).
-- Plain roles reach none of this directly: see 90_grants.sql.

SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TYPE saga.event AS (
  event_id uuid,
  topic text,
  event_key text,
  event_type text,
  payload jsonb,
  correlation_id text,
  causation_id text,
  metadata jsonb,
  service_name text,
  published_at timestamptz,
  partition_number int,
  "position" bigint,
  consumer_group text,
  attempt int,
  sequence_id text,
  step_order int
);
COMMENT ON TYPE saga.event IS 'What a handler receives: one event as its consumer group sees it. Attributes are only ever appended.';

-- Drawn at the publish call and never cached: a cached counter would break the order between sessions.
CREATE SEQUENCE saga.position_seq AS bigint CACHE 1;
CREATE SEQUENCE saga.topic_id_seq AS int CACHE 1;
CREATE SEQUENCE saga.subscription_id_seq AS int CACHE 1;
CREATE SEQUENCE saga.segment_seq AS int CACHE 1;
CREATE SEQUENCE saga.parked_seq AS bigint CACHE 1;
CREATE SEQUENCE saga.outcome_seq AS bigint CACHE 1;
CREATE SEQUENCE saga.audit_seq AS bigint CACHE 1;
COMMENT ON SEQUENCE saga.position_seq IS 'Position of an event in its database: publish order.';
COMMENT ON SEQUENCE saga.topic_id_seq IS 'Internal topic numbers.';
COMMENT ON SEQUENCE saga.subscription_id_seq IS 'Internal subscription numbers.';
COMMENT ON SEQUENCE saga.segment_seq IS 'Numbers of the storage segments.';
COMMENT ON SEQUENCE saga.parked_seq IS 'Order in which events were parked: the order within a held key.';
COMMENT ON SEQUENCE saga.outcome_seq IS 'Delivery numbers of outcomes that left the fast path.';
COMMENT ON SEQUENCE saga.audit_seq IS 'Order of the audit rows.';

-- ------------------------------------------------------------------------------------------ settings
CREATE TABLE saga.installation (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  system_identifier bigint NOT NULL,
  database_oid bigint NOT NULL,
  era int NOT NULL,
  paused_reason text,
  library_version text NOT NULL
);
COMMENT ON TABLE saga.installation IS 'Which database this installation belongs to. Written by the first create_topic; where it does not match, nothing runs until resume_all().';

CREATE TABLE saga.topic (
  topic_id int PRIMARY KEY,
  topic text NOT NULL UNIQUE,
  partitions int NOT NULL,
  retention interval NOT NULL,
  on_invalid text NOT NULL,
  envelope boolean NOT NULL,
  owner_name text NOT NULL,
  owner_oid bigint NOT NULL,
  created_at timestamptz NOT NULL
);
COMMENT ON TABLE saga.topic IS 'Topics; read them through the view topics.';

CREATE TABLE saga.topic_grant (
  topic_id int NOT NULL,  -- 0: every topic
  role_name text NOT NULL,
  role_oid bigint NOT NULL,
  can_publish boolean NOT NULL,
  can_subscribe boolean NOT NULL,
  can_operate boolean NOT NULL,
  PRIMARY KEY (topic_id, role_name)
);
COMMENT ON TABLE saga.topic_grant IS 'Rights per topic; written by grant_topic and revoke_topic.';

CREATE TABLE saga.subscription (
  subscription_id int PRIMARY KEY,
  topic_id int NOT NULL,
  consumer_group text NOT NULL,
  handler text NOT NULL,
  handler_owner text NOT NULL,
  event_types text[],
  ordering text NOT NULL,
  concurrency int NOT NULL,
  max_attempts int NOT NULL,
  backoff interval NOT NULL,
  max_backoff interval NOT NULL,
  jitter float8 NOT NULL,
  timeout interval NOT NULL,
  max_age interval,
  on_exhausted text NOT NULL,
  circuit text,
  isolation text NOT NULL,
  business_critical boolean NOT NULL,
  start_from text NOT NULL,
  run_as text NOT NULL,
  run_as_oid bigint NOT NULL,
  service_name text NOT NULL,
  generation int NOT NULL,
  paused_reason text,
  created_at timestamptz NOT NULL,
  UNIQUE (topic_id, consumer_group)
);
COMMENT ON TABLE saga.subscription IS 'Subscriptions; read them through the view subscriptions.';

CREATE TABLE saga.segment (
  segment_id int PRIMARY KEY,
  retention interval NOT NULL,
  opened_at timestamptz NOT NULL,
  closed_at timestamptz
);
COMMENT ON TABLE saga.segment IS 'Storage segments, one set of leaves each: by retention class, rotated by maintenance.';

-- ------------------------------------------------------------------------------------------ bulk: parents
CREATE TABLE saga.event_v1 (
  xid xid8 NOT NULL,
  "position" bigint NOT NULL,
  published_at timestamptz NOT NULL,
  deliver_at timestamptz,
  event_id uuid NOT NULL,
  segment_id int NOT NULL,
  topic_id int NOT NULL,
  publisher_oid oid NOT NULL,
  era int NOT NULL,
  partition_number smallint NOT NULL,
  slot smallint NOT NULL,
  depth smallint NOT NULL,
  event_key text,
  event_type text,
  payload jsonb NOT NULL,
  service_name text,
  correlation_id text,
  causation_id text,
  external_id text,
  metadata jsonb
) PARTITION BY LIST (segment_id);
COMMENT ON TABLE saga.event_v1 IS 'The log: one row per event, appended by publish, never updated.';

CREATE TABLE saga.delivery_v1 (
  segment_id int NOT NULL,
  subscription_id int NOT NULL,
  partition_number smallint NOT NULL,
  generation int NOT NULL,
  number bigint NOT NULL,
  era int NOT NULL,
  previous_snapshot pg_snapshot NOT NULL,
  window_snapshot pg_snapshot NOT NULL,
  last_position bigint NOT NULL,
  event_count int NOT NULL,
  finished_at timestamptz NOT NULL,
  packed bytea NOT NULL,
  results jsonb
) PARTITION BY LIST (segment_id);
COMMENT ON TABLE saga.delivery_v1 IS 'Tracking of the fast path: one row per batch, its events packed.';

CREATE TABLE saga.outcome_v1 (
  segment_id int NOT NULL,
  number bigint NOT NULL,
  event_id uuid NOT NULL,
  subscription_id int NOT NULL,
  topic_id int NOT NULL,
  generation int NOT NULL,
  slot smallint NOT NULL,
  status text NOT NULL,
  attempts int NOT NULL,
  decided_at timestamptz NOT NULL,
  processing_us bigint,
  error_message text,
  error_stack text,
  reason text,
  result jsonb
) PARTITION BY LIST (segment_id);
COMMENT ON TABLE saga.outcome_v1 IS 'Tracking of events that left the fast path: one row per final outcome, the highest number is in force.';

CREATE TABLE saga.attempt_v1 (
  segment_id int NOT NULL,
  event_id uuid NOT NULL,
  subscription_id int NOT NULL,
  slot smallint NOT NULL,
  attempt int NOT NULL,
  outcome text NOT NULL,
  started_at timestamptz NOT NULL,
  processing_us bigint NOT NULL,
  sqlstate text NOT NULL,
  error_message text NOT NULL,
  error_detail text,
  error_hint text,
  error_context text,
  retry_at timestamptz
) PARTITION BY LIST (segment_id);
COMMENT ON TABLE saga.attempt_v1 IS 'Every failed attempt.';

-- ------------------------------------------------------------------------------------------ bulk: plain
CREATE TABLE saga.tick_v1 (
  next_xid xid8 NOT NULL,
  era int NOT NULL,
  snapshot pg_snapshot NOT NULL,
  taken_at timestamptz NOT NULL,
  PRIMARY KEY (era, next_xid)
);
CREATE INDEX tick_v1_taken_at_idx ON saga.tick_v1 (era, taken_at);
COMMENT ON TABLE saga.tick_v1 IS 'Snapshots taken while something is published: they cut backlogs and find a time.';

CREATE TABLE saga.progress_v1 (
  subscription_id int NOT NULL,
  partition_number smallint NOT NULL,
  number bigint NOT NULL,
  era int NOT NULL,
  generation int NOT NULL,
  window_done boolean NOT NULL,
  previous_snapshot pg_snapshot NOT NULL,
  window_snapshot pg_snapshot NOT NULL,
  last_position bigint NOT NULL,
  not_before timestamptz,
  delivered bigint NOT NULL,
  PRIMARY KEY (subscription_id, partition_number, number)
);
COMMENT ON TABLE saga.progress_v1 IS 'Cursor and fence of every lane: one row appended per batch, the highest number is in force.';

CREATE TABLE saga.parked_v1 (
  subscription_id int NOT NULL,
  partition_number smallint NOT NULL,
  slot smallint NOT NULL,
  parked_id bigint NOT NULL,
  topic_id int NOT NULL,
  generation int NOT NULL,
  event_id uuid NOT NULL,
  event_key text,
  waiting_for text NOT NULL CHECK (waiting_for IN ('retry', 'snooze', 'delay', 'key', 'halt', 'replay', 'suspect')),
  holds_key boolean NOT NULL,
  due_at timestamptz NOT NULL,
  attempts int NOT NULL,
  crashes int NOT NULL,
  parked_at timestamptz NOT NULL,
  first_failed_at timestamptz,
  sqlstate text,
  error_message text,
  error_stack text,
  payload jsonb,
  PRIMARY KEY (subscription_id, partition_number, slot, parked_id)
);
CREATE UNIQUE INDEX parked_v1_event_idx ON saga.parked_v1 (event_id, subscription_id, slot);
CREATE INDEX parked_v1_due_idx ON saga.parked_v1 (subscription_id, partition_number, due_at);
CREATE INDEX parked_v1_key_idx ON saga.parked_v1 (subscription_id, partition_number, event_key, parked_id);
COMMENT ON TABLE saga.parked_v1 IS 'Events that left the fast path of their lane. Those that hold or await a key stand in the order of parked_id.';

CREATE TABLE saga.dead_letter_v1 (
  dead_letter_id uuid PRIMARY KEY,
  slot smallint NOT NULL,
  topic_id int NOT NULL,
  topic text NOT NULL,
  subscription_id int,
  consumer_group text,
  event_id uuid NOT NULL,
  external_id text,
  event_key text,
  event_type text,
  reason text NOT NULL,
  sqlstate text,
  error_message text,
  error_stack text,
  attempts int NOT NULL,
  first_failed_at timestamptz,
  dead_at timestamptz NOT NULL,
  review_state text,
  reviewer text,
  note text,
  payload jsonb,
  event_row saga.event_v1,
  raw_text text,
  settled_at timestamptz,
  settled_as text
);
CREATE INDEX dead_letter_v1_event_idx ON saga.dead_letter_v1 (event_id);
CREATE INDEX dead_letter_v1_dead_at_idx ON saga.dead_letter_v1 (dead_at);
COMMENT ON TABLE saga.dead_letter_v1 IS 'Dead letters, each with its own copy of the event. Settled ones were replayed or discarded.';

CREATE TABLE saga.staged_v1 (
  event_id uuid PRIMARY KEY,
  slot smallint NOT NULL,
  external_id text,
  topic_id int NOT NULL,
  publisher_oid oid NOT NULL,
  event_key text,
  event_type text,
  payload jsonb NOT NULL,
  metadata jsonb,
  service_name text,
  staged_at timestamptz NOT NULL
);
COMMENT ON TABLE saga.staged_v1 IS 'Events that no group sees until a sequence releases them.';

CREATE TABLE saga.idempotency_v1 (
  slot smallint NOT NULL,
  publisher_oid oid NOT NULL,
  topic_id int NOT NULL,
  given_id text NOT NULL,
  event_id uuid NOT NULL,
  fingerprint bytea NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (slot, publisher_oid, given_id, topic_id)
);
CREATE INDEX idempotency_v1_created_at_idx ON saga.idempotency_v1 (created_at);
COMMENT ON TABLE saga.idempotency_v1 IS 'Ids and keys that publishers gave, kept for saga.idempotency_retention.';

CREATE TABLE saga.audit_v1 (
  number bigint PRIMARY KEY DEFAULT nextval('saga.audit_seq'),
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  actor text NOT NULL,
  action text NOT NULL,
  subject text NOT NULL,
  reason text,
  before jsonb,
  after jsonb
);
CREATE INDEX audit_v1_at_idx ON saga.audit_v1 (at);
COMMENT ON TABLE saga.audit_v1 IS 'Every operator action; read it through the view audit_log.';

SELECT pg_catalog.pg_extension_config_dump('saga.position_seq', '');
SELECT pg_catalog.pg_extension_config_dump('saga.topic_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('saga.subscription_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('saga.segment_seq', '');
SELECT pg_catalog.pg_extension_config_dump('saga.parked_seq', '');
SELECT pg_catalog.pg_extension_config_dump('saga.outcome_seq', '');
SELECT pg_catalog.pg_extension_config_dump('saga.audit_seq', '');
SELECT pg_catalog.pg_extension_config_dump('saga.installation', '');
SELECT pg_catalog.pg_extension_config_dump('saga.topic', '');
SELECT pg_catalog.pg_extension_config_dump('saga.topic_grant', '');
SELECT pg_catalog.pg_extension_config_dump('saga.subscription', '');
SELECT pg_catalog.pg_extension_config_dump('saga.segment', '');
SELECT pg_catalog.pg_extension_config_dump('saga.tick_v1', '');
SELECT pg_catalog.pg_extension_config_dump('saga.progress_v1', '');
SELECT pg_catalog.pg_extension_config_dump('saga.parked_v1', '');
SELECT pg_catalog.pg_extension_config_dump('saga.dead_letter_v1', '');
SELECT pg_catalog.pg_extension_config_dump('saga.staged_v1', '');
SELECT pg_catalog.pg_extension_config_dump('saga.idempotency_v1', '');
SELECT pg_catalog.pg_extension_config_dump('saga.audit_v1', '');
