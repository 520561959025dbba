-- Every change of a table as an event, without a change in the application: the trigger function publish_row.
--
-- Run it as a superuser in an empty database whose server preloads pg_saga:
--   psql -v ON_ERROR_STOP=1 -f examples/publish_row.sql

CREATE EXTENSION IF NOT EXISTS pg_saga;
SELECT saga.create_topic('stock-changes', partitions => 4);

CREATE TABLE stock (article text PRIMARY KEY, pieces int NOT NULL);
CREATE TRIGGER publish_changes AFTER INSERT OR UPDATE OR DELETE ON stock
  FOR EACH ROW EXECUTE FUNCTION saga.publish_row('stock-changes', 'article');

-- A second table that follows the first one: changes of one article arrive in the order of their commits.
CREATE TABLE shop_window (article text PRIMARY KEY, available boolean NOT NULL);
CREATE FUNCTION on_stock_change(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF event.event_type = 'stock.deleted' THEN
    DELETE FROM shop_window WHERE article = event.event_key;
  ELSE
    INSERT INTO shop_window VALUES (event.event_key, (event.payload ->> 'pieces')::int > 0)
    ON CONFLICT (article) DO UPDATE SET available = excluded.available;
  END IF;
END
$$;
SELECT saga.subscribe('stock-changes', 'on_stock_change');

INSERT INTO stock VALUES ('lamp', 5), ('chair', 1), ('table', 2);
UPDATE stock SET pieces = 0 WHERE article = 'chair';
DELETE FROM stock WHERE article = 'table';

SELECT saga.wait_until_idle('stock-changes');
SELECT event_type, event_key, payload FROM saga.event_production_log ORDER BY "offset";
SELECT * FROM shop_window ORDER BY article;
