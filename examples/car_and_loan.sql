-- The car-and-loan example: what the demonstration and the documentation work with. Four types of events tell the life of
-- a car: CarCreated, LoanCreated, LoanPaymentSubmitted, CarServiceDone. A payment needs its loan, a service its car.
-- One handler serves three consumer groups that differ in nothing but their ordering; each keeps its books apart.
--
-- Run it as a superuser in an empty database whose server preloads pg_saga:
--   psql -v ON_ERROR_STOP=1 -f examples/car_and_loan.sql

CREATE EXTENSION IF NOT EXISTS pg_saga;

-- Handlers belong to a plain role: their workers are connected as that role and can do what it can do, no more.
CREATE ROLE dealer LOGIN;
CREATE SCHEMA dealership AUTHORIZATION dealer;

-- A topic per mode, since the same events go through all three of them.
SELECT saga.create_topic('dealer-sequential');
SELECT saga.create_topic('dealer-hybrid');
SELECT saga.create_topic('dealer-parallel');
SELECT saga.create_topic('instalments');
SELECT saga.grant_topic(topic, 'dealer', ARRAY['publish', 'subscribe', 'operate'])
  FROM unnest(ARRAY['dealer-sequential', 'dealer-hybrid', 'dealer-parallel', 'instalments']) AS topic;

SET SESSION AUTHORIZATION dealer;

-- ------------------------------------------------------------------------------------------ the dealer's books
CREATE TABLE dealership.cars (
  mode text,
  car_id text,
  PRIMARY KEY (mode, car_id)
);
CREATE TABLE dealership.loans (
  mode text,
  loan_id text,
  car_id text NOT NULL,
  amount numeric NOT NULL,
  PRIMARY KEY (mode, loan_id)
);
CREATE TABLE dealership.payments (
  mode text,
  payment_id text,
  loan_id text NOT NULL,
  amount numeric NOT NULL CONSTRAINT amount_is_positive CHECK (amount > 0),
  PRIMARY KEY (mode, payment_id)
);
CREATE TABLE dealership.services (
  mode text,
  service_id text,
  car_id text NOT NULL,
  PRIMARY KEY (mode, service_id)
);
-- One line per event that was processed, in the order of processing.
CREATE TABLE dealership.journal (
  line bigint GENERATED ALWAYS AS IDENTITY,
  mode text NOT NULL,
  event_id uuid NOT NULL,
  event_type text NOT NULL,
  car_id text NOT NULL
);

-- ------------------------------------------------------------------------------------------ the handler
-- What it writes commits together with the tracking row and the progress of its group, or not at all.
CREATE FUNCTION dealership.on_event(event saga.event) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  books text := event.consumer_group;
  doc jsonb := event.payload;
BEGIN
  IF event.attempt <= (doc ->> 'failures')::int THEN
    RAISE EXCEPTION 'the credit bureau does not answer' USING ERRCODE = 'connection_failure';
  END IF;
  CASE event.event_type
    WHEN 'CarCreated' THEN
      INSERT INTO dealership.cars VALUES (books, doc ->> 'carId');
    WHEN 'LoanCreated' THEN
      INSERT INTO dealership.loans VALUES (books, doc ->> 'loanId', doc ->> 'carId', (doc ->> 'amount')::numeric);
    WHEN 'LoanPaymentSubmitted' THEN
      PERFORM FROM dealership.loans l WHERE l.mode = books AND l.loan_id = doc ->> 'loanId';
      IF NOT FOUND THEN RAISE EXCEPTION 'loan % does not exist yet', doc ->> 'loanId'; END IF;
      INSERT INTO dealership.payments VALUES (books, doc ->> 'paymentId', doc ->> 'loanId', (doc ->> 'amount')::numeric);
    WHEN 'CarServiceDone' THEN
      PERFORM FROM dealership.cars c WHERE c.mode = books AND c.car_id = doc ->> 'carId';
      IF NOT FOUND THEN RAISE EXCEPTION 'car % does not exist yet', doc ->> 'carId'; END IF;
      INSERT INTO dealership.services VALUES (books, doc ->> 'serviceId', doc ->> 'carId');
  END CASE;
  INSERT INTO dealership.journal (mode, event_id, event_type, car_id)
  VALUES (books, event.event_id, event.event_type, doc ->> 'carId');
  RETURN jsonb_build_object('booked', event.event_type);
END
$$;

-- Sequential mode: one event after the other. Parallel mode: no order at all. Hybrid: in order per car, cars in parallel.
SELECT saga.subscribe('dealer-sequential', 'dealership.on_event', consumer_group => 'sequential', ordering => 'topic');
SELECT saga.subscribe('dealer-hybrid',     'dealership.on_event', consumer_group => 'hybrid',     ordering => 'key');
SELECT saga.subscribe('dealer-parallel',   'dealership.on_event', consumer_group => 'parallel',   ordering => 'none');

-- ------------------------------------------------------------------------------------------ the events
-- Five cars and all that happens to them: cars first, then loans, payments and services. On request one loan fails twice
-- before it goes through, and one payment can never go through: nobody pays -250.
CREATE FUNCTION dealership.story(failing_loan int DEFAULT NULL, failing_payment int DEFAULT NULL)
  RETURNS TABLE (place int, event_type text, payload jsonb) LANGUAGE sql AS $$
  SELECT e.*
    FROM generate_series(1, 5) AS n
   CROSS JOIN LATERAL (VALUES
     (n, 'CarCreated', jsonb_build_object('carId', 'CAR-' || n)),
     (5 + n, 'LoanCreated', jsonb_build_object('carId', 'CAR-' || n, 'loanId', 'LOAN-' || n, 'amount', 10000,
        'failures', CASE WHEN n = failing_loan THEN 2 ELSE 0 END)),
     (10 + n, 'LoanPaymentSubmitted', jsonb_build_object('carId', 'CAR-' || n, 'loanId', 'LOAN-' || n,
        'paymentId', 'PAYMENT-' || n, 'amount', CASE WHEN n = failing_payment THEN -250 ELSE 250 END)),
     (15 + n, 'CarServiceDone', jsonb_build_object('carId', 'CAR-' || n, 'serviceId', 'SERVICE-' || n))
   ) AS e(place, event_type, payload)
   ORDER BY place
$$;

-- ------------------------------------------------------------------------------------------ many small payments
-- Fifty accounts. Each instalment continues the chain of its account, so a lost one, a repeated one or one out of turn
-- would show in the last link.
CREATE TABLE dealership.accounts (
  account text PRIMARY KEY,
  instalments int NOT NULL,
  chain text NOT NULL
);
INSERT INTO dealership.accounts SELECT 'ACCOUNT-' || n, 0, '' FROM generate_series(1, 50) AS n;

CREATE FUNCTION dealership.book_instalment(event saga.event) RETURNS void LANGUAGE sql AS $$
  SELECT pg_sleep(0.01);
  UPDATE dealership.accounts
     SET instalments = instalments + 1, chain = md5(chain || (event.payload ->> 'number'))
   WHERE account = event.event_key;
$$;
SELECT saga.subscribe('instalments', 'dealership.book_instalment', consumer_group => 'bank');

-- The chain as it must be after so many instalments.
CREATE FUNCTION dealership.chain_after(instalments int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  chain text := '';
BEGIN
  FOR number IN 1 .. instalments LOOP chain := md5(chain || number); END LOOP;
  RETURN chain;
END
$$;

RESET SESSION AUTHORIZATION;
