-- What operators do: parked events, held keys, dead letters. Every call needs the right to operate on the topic, or
-- membership in the role that the consumer group runs as, and leaves a row in audit_log.

CREATE FUNCTION saga.retry_now(event_id text, consumer_group text, reason text DEFAULT NULL) RETURNS int
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_retry_now';
COMMENT ON FUNCTION saga.retry_now IS 'Makes a parked event due now; returns 1. Errors: SG012 unknown event, SG011 unknown group, SG014 not parked (the hint says its status), 55006 running now, 42501.';

CREATE FUNCTION saga.skip_event(event_id text, consumer_group text, reason text DEFAULT NULL) RETURNS int
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_skip_event';
COMMENT ON FUNCTION saga.skip_event IS 'Ends a parked event as SKIPPED and frees its key; returns 1. Errors as retry_now.';

CREATE FUNCTION saga.cancel_event(event_id text, consumer_group text, reason text DEFAULT NULL) RETURNS int
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_cancel_event';
COMMENT ON FUNCTION saga.cancel_event IS 'Ends a parked event as CANCELLED, or stops its running handler, whose effects are rolled back; returns 1. Errors as retry_now.';

CREATE FUNCTION saga.release_key(topic text, consumer_group text, key text, reason text DEFAULT NULL) RETURNS int
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_release_key';
COMMENT ON FUNCTION saga.release_key IS 'Ends the event that holds a key as SKIPPED, a halted one too, so that those behind it go on; returns 1. Errors: SG010, SG011, SG014 not held, 55006 running now, 42501.';

CREATE FUNCTION saga.replay_dead_letter(dead_letter_id uuid, reason text DEFAULT NULL, payload jsonb DEFAULT NULL) RETURNS int
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_replay_dead_letter';
COMMENT ON FUNCTION saga.replay_dead_letter IS 'Delivers the event again to the same consumer group with a fresh budget, with an edited payload if given; under on_exhausted halt before all that waits on its key. An event that was invalid when published needs a payload and is published under the same id. Returns 1. Errors: SG013 unknown, 55000 cannot be replayed (the hint says why), SG011 group gone, 42501.';

CREATE FUNCTION saga.review_dead_letter(dead_letter_id uuid, review_state text, note text DEFAULT NULL) RETURNS int
  LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'saga_review_dead_letter';
COMMENT ON FUNCTION saga.review_dead_letter IS 'Sets the review state (needs_review, in_review, reviewed), the caller as reviewer and, if given, the note; returns 1. Errors: SG013 unknown, SG020 unknown state, 42501.';

CREATE PROCEDURE saga.replay_dead_letters(filters jsonb DEFAULT '{}', max_events int DEFAULT 1000, per_second int DEFAULT NULL,
    dry_run boolean DEFAULT false, reason text DEFAULT NULL)
  LANGUAGE c AS 'MODULE_PATHNAME', 'saga_replay_dead_letters';
COMMENT ON PROCEDURE saga.replay_dead_letters IS 'Replays the oldest dead letters that match all filters: topic, consumer_group, event_type, sqlstate, reason, dead_after, dead_before, ids. Commits every 100, tells by NOTICE what it did. per_second: at most so many a second. dry_run: only counts. Errors: SG020 unknown filter, 25001 inside a transaction block.';

CREATE PROCEDURE saga.discard_dead_letters(filters jsonb, reason text DEFAULT NULL)
  LANGUAGE c AS 'MODULE_PATHNAME', 'saga_discard_dead_letters';
COMMENT ON PROCEDURE saga.discard_dead_letters IS 'Settles the dead letters that match all filters (as replay_dead_letters) without a replay; keys that they held go free. Commits every 100.';

CREATE PROCEDURE saga.purge_dead_letters(older_than interval)
  LANGUAGE c AS 'MODULE_PATHNAME', 'saga_purge_dead_letters';
COMMENT ON PROCEDURE saga.purge_dead_letters IS 'Deletes dead letters that died longer ago than that, settled or not, but for those that still hold a key. Commits every 100.';
