-- Objects of the benchmark: handlers that do as little as possible, the same rows without us, and PgQ's own loop.
CREATE EXTENSION pg_saga;
CREATE EXTENSION pgq;
CREATE EXTENSION pgstattuple;
CREATE SCHEMA bench;

-- ------------------------------------------------------------------------------------------ pg_saga
CREATE FUNCTION bench.noop(event saga.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;

CREATE TABLE bench.effect (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic text NOT NULL, key text,
                           payload jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
                           status text NOT NULL DEFAULT 'new');
CREATE FUNCTION bench.write_row(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO bench.effect (topic, key, payload) VALUES (event.topic, event.event_key, event.payload);
END $$;

-- run_order: the order in which the handler was called, within a lane.
CREATE TABLE bench.seen (run_order bigint GENERATED ALWAYS AS IDENTITY, key text NOT NULL, sequence int NOT NULL);
CREATE FUNCTION bench.record_order(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO bench.seen (key, sequence) VALUES (event.event_key, (event.payload ->> 'sequence')::int);
END $$;

CREATE TABLE bench.entered (number int NOT NULL, entered_at timestamptz NOT NULL);
CREATE FUNCTION bench.record_time(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  now timestamptz := clock_timestamp();
BEGIN
  INSERT INTO bench.entered (number, entered_at) VALUES ((event.payload ->> 'number')::int, now);
END $$;

-- ------------------------------------------------------------------------------------------ the bare loop
CREATE PROCEDURE bench.bare_rows(events int, document jsonb) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. events LOOP
    INSERT INTO bench.effect (topic, key, payload) VALUES ('bench', 'k', document);
    IF i % 5000 = 0 THEN COMMIT; END IF;
  END LOOP;
END $$;

-- ------------------------------------------------------------------------------------------ PgQ
CREATE FUNCTION bench.pgq_noop(data text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE FUNCTION bench.pgq_write_row(key text, data text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO bench.effect (topic, key, payload) VALUES ('bench', key, data::jsonb);
END $$;

SELECT pgq.create_queue('bench');
SELECT pgq.register_consumer('bench', 'consumer');
-- Every call of ticker() makes a tick.
SELECT pgq.set_queue_config('bench', 'ticker_max_lag', '0 seconds');

-- One consumer, one transaction per batch, nothing kept per event.
CREATE PROCEDURE bench.pgq_drain() LANGUAGE plpgsql AS $$
DECLARE
  batch bigint;
  event record;
BEGIN
  LOOP
    batch := pgq.next_batch('bench', 'consumer');
    IF batch IS NULL THEN COMMIT; EXIT; END IF;
    FOR event IN SELECT * FROM pgq.get_batch_events(batch) LOOP PERFORM bench.pgq_noop(event.ev_data); END LOOP;
    PERFORM pgq.finish_batch(batch);
    COMMIT;
  END LOOP;
END $$;

CREATE PROCEDURE bench.pgq_drain_rows() LANGUAGE plpgsql AS $$
DECLARE
  batch bigint;
  event record;
BEGIN
  LOOP
    batch := pgq.next_batch('bench', 'consumer');
    IF batch IS NULL THEN COMMIT; EXIT; END IF;
    FOR event IN SELECT * FROM pgq.get_batch_events(batch) LOOP
      PERFORM bench.pgq_write_row(event.ev_extra1, event.ev_data);
    END LOOP;
    PERFORM pgq.finish_batch(batch);
    COMMIT;
  END LOOP;
END $$;

-- Ticks, consumes and rotates for some seconds; the count of consumed events is visible to other sessions at once.
CREATE SEQUENCE bench.pgq_done MINVALUE 0 START 0;
CREATE PROCEDURE bench.pgq_consume(seconds float8) LANGUAGE plpgsql AS $$
DECLARE
  batch bigint;
  event record;
  done bigint := 0;
  finish timestamptz := clock_timestamp() + make_interval(secs => seconds);
BEGIN
  PERFORM setval('bench.pgq_done', 0);
  WHILE clock_timestamp() < finish LOOP
    PERFORM pgq.ticker('bench');
    COMMIT;
    batch := pgq.next_batch('bench', 'consumer');
    IF batch IS NULL THEN COMMIT; PERFORM pg_sleep(0.002); CONTINUE; END IF;
    FOR event IN SELECT * FROM pgq.get_batch_events(batch) LOOP
      PERFORM bench.pgq_noop(event.ev_data);
      done := done + 1;
    END LOOP;
    PERFORM pgq.finish_batch(batch);
    PERFORM setval('bench.pgq_done', done);
    COMMIT;
  END LOOP;
END $$;
