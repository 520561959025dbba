-- What a handler can do beside succeeding and failing: wait (snooze), refuse for good (reject), do nothing (skip), answer
-- with a document, and publish further events, which continue the story of its own.
--
-- Run it as a superuser in an empty database whose server preloads pg_saga:
--   psql -v ON_ERROR_STOP=1 -f examples/outcomes.sql

CREATE EXTENSION IF NOT EXISTS pg_saga;
CREATE ROLE mailer LOGIN;
CREATE SCHEMA mailer AUTHORIZATION mailer;
SELECT saga.create_topic('mails');
SELECT saga.grant_topic('mails', 'mailer', ARRAY['publish', 'subscribe', 'operate']);

SET SESSION AUTHORIZATION mailer;

CREATE TABLE mailer.office (open boolean NOT NULL);
INSERT INTO mailer.office VALUES (false);

CREATE FUNCTION mailer.on_mail(event saga.event) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  address text := event.payload ->> 'to';
BEGIN
  IF address NOT LIKE '%@%' THEN
    PERFORM saga.reject('no address: ' || address);        -- a dead letter at once
  ELSIF event.payload ? 'unsubscribed' THEN
    PERFORM saga.skip('does not want mails');              -- recorded, nothing more
  ELSIF NOT (SELECT open FROM mailer.office) THEN
    PERFORM saga.snooze('1 s');                            -- again later, no attempt is spent
  END IF;
  -- Same correlation id, and this event as the cause.
  PERFORM saga.publish('mails', jsonb_build_object('about', address), event_type => 'MailQueued');
  RETURN jsonb_build_object('queued_for', address);
END
$$;
SELECT saga.subscribe('mails', 'mailer.on_mail', consumer_group => 'mailer', event_types => ARRAY['MailRequested']);

SELECT saga.publish('mails', payload, event_type => 'MailRequested', correlation_id => 'campaign 1', event_id => id)
  FROM (VALUES ('mail-1', jsonb '{"to": "ada@example.com"}'),
               ('mail-2', '{"to": "nowhere"}'),
               ('mail-3', '{"to": "grace@example.com", "unsubscribed": true}')) AS m(id, payload);

SELECT saga.wait_for_event('mail-2') AS mail_2, saga.wait_for_event('mail-3') AS mail_3;
SELECT external_id, status, waiting_for, retry_count FROM saga.event_consumption_log ORDER BY "offset";

UPDATE mailer.office SET open = true;
SELECT saga.wait_for_event('mail-1') AS mail_1;

SELECT event_type, external_id, status, causation_id IS NOT NULL AS has_cause FROM saga.trace('campaign 1');
SELECT external_id, reason, error_message FROM saga.dead_letters;

RESET SESSION AUTHORIZATION;
