-- Questions to the tracking views, as dashboards ask them. They read only; run them wherever pg_saga is installed:
--   psql -v ON_ERROR_STOP=1 -f examples/monitoring.sql

CREATE EXTENSION IF NOT EXISTS pg_saga;
SET search_path = saga, public;

-- Production
SELECT status, COUNT(*) FROM event_production_log GROUP BY status;
SELECT * FROM event_production_log WHERE status = 'FAILED';
SELECT topic, COUNT(*) FROM event_production_log GROUP BY topic;
SELECT service_name, status, COUNT(*)
FROM event_production_log
GROUP BY service_name, status;

-- Consumption
SELECT status, COUNT(*) FROM event_consumption_log GROUP BY status;
SELECT * FROM event_consumption_log WHERE status = 'FAILED';
SELECT AVG(processing_time_ms) FROM event_consumption_log
WHERE status = 'PROCESSED';
SELECT consumer_group, status, COUNT(*)
FROM event_consumption_log
GROUP BY consumer_group, status;

-- At which attempt events went through, in percent
SELECT retry_count + 1 AS attempt, COUNT(*), ROUND(100.0 * COUNT(*) / SUM(COUNT(*)) OVER (), 2) AS percent
FROM event_consumption_log WHERE status = 'PROCESSED' GROUP BY retry_count ORDER BY retry_count;

-- Processing times
SELECT consumer_group,
       percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY processing_time_ms) AS p50_p90_p99_ms,
       MAX(processing_time_ms) AS max_ms
FROM event_consumption_log WHERE status = 'PROCESSED' GROUP BY consumer_group;

-- What failed most in the last hour
SELECT consumer_group, sqlstate, error_message, COUNT(*)
FROM attempts WHERE started_at > now() - interval '1 hour'
GROUP BY consumer_group, sqlstate, error_message ORDER BY COUNT(*) DESC LIMIT 10;

-- How far behind, and what holds up whom
SELECT topic, consumer_group, SUM(waiting) AS waiting, SUM(parked) AS parked, MIN(oldest_waiting_published_at) AS oldest
FROM lag GROUP BY topic, consumer_group ORDER BY waiting DESC;
SELECT topic, consumer_group, event_key, waiting_for, waiting, release_command FROM held_keys ORDER BY waiting DESC;
SELECT topic, consumer_group, reason, COUNT(*), MIN(dead_at) FROM dead_letters GROUP BY topic, consumer_group, reason;
