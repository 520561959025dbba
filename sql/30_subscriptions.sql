-- Subscriptions.

CREATE FUNCTION saga.subscribe(topic text, handler text, consumer_group text DEFAULT NULL, event_types text[] DEFAULT NULL,
    ordering text DEFAULT 'key', concurrency int DEFAULT 10, max_attempts int DEFAULT 3, backoff interval DEFAULT '1s',
    max_backoff interval DEFAULT '1h', jitter float8 DEFAULT 0.2, timeout interval DEFAULT '30s',
    max_age interval DEFAULT NULL, on_exhausted text DEFAULT 'continue', circuit text DEFAULT NULL,
    isolation text DEFAULT 'read committed', business_critical boolean DEFAULT false, start_from text DEFAULT 'latest',
    run_as text DEFAULT NULL, service_name text DEFAULT NULL)
  RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_subscribe';
COMMENT ON FUNCTION saga.subscribe IS 'Lets a function process the events of a topic, and returns the name of the consumer group. handler: f, s.f or s.f(saga.event), found as the caller finds it; it returns void or jsonb. consumer_group: the name of the function if NULL. event_types: NULL for all. ordering: key (events of a key in order), topic (all events in order) or none. concurrency: workers at most, 1 to 256. max_attempts: 1 to 1000. backoff doubles with each attempt up to max_backoff, plus jitter (0 to 1) of itself. timeout: of one attempt. max_age: no retry of older events. on_exhausted: continue or halt (the key is held). isolation: of the handler''s transaction. start_from: latest, earliest or a time. run_as: the role the handler runs as, the caller if NULL. service_name: the consumer group if NULL. Again with equal options it does nothing. Errors: SG010 unknown topic, SG020 invalid option, SG021 the group exists with other options, SG023 no such handler, 42501.';

CREATE FUNCTION saga.alter_subscription(topic text, consumer_group text, handler text DEFAULT NULL,
    event_types text[] DEFAULT NULL, ordering text DEFAULT NULL, concurrency int DEFAULT NULL,
    max_attempts int DEFAULT NULL, backoff interval DEFAULT NULL, max_backoff interval DEFAULT NULL,
    jitter float8 DEFAULT NULL, timeout interval DEFAULT NULL, max_age interval DEFAULT NULL,
    on_exhausted text DEFAULT NULL, circuit text DEFAULT NULL, isolation text DEFAULT NULL,
    business_critical boolean DEFAULT NULL, run_as text DEFAULT NULL, service_name text DEFAULT NULL,
    reason text DEFAULT NULL)
  RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_alter_subscription';
COMMENT ON FUNCTION saga.alter_subscription IS 'Changes options of a subscription; NULL keeps one. event_types {} means all types again, max_age 0 and circuit '''' mean none. ordering cannot change from or to topic. A new handler or run_as needs membership in the role that it runs as. For the role of the subscription and who may operate the topic. Errors: SG010, SG011 unknown group, SG020, SG023, 42501.';

CREATE FUNCTION saga.unsubscribe(topic text, consumer_group text, reason text DEFAULT NULL)
  RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_unsubscribe';
COMMENT ON FUNCTION saga.unsubscribe IS 'Ends a subscription and forgets how far it was and what it had parked. Its dead letters stay. For the role of the subscription and who may operate the topic. Errors: SG010, SG011, 42501.';

CREATE FUNCTION saga.seek(topic text, consumer_group text, start_from text, reason text DEFAULT NULL)
  RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_seek';
COMMENT ON FUNCTION saga.seek IS 'Lets a consumer group go on elsewhere: earliest, latest or a time. Events are delivered again from there; what was parked is forgotten. For the role of the subscription and who may operate the topic. Errors: SG010, SG011, SG020, 42501.';

CREATE FUNCTION saga.pause(topic text, consumer_group text, reason text DEFAULT NULL)
  RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_pause';
COMMENT ON FUNCTION saga.pause IS 'Starts no handler of this subscription any more until resume; the batch that runs ends first. Nothing is lost meanwhile. For the role of the subscription and who may operate the topic. Errors: SG010, SG011, 42501.';

CREATE FUNCTION saga.resume(topic text, consumer_group text, reason text DEFAULT NULL)
  RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_resume';
COMMENT ON FUNCTION saga.resume IS 'Ends a pause. The handler is checked again; if its owner changed, who may become the role of the subscription confirms it so. Errors: SG010, SG011, SG020, SG023, 42501.';

CREATE VIEW saga.subscriptions WITH (security_barrier) AS
  SELECT t.topic, s.consumer_group, s.handler, s.handler_owner, s.event_types, s.ordering, s.concurrency, s.max_attempts,
         s.backoff, s.max_backoff, s.jitter, s.timeout, s.max_age, s.on_exhausted, s.circuit, s.isolation,
         s.business_critical, s.start_from, s.run_as, s.service_name,
         CASE WHEN coalesce(s.paused_reason, i.reason) IS NULL THEN 'running' ELSE 'paused' END AS state,
         coalesce(s.paused_reason, i.reason) AS paused_reason, s.created_at
    FROM saga.subscription s
    JOIN saga.topic t USING (topic_id)
    CROSS JOIN (SELECT saga.paused_reason() AS reason) i
   WHERE s.topic_id = ANY (ARRAY(SELECT pg_catalog.unnest(saga.readable_topics())));
COMMENT ON VIEW saga.subscriptions IS 'The subscriptions of the topics on which the current user has any right. state: running, or paused with its reason.';
