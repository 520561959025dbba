-- Topics, the rights on them, and the installation as a whole.

CREATE FUNCTION saga.create_topic(topic text, partitions int DEFAULT 16, retention interval DEFAULT '7 days',
    on_invalid text DEFAULT 'record', envelope boolean DEFAULT false, if_not_exists boolean DEFAULT false)
  RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_create_topic';
COMMENT ON FUNCTION saga.create_topic IS 'Creates a topic that the caller owns. partitions: a power of two up to 1024, fixed for good. retention: 1 hour to 100 years that events are kept after every consumer group has read them. on_invalid: record (an invalid event becomes a dead letter) or reject (publish fails). envelope: missing arguments of publish come from the payload. Errors: SG020 invalid option, SG021 exists already (a notice with if_not_exists), SG031 in a copy of another database.';

CREATE FUNCTION saga.alter_topic(topic text, retention interval DEFAULT NULL, on_invalid text DEFAULT NULL)
  RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_alter_topic';
COMMENT ON FUNCTION saga.alter_topic IS 'Changes options of a topic; NULL keeps one. retention counts for events published from now on. Needs the right to operate. Errors: SG010 unknown topic, SG020 invalid option, 42501.';

CREATE FUNCTION saga.drop_topic(topic text, force boolean DEFAULT false, reason text DEFAULT NULL)
  RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_drop_topic';
COMMENT ON FUNCTION saga.drop_topic IS 'Drops a topic that has neither consumer groups nor events; with force those too. Storage is freed when its retention is over; dead letters stay. Needs the right to operate. Errors: SG010 unknown topic, SG024 in use, 42501.';

CREATE FUNCTION saga.grant_topic(topic text, role_name text, rights text[])
  RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_grant_topic';
COMMENT ON FUNCTION saga.grant_topic IS 'Gives a role rights on a topic, and the privileges on functions and views that it needs to use them. topic NULL: on all topics, also later ones (superusers and the owner of the extension only). rights: publish, subscribe, operate. Needs the right to operate. Errors: SG010 unknown topic, SG020 unknown right, 42704 unknown role, 42501.';

CREATE FUNCTION saga.revoke_topic(topic text, role_name text, rights text[])
  RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_revoke_topic';
COMMENT ON FUNCTION saga.revoke_topic IS 'Takes rights on a topic from a role, and the privileges that no other right of it needs. Arguments and errors as grant_topic.';

CREATE FUNCTION saga.readable_topics()
  RETURNS int[] LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'saga_readable_topics';
COMMENT ON FUNCTION saga.readable_topics IS 'Numbers of the topics on which the current user has any right. The views of this schema show these only.';

CREATE FUNCTION saga.pause_all(reason text DEFAULT NULL)
  RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_pause_all';
COMMENT ON FUNCTION saga.pause_all IS 'No handler is started any more in this database until resume_all. Publishing goes on.';

CREATE FUNCTION saga.resume_all(reason text DEFAULT NULL)
  RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_resume_all';
COMMENT ON FUNCTION saga.resume_all IS 'Ends pause_all. In a copy of another database (a logical restore, a template copy) it makes this one an installation of its own, in a new era: what the copied consumer groups had not read is delivered here too.';

CREATE FUNCTION saga.paused_reason()
  RETURNS text LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'saga_paused_reason';
COMMENT ON FUNCTION saga.paused_reason IS 'Why no handler runs in this database: the reason of pause_all, or that it is a copy of another one. NULL: they run.';

CREATE FUNCTION saga.guard_data()
  RETURNS text LANGUAGE sql IMMUTABLE
  AS $$SELECT 'DROP EXTENSION would drop all events. CALL saga.remove_all_data(confirm => current_database()) first.'$$;
COMMENT ON FUNCTION saga.guard_data IS 'What the view drop_extension_guard depends on: it stands in the way of DROP EXTENSION while there is data.';

CREATE PROCEDURE saga.remove_all_data(confirm text)
  LANGUAGE c AS 'MODULE_PATHNAME', 'saga_remove_all_data';
COMMENT ON PROCEDURE saga.remove_all_data IS 'Removes every topic, event, subscription, tracking row and dead letter of this database, so that the extension can be dropped. confirm: the name of the database. Superusers and the owner of the extension only. Errors: SG020 another name, 42501.';

CREATE PROCEDURE saga.run_maintenance()
  LANGUAGE c AS 'MODULE_PATHNAME', 'saga_run_maintenance';
COMMENT ON PROCEDURE saga.run_maintenance IS 'Deletes what is past its retention, opens the next storage segments and drops those that nothing needs any more. The engine does so by itself once a minute. Commits after each step. Error: 25001 inside a transaction block.';

CREATE VIEW saga.topics WITH (security_barrier) AS
  SELECT t.topic, t.partitions, t.retention, t.on_invalid, t.envelope, t.owner_name AS owner, t.created_at
    FROM saga.topic t
   WHERE t.topic_id = ANY (ARRAY(SELECT pg_catalog.unnest(saga.readable_topics())));
COMMENT ON VIEW saga.topics IS 'The topics on which the current user has any right.';
