-- What users see: the two logs of events, and what the engine does with them. Views are the stable contract; they are
-- security barriers and show a role the topics on which it has any right. Storage stays private. Columns are only
-- added, at the end.

CREATE FUNCTION saga.delivery_of(subscription_id int, partition_number int, era int, xid xid8, "position" bigint,
    OUT generation int, OUT number bigint, OUT processed_at timestamptz, OUT processing_us bigint, OUT result jsonb)
  RETURNS record LANGUAGE c STABLE STRICT COST 20 AS 'MODULE_PATHNAME', 'saga_delivery_of';
COMMENT ON FUNCTION saga.delivery_of IS 'The batch of the fast path that delivered an event in a lane (partition, or -1 for ordering topic), found by index; all NULL: not delivered there. Used by event_consumption_log. Error: 42501 without a right on the topic.';

CREATE FUNCTION saga.activity()
  RETURNS TABLE (pid int, role text, subscription_id int, partition_number int, event_id uuid, attempt int,
                 started_at timestamptz, state text)
  LANGUAGE c VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'saga_activity';
COMMENT ON FUNCTION saga.activity IS 'What each handler worker of this database does now; workers of roles that the caller is a member of. Read it through the view activity.';

CREATE FUNCTION saga.running_events() RETURNS TABLE (subscription_id int, event_id uuid, started_at timestamptz)
  LANGUAGE c VOLATILE ROWS 10 AS 'MODULE_PATHNAME', 'saga_running_events';
COMMENT ON FUNCTION saga.running_events IS 'The events of readable topics whose handlers are running now.';

-- ------------------------------------------------------------------------------------------ private views
CREATE VIEW saga.newest_outcome AS
  SELECT o.event_id, o.subscription_id, o.number, o.generation, o.status, o.attempts, o.decided_at, o.processing_us,
         o.error_message, o.error_stack, o.reason, o.result
    FROM saga.outcome_v1 o
   WHERE NOT EXISTS (SELECT FROM saga.outcome_v1 n
                      WHERE n.event_id = o.event_id AND n.subscription_id = o.subscription_id AND n.number > o.number);
COMMENT ON VIEW saga.newest_outcome IS 'Private: the outcome in force of each event that left the fast path.';

CREATE VIEW saga.consumption AS
  SELECT e.event_id, s.service_name, t.topic, e.partition_number::int AS partition_number, e."position" AS "offset",
         s.consumer_group, e.event_type, e.payload,
         CASE WHEN r.event_id IS NOT NULL THEN 'PROCESSING'
              WHEN p.waiting_for <> 'halt' THEN 'RECEIVED'
              WHEN o.number IS NOT NULL AND o.generation >= coalesce((x.d).generation, 0) THEN o.status
              WHEN (x.d).number IS NOT NULL THEN 'PROCESSED'
         END AS status,
         CASE WHEN p.event_id IS NOT NULL THEN p.attempts
              WHEN o.generation >= coalesce((x.d).generation, 0) THEN o.attempts
              ELSE 0
         END AS retry_count,
         s.max_attempts AS max_retries,
         CASE WHEN p.event_id IS NOT NULL AND p.waiting_for <> 'halt' THEN NULL
              WHEN o.generation >= coalesce((x.d).generation, 0) THEN o.processing_us
              ELSE (x.d).processing_us
         END::float8 / 1000 AS processing_time_ms,
         CASE WHEN p.event_id IS NOT NULL THEN p.error_message
              WHEN o.generation >= coalesce((x.d).generation, 0) THEN o.error_message
         END AS error_message,
         CASE WHEN p.event_id IS NOT NULL THEN p.error_stack
              WHEN o.generation >= coalesce((x.d).generation, 0) THEN o.error_stack
         END AS error_stack_trace,
         coalesce(e.correlation_id, e.external_id, e.event_id::text) AS correlation_id,
         coalesce(e.metadata, '{}'::jsonb) AS metadata,
         p.waiting_for,
         CASE WHEN p.event_id IS NOT NULL THEN p.parked_at
              WHEN o.generation >= coalesce((x.d).generation, 0)
                THEN o.decided_at - coalesce(o.processing_us, 0) * interval '1 microsecond'
              WHEN (x.d).number IS NOT NULL THEN (x.d).processed_at - (x.d).processing_us * interval '1 microsecond'
              ELSE r.started_at
         END AS received_at,
         CASE WHEN p.event_id IS NOT NULL AND p.waiting_for <> 'halt' THEN NULL
              WHEN o.generation >= coalesce((x.d).generation, 0) THEN o.decided_at
              ELSE (x.d).processed_at
         END AS processed_at,
         CASE WHEN p.event_id IS NOT NULL THEN NULL
              WHEN o.generation >= coalesce((x.d).generation, 0) THEN o.result
              ELSE (x.d).result
         END AS result,
         p.due_at,
         e.external_id,
         e.causation_id,
         e.event_key,
         e.published_at,
         e.topic_id,
         s.subscription_id,
         e.xid,
         e.era
    FROM saga.event_v1 e
    JOIN saga.topic t ON t.topic_id = e.topic_id
    JOIN saga.subscription s ON s.topic_id = e.topic_id AND (s.event_types IS NULL OR e.event_type = ANY (s.event_types))
    LEFT JOIN saga.parked_v1 p
           ON p.event_id = e.event_id AND p.subscription_id = s.subscription_id AND p.slot = e.slot
    LEFT JOIN saga.newest_outcome o ON o.event_id = e.event_id AND o.subscription_id = s.subscription_id
    LEFT JOIN saga.running_events() r ON r.event_id = e.event_id AND r.subscription_id = s.subscription_id
    -- Once per event, and not at all where a row of its own says more.
   CROSS JOIN LATERAL (
         SELECT saga.delivery_of(
                  CASE WHEN p.event_id IS NULL AND (o.generation IS NULL OR o.generation < s.generation)
                       THEN s.subscription_id END,
                  CASE WHEN s.ordering = 'topic' THEN -1 ELSE e.partition_number::int END, e.era, e.xid, e."position") AS d
         OFFSET 0) x;
COMMENT ON VIEW saga.consumption IS 'Private: every event of a topic with every consumer group that it is meant for; status NULL: not reached.';

CREATE VIEW saga.lane AS
  SELECT s.subscription_id, s.topic_id, l.partition_number,
         CASE WHEN l.partition_number < 0 THEN ARRAY(SELECT generate_series(0, t.partitions - 1))::int2[]
              ELSE ARRAY[l.partition_number]::int2[] END AS partitions,
         s.event_types, c.number, c.era, c.generation, c.window_done, c.window_snapshot, c.last_position, c.not_before,
         c.delivered,
         CASE WHEN c.window_done THEN c.window_snapshot ELSE c.previous_snapshot END AS read_snapshot
    FROM saga.subscription s
    JOIN saga.topic t ON t.topic_id = s.topic_id
   CROSS JOIN LATERAL generate_series(CASE WHEN s.ordering = 'topic' THEN -1 ELSE 0 END,
                                      CASE WHEN s.ordering = 'topic' THEN -1 ELSE t.partitions - 1 END)
         AS l(partition_number)
   CROSS JOIN LATERAL (SELECT v.* FROM saga.progress_v1 v
                        WHERE v.subscription_id = s.subscription_id AND v.partition_number = l.partition_number::int2
                        ORDER BY v.number DESC LIMIT 1) c;
COMMENT ON VIEW saga.lane IS 'Private: every lane with its newest cursor. What read_snapshot sees is done, and in an open window what window_snapshot sees up to last_position.';

-- ------------------------------------------------------------------------------------------ the two logs
CREATE VIEW saga.event_production_log WITH (security_barrier) AS
  SELECT e.event_id, e.service_name, t.topic, e.event_key, e.event_type, e.payload,
         CASE WHEN e.deliver_at > now() THEN 'PENDING' ELSE 'PUBLISHED' END AS status,
         0 AS retry_count, 3 AS max_retries,
         e.partition_number::int AS partition_number, e."position" AS "offset",
         coalesce(e.correlation_id, e.external_id, e.event_id::text) AS correlation_id,
         coalesce(e.metadata, '{}'::jsonb) AS metadata,
         e.published_at AS created_at,
         CASE WHEN e.deliver_at > now() THEN NULL ELSE greatest(e.published_at, e.deliver_at) END AS published_at,
         e.deliver_at, e.causation_id, e.external_id, NULL::text AS error_message
    FROM saga.event_v1 e
    JOIN saga.topic t ON t.topic_id = e.topic_id
   WHERE e.topic_id = ANY (ARRAY(SELECT unnest(saga.readable_topics())))
  UNION ALL
  SELECT g.event_id, g.service_name, t.topic, g.event_key, g.event_type, g.payload, 'PENDING', 0, 3, NULL, NULL,
         coalesce(g.external_id, g.event_id::text), coalesce(g.metadata, '{}'::jsonb), g.staged_at, NULL, NULL, NULL,
         g.external_id, NULL
    FROM saga.staged_v1 g
    JOIN saga.topic t ON t.topic_id = g.topic_id
   WHERE g.topic_id = ANY (ARRAY(SELECT unnest(saga.readable_topics())))
  UNION ALL
  SELECT d.event_id, (d.event_row).service_name, d.topic, d.event_key, d.event_type,
         coalesce(d.payload, to_jsonb(d.raw_text)), 'INVALID', 0, 3, NULL, NULL,
         coalesce((d.event_row).correlation_id, d.external_id, d.event_id::text),
         coalesce((d.event_row).metadata, '{}'::jsonb), d.dead_at, NULL, NULL, (d.event_row).causation_id,
         d.external_id, d.error_message
    FROM saga.dead_letter_v1 d
   WHERE d.subscription_id IS NULL AND d.settled_as IS DISTINCT FROM 'replayed'
     AND d.topic_id = ANY (ARRAY(SELECT unnest(saga.readable_topics())))
     AND NOT EXISTS (SELECT FROM saga.dead_letter_v1 n
                      WHERE n.event_id = d.event_id AND n.subscription_id IS NULL
                        AND (n.dead_at, n.dead_letter_id) > (d.dead_at, d.dead_letter_id))
     AND NOT EXISTS (SELECT FROM saga.event_v1 e WHERE e.event_id = d.event_id);
COMMENT ON VIEW saga.event_production_log IS 'One row per event: PUBLISHED, PENDING (staged or not yet due) or INVALID (never delivered; text that is no JSON shows as a JSON string).';

CREATE VIEW saga.event_consumption_log WITH (security_barrier) AS
  SELECT c.event_id, c.service_name, c.topic, c.partition_number, c."offset", c.consumer_group, c.event_type, c.payload,
         c.status, c.retry_count, c.max_retries, c.processing_time_ms, c.error_message, c.error_stack_trace,
         c.correlation_id, c.metadata, c.waiting_for, c.received_at, c.processed_at, c.result, c.due_at, c.external_id,
         c.causation_id, c.event_key, c.published_at
    FROM saga.consumption c
   WHERE c.status IS NOT NULL AND c.topic_id = ANY (ARRAY(SELECT unnest(saga.readable_topics())));
COMMENT ON VIEW saga.event_consumption_log IS 'One row per event and consumer group that it has reached, the last state: RECEIVED (waiting_for says on what), PROCESSING, PROCESSED, FAILED (dead letter not yet replayed), INVALID, SKIPPED, CANCELLED. processing_time_ms: of the last run. retry_count: failed attempts.';

-- ------------------------------------------------------------------------------------------ failures
CREATE VIEW saga.attempts WITH (security_barrier) AS
  SELECT t.topic, s.consumer_group, a.event_id, a.attempt, a.outcome, a.started_at,
         a.processing_us::float8 / 1000 AS processing_time_ms, a.sqlstate, a.error_message, a.error_detail, a.error_hint,
         a.error_context AS error_stack_trace, a.retry_at
    FROM saga.attempt_v1 a
    JOIN saga.subscription s ON s.subscription_id = a.subscription_id
    JOIN saga.topic t ON t.topic_id = s.topic_id
   WHERE t.topic_id = ANY (ARRAY(SELECT unnest(saga.readable_topics())));
COMMENT ON VIEW saga.attempts IS 'Every failed attempt, with the error that the handler raised and when it is tried again.';

CREATE VIEW saga.dead_letters WITH (security_barrier) AS
  SELECT d.dead_letter_id, d.event_id, d.topic, d.consumer_group, d.event_key, d.event_type, d.reason, d.sqlstate,
         d.error_message, d.attempts, d.first_failed_at, d.dead_at, d.review_state, d.reviewer, d.note, d.payload,
         d.error_stack AS error_stack_trace, d.raw_text, d.external_id
    FROM saga.dead_letter_v1 d
   WHERE d.settled_at IS NULL
     AND (d.topic_id = ANY (ARRAY(SELECT unnest(saga.readable_topics())))
          -- Of a topic that was dropped.
          OR (NOT EXISTS (SELECT FROM saga.topic t WHERE t.topic_id = d.topic_id)
              AND pg_has_role(current_user, 'pg_read_all_data', 'USAGE')));
COMMENT ON VIEW saga.dead_letters IS 'Events that were given up and neither replayed nor discarded. consumer_group NULL: invalid when published; raw_text is what was no JSON.';

CREATE VIEW saga.parked WITH (security_barrier) AS
  SELECT t.topic, s.consumer_group, p.partition_number::int AS partition_number, p.event_id, p.event_key, e.event_type,
         p.waiting_for, p.holds_key, p.due_at, p.attempts, p.crashes, p.parked_at, p.first_failed_at, p.sqlstate,
         p.error_message, p.error_stack AS error_stack_trace, e.external_id, e.published_at
    FROM saga.parked_v1 p
    JOIN saga.subscription s ON s.subscription_id = p.subscription_id
    JOIN saga.topic t ON t.topic_id = s.topic_id
    LEFT JOIN saga.event_v1 e ON e.event_id = p.event_id AND e.slot = p.slot AND e.topic_id = p.topic_id
   WHERE t.topic_id = ANY (ARRAY(SELECT unnest(saga.readable_topics())));
COMMENT ON VIEW saga.parked IS 'Events that left the fast path of their lane and wait: for a retry, a snooze, a delay, their key, an operator (halt), a replay.';

CREATE VIEW saga.held_keys WITH (security_barrier) AS
  SELECT t.topic, s.consumer_group, q.event_key, q.event_id, q.waiting_for, q.due_at, q.queued - 1 AS waiting,
         q.error_message,
         CASE WHEN q.waiting_for = 'halt' AND d.dead_letter_id IS NOT NULL
                THEN format('SELECT saga.replay_dead_letter(%L);', d.dead_letter_id)
              WHEN q.waiting_for = 'halt' THEN format('SELECT saga.skip_event(%L, %L);', q.event_id, s.consumer_group)
              ELSE format('SELECT saga.retry_now(%L, %L);', q.event_id, s.consumer_group)
         END AS release_command,
         q.partition_number::int AS partition_number, q.attempts, q.parked_at
    FROM (SELECT p.*, row_number() OVER queue AS place,
                 count(*) OVER (PARTITION BY p.subscription_id, p.partition_number, p.event_key) AS queued
            FROM saga.parked_v1 p
           WHERE p.holds_key OR p.waiting_for = 'key'
          WINDOW queue AS (PARTITION BY p.subscription_id, p.partition_number, p.event_key ORDER BY p.parked_id)) q
    JOIN saga.subscription s ON s.subscription_id = q.subscription_id
    JOIN saga.topic t ON t.topic_id = s.topic_id
    LEFT JOIN LATERAL (SELECT l.dead_letter_id FROM saga.dead_letter_v1 l
                        WHERE l.event_id = q.event_id AND l.subscription_id = q.subscription_id AND l.settled_at IS NULL
                        ORDER BY l.dead_at DESC LIMIT 1) d ON true
   WHERE q.place = 1 AND s.ordering <> 'none' AND (q.event_key IS NOT NULL OR s.ordering = 'topic')
     AND t.topic_id = ANY (ARRAY(SELECT unnest(saga.readable_topics())));
COMMENT ON VIEW saga.held_keys IS 'Keys whose earlier event is parked: that event, what it waits for, how many wait behind it, and the command that frees the key. ordering topic: the event holds the whole group.';

-- ------------------------------------------------------------------------------------------ lag
CREATE VIEW saga.lag WITH (security_barrier) AS
  SELECT t.topic, s.consumer_group, l.partition_number, least(w.events, 100000) AS waiting,
         w.events > 100000 AS waiting_is_estimate, p.events AS parked, w.oldest AS oldest_waiting_published_at,
         l.delivered, s.paused_reason
    FROM saga.lane l
    JOIN saga.subscription s ON s.subscription_id = l.subscription_id
    JOIN saga.topic t ON t.topic_id = l.topic_id
   CROSS JOIN LATERAL (
         SELECT count(*) AS events, min(u.published_at) AS oldest
           FROM (SELECT e.published_at FROM saga.event_v1 e
                  WHERE e.topic_id = l.topic_id AND e.partition_number = ANY (l.partitions) AND e.era = l.era
                    AND e.xid >= pg_snapshot_xmax(l.read_snapshot)
                    AND (l.window_done OR NOT (pg_visible_in_snapshot(e.xid, l.window_snapshot)
                                               AND e."position" <= l.last_position))
                    AND (l.not_before IS NULL OR e.published_at >= l.not_before)
                    AND (l.event_types IS NULL OR e.event_type = ANY (l.event_types))
                 UNION ALL
                 SELECT e.published_at FROM saga.event_v1 e
                  WHERE e.topic_id = l.topic_id AND e.partition_number = ANY (l.partitions) AND e.era = l.era
                    AND e.xid = ANY (ARRAY(SELECT pg_snapshot_xip(l.read_snapshot)))
                    AND (l.window_done OR NOT (pg_visible_in_snapshot(e.xid, l.window_snapshot)
                                               AND e."position" <= l.last_position))
                    AND (l.not_before IS NULL OR e.published_at >= l.not_before)
                    AND (l.event_types IS NULL OR e.event_type = ANY (l.event_types))
                 UNION ALL
                 SELECT e.published_at FROM saga.event_v1 e
                  WHERE (SELECT i.era FROM saga.installation i) > l.era
                    AND e.topic_id = l.topic_id AND e.partition_number = ANY (l.partitions) AND e.era > l.era
                    AND (l.event_types IS NULL OR e.event_type = ANY (l.event_types))
                 LIMIT 100001) u) w
   CROSS JOIN LATERAL (
         SELECT count(*) AS events FROM saga.parked_v1 v
          WHERE v.subscription_id = l.subscription_id AND v.partition_number = l.partition_number::int2) p
   WHERE t.topic_id = ANY (ARRAY(SELECT unnest(saga.readable_topics())));
COMMENT ON VIEW saga.lag IS 'How far each lane is behind (partition -1: the one lane of ordering topic): events not yet reached (exact up to 100,000, then an estimate from below), parked ones, and how many the fast path has delivered so far.';

-- ------------------------------------------------------------------------------------------ engine and operators
CREATE VIEW saga.activity WITH (security_barrier) AS
  SELECT a.pid, a.role, t.topic, s.consumer_group, a.partition_number, a.event_id, a.attempt, a.started_at, a.state
    FROM saga.activity() a
    LEFT JOIN saga.subscription s ON s.subscription_id = a.subscription_id
    LEFT JOIN saga.topic t ON t.topic_id = s.topic_id;
COMMENT ON VIEW saga.activity IS 'What each handler worker does now: starting, idle, busy (reads or commits) or running (a handler). Workers of roles that the caller is a member of.';

CREATE VIEW saga.audit_log WITH (security_barrier) AS
  SELECT a.number, a.at, a.actor, a.action, a.subject, a.reason, a.before, a.after
    FROM saga.audit_v1 a
   WHERE a.actor = current_user OR pg_has_role(current_user, 'pg_monitor', 'USAGE');
COMMENT ON VIEW saga.audit_log IS 'Every operator action: who, what, why, before and after. Members of pg_monitor see all, others their own.';

-- ------------------------------------------------------------------------------------------ questions and waits
CREATE FUNCTION saga.event_status(event_id text)
  RETURNS TABLE (consumer_group text, status text, attempts int, max_attempts int, waiting_for text, due_at timestamptz,
                 processed_at timestamptz, processing_time_ms float8, error_message text, result jsonb)
  LANGUAGE c VOLATILE ROWS 5 AS 'MODULE_PATHNAME', 'saga_event_status';
COMMENT ON FUNCTION saga.event_status IS 'What became of an event, one row per consumer group that it is meant for: as in event_consumption_log, PENDING (not reached yet), NOT_DELIVERED (the group started or was moved behind it). No row: no group wants it. Error: SG012 unknown event.';

CREATE FUNCTION saga.is_processed(event_id text, consumer_group text) RETURNS boolean
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_is_processed';
COMMENT ON FUNCTION saga.is_processed IS 'Whether a consumer group has processed an event. Errors: SG012 unknown event, SG011 unknown group.';

CREATE FUNCTION saga.trace(correlation_id text)
  RETURNS TABLE (event_id uuid, external_id text, topic text, event_key text, event_type text, consumer_group text,
                 status text, attempts int, causation_id text, "position" bigint, published_at timestamptz,
                 processed_at timestamptz, processing_time_ms float8, error_message text, depth int)
  LANGUAGE c VOLATILE ROWS 20 AS 'MODULE_PATHNAME', 'saga_trace';
COMMENT ON FUNCTION saga.trace IS 'The events of one business process in publish order, each with its status per consumer group (PENDING: not reached; group NULL: nobody wants it): those with that correlation id, and the one whose own id it is. Error: SG012 no such event.';

CREATE FUNCTION saga.wait_for_event(event_id text, timeout interval DEFAULT '30s', consumer_group text DEFAULT NULL) RETURNS text
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_wait_for_event';
COMMENT ON FUNCTION saga.wait_for_event IS 'Waits until a consumer group (NULL: all that want the event) is done with an event. Answers PROCESSED, else the first other outcome (FAILED, INVALID, SKIPPED, CANCELLED), or timeout. Errors: SG012 unknown event, SG011 no such group, 55000 published by the own open transaction, 25001 under REPEATABLE READ.';

CREATE FUNCTION saga.wait_until_idle(topic text DEFAULT NULL, consumer_group text DEFAULT NULL, timeout interval DEFAULT '5 min')
  RETURNS boolean LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_wait_until_idle';
COMMENT ON FUNCTION saga.wait_until_idle IS 'Waits until nothing is left to do: no event undelivered, no handler running, nothing parked but halted events, delays and snoozes that are not due, and retries that are due after the timeout. false: there was still work when the time was up. Errors: SG010, SG011, 25001 under REPEATABLE READ.';
