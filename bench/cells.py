"""What is measured. Every function takes a Bench and returns results; see README.md for what each one means."""

import contextlib
import json
import os
import statistics
import threading
import time

import pq

PARTITIONS = 16
KEYS = 1000


def make_payload():
    """The same 200-byte document for every system."""
    document = {"type": "order.created", "customer": "c-00012345", "amount": "129.95", "currency": "EUR", "note": ""}
    document["note"] = "x" * (200 - len(json.dumps(document, separators=(",", ":"))))
    return json.dumps(document, separators=(",", ":"))


PAYLOAD = make_payload()

# One row of the log, drawn and numbered as publish does it; bench.bare has the columns and indexes of the log's leaf.
BARE_COLUMNS = """INSERT INTO bench.bare (xid, "position", published_at, event_id, segment_id, topic_id, publisher_oid, era,
  partition_number, slot, depth, event_key, event_type, payload, service_name)"""
BARE_VALUES = """pg_current_xact_id(), nextval('bench.bare_position'), clock_timestamp(),
  lpad(to_hex(currval('bench.bare_position')), 32, '0')::uuid, 1, 1, 10, 1, ({k} & 15)::int2, ({k} & 1023)::int2, 0::int2,
  'k' || {k}, 'order.created', '{payload}'::jsonb, 'pgbench'"""


def bare_values(key):
    return BARE_VALUES.format(k=key, payload=PAYLOAD)


def array_of(texts):
    return "'{" + ",".join(texts) + "}'::text[]"


def batch_call(topic, count, payload=f"'{PAYLOAD}'::jsonb"):
    keys = array_of(f"k{i % KEYS}" for i in range(count))
    types = array_of(["order.created"] * count)
    return f"saga.publish_batch('{topic}', array_fill({payload}, ARRAY[{count}]), {types}, {keys})"


SINGLE = {
    "pg_saga": f"\\set k random(1, {KEYS})\n"
               f"SELECT saga.publish('single', '{PAYLOAD}'::jsonb, 'order.created', 'k' || :k);\n",
    "bare": f"\\set k random(1, {KEYS})\n{BARE_COLUMNS} VALUES ({bare_values(':k')});\n",
    "pgq": f"\\set k random(1, {KEYS})\n"
           f"SELECT pgq.insert_event('bench', 'order.created', '{PAYLOAD}', 'k' || :k, NULL, NULL, NULL);\n",
}
BATCH = {
    "pg_saga": f"SELECT array_length({batch_call('batch', 1000)}, 1);\n",
    "bare": f"{BARE_COLUMNS} SELECT {bare_values('g')} FROM generate_series(1, 1000) g;\n",
    "pgq": f"SELECT count(pgq.insert_event('bench', 'order.created', '{PAYLOAD}', 'k' || g, NULL, NULL, NULL))"
           f" FROM generate_series(1, 1000) g;\n",
}


class Bench:
    """A server, a session, and how much to measure."""

    def __init__(self, server, quick, full, progress):
        self.server, self.quick, self.full, self.progress = server, quick, full, progress
        self.connection = pq.Connection()
        self.rounds = int(os.environ.get("ROUNDS", 1 if quick else 3))
        self.events = int(os.environ.get("N", 1_000_000 if full else 50_000 if quick else 200_000))

    def query(self, sql):
        return self.connection.query(sql)

    def one(self, sql):
        return self.connection.one(sql)

    def set_up(self):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "setup.sql"), encoding="utf-8") as file:
            self.query(file.read())
        for topic in ("single", "batch"):
            self.query(f"SELECT saga.create_topic('{topic}', partitions => {PARTITIONS})")
        leaf = self.one("SELECT max(inhrelid)::regclass FROM pg_inherits WHERE inhparent = 'saga.event_v1'::regclass")
        self.query("CREATE SEQUENCE bench.bare_position CACHE 1")
        self.query(f"CREATE TABLE bench.bare (LIKE {leaf} INCLUDING ALL)")

    def usage(self):
        """A point in time from which Usage counts."""
        return Usage(self)

    def wait_until_idle(self, topic, group):
        answer = self.one(f"SELECT saga.wait_until_idle('{topic}', '{group}', '10 min')")
        if answer in ("f", "timeout"):
            raise SystemExit(f"bench: {topic}/{group} does not become idle\n{self.server.log_tail()}")


class Usage:
    """WAL bytes, processor seconds of the server and transaction ids since it was made."""

    def __init__(self, bench):
        self.bench = bench
        self.lsn, self.xid = self._look()
        self.cpu, self.time = bench.server.cpu_seconds(), time.perf_counter()

    def _look(self):
        lsn, xid = self.bench.query("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn,"
                                    " pg_snapshot_xmax(pg_current_snapshot())")[0]
        return int(lsn), int(xid)

    def per_event(self, events):
        seconds = time.perf_counter() - self.time
        cpu = self.bench.server.cpu_seconds() - self.cpu
        lsn, xid = self._look()
        return {
            "per_second": round(events / seconds),
            "wal_bytes": round((lsn - self.lsn) / events, 1),
            "cpu_us": round(cpu * 1e6 / events, 2),
            "xids_per_million": round((xid - self.xid) * 1e6 / events),
        }


def median_of(runs):
    """Medians of equal dictionaries of numbers, with all runs of the rate."""
    summary = {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}
    summary["runs"] = [run["per_second"] for run in runs]
    return summary


def interleaved(rounds, systems, measure):
    """Every system in every round, in turning order, so that a disturbance hits all alike; the median counts."""
    found = {name: [] for name in systems}
    names = list(systems)
    for turn in range(rounds):
        for name in names[turn % len(names):] + names[:turn % len(names)]:
            found[name].append(measure(name))
    return {name: median_of(runs) for name, runs in found.items()}


# ---------------------------------------------------------------------------------------------------- publish

def publish(bench, scripts, clients, events_per_call):
    """Many short turns: what disturbs most here, the disk of a shared machine, comes in bursts of seconds."""
    def measure(name):
        bench.query("CHECKPOINT")
        usage = bench.usage()
        rate, calls = bench.server.pgbench(scripts[name], clients, 1)
        answer = usage.per_event(max(calls, 1) * events_per_call)
        answer["per_second"] = round(rate * events_per_call)
        return answer

    return interleaved(bench.rounds * (2 if bench.quick else 5), scripts, measure)


def publish_single(bench):
    return {f"publish, {c} client{'s' * (c > 1)}": publish(bench, SINGLE, c, 1) for c in (1, 8)}


def publish_batch(bench):
    return {f"publish_batch of 1,000, {c} client{'s' * (c > 1)}": publish(bench, BATCH, c, 1000) for c in (1, 4)}


# ---------------------------------------------------------------------------------------------------- drain

def subscribe_paused(bench, topic, handler, group):
    bench.query(f"SELECT saga.subscribe('{topic}', 'bench.{handler}', consumer_group => '{group}')")
    bench.query(f"SELECT saga.pause('{topic}', '{group}', 'the backlog is made first')")


def fresh_topic(bench, topic, handler):
    """A topic with one paused group; what an earlier round left is gone."""
    if bench.one(f"SELECT count(*) FROM saga.topics WHERE topic = '{topic}'") != "0":
        bench.query(f"SELECT saga.drop_topic('{topic}', force => true, reason => 'next round')")
    bench.query(f"SELECT saga.create_topic('{topic}', partitions => {PARTITIONS})")
    subscribe_paused(bench, topic, handler, "group")


def fill(bench, topic, events):
    for _ in range(events // 1000):
        bench.query(f"SELECT array_length({batch_call(topic, 1000)}, 1)")


def drain(bench, topic, events, group="group"):
    """From resume to idle; a worker's start included."""
    bench.query("CHECKPOINT")
    usage = bench.usage()
    bench.query(f"SELECT saga.resume('{topic}', '{group}', 'go')")
    bench.wait_until_idle(topic, group)
    return usage.per_event(events)


def pgq_fill(bench, events):
    """Batches of 5,000: a tick after each."""
    bench.query("SELECT pgq.ticker('bench')")
    bench.query("SELECT pgq.unregister_consumer('bench', 'consumer')")
    bench.query("SELECT pgq.register_consumer('bench', 'consumer')")
    for _ in range(events // 5000):
        bench.query(f"SELECT count(pgq.insert_event('bench', 'order.created', '{PAYLOAD}', 'k' || g % {KEYS}, NULL, NULL, NULL))"
                    " FROM generate_series(1, 5000) g")
        bench.query("SELECT pgq.ticker('bench')")


def pgq_drain(bench, procedure, events):
    bench.query("CHECKPOINT")
    usage = bench.usage()
    bench.query(f"CALL bench.{procedure}()")
    return usage.per_event(events)


def bytes_of(bench, schema):
    return int(bench.one("SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                         f" WHERE n.nspname = '{schema}' AND c.relkind = 'r'"))


def drain_noop(bench):
    """Also what publishing in batches and processing cost per event, in WAL, processor time and disk."""
    costs = {"pg_saga": [], "pgq": []}

    def measure(name):
        schema = "saga" if name == "pg_saga" else "pgq"
        if name == "pg_saga":
            fresh_topic(bench, "drain", "noop")
        before = bytes_of(bench, schema)
        bench.query("CHECKPOINT")
        usage = bench.usage()
        fill(bench, "drain", bench.events) if name == "pg_saga" else pgq_fill(bench, bench.events)
        published = usage.per_event(bench.events)
        done = drain(bench, "drain", bench.events) if name == "pg_saga" else pgq_drain(bench, "pgq_drain", bench.events)
        costs[name].append({
            "per_second": done["per_second"],
            "published_wal_bytes": published["wal_bytes"], "published_cpu_us": published["cpu_us"],
            "processed_wal_bytes": done["wal_bytes"], "processed_cpu_us": done["cpu_us"],
            "disk_bytes": (bytes_of(bench, schema) - before) / bench.events,
        })
        return done

    rates = interleaved(bench.rounds, ["pg_saga", "pgq"], measure)
    return {f"drain {bench.events:,}, no-op": rates, "costs": {name: median_of(runs) for name, runs in costs.items()}}


def drain_rows(bench):
    events = bench.events // 2

    def measure(name):
        bench.query("TRUNCATE bench.effect")
        if name == "pg_saga":
            fresh_topic(bench, "drain_rows", "write_row")
            fill(bench, "drain_rows", events)
            return drain(bench, "drain_rows", events)
        if name == "pgq":
            pgq_fill(bench, events)
            return pgq_drain(bench, "pgq_drain_rows", events)
        bench.query("CHECKPOINT")
        usage = bench.usage()
        bench.query(f"CALL bench.bare_rows({events}, '{PAYLOAD}')")
        return usage.per_event(events)

    return {f"drain {events:,}, handler inserts a row": interleaved(bench.rounds, ["pg_saga", "bare", "pgq"], measure)}


def drain_singles(bench):
    """The backlog that publish_single has left: one transaction per event."""
    events = int(bench.one("SELECT count(*) FROM saga.event_v1 WHERE topic_id ="
                           " (SELECT topic_id FROM saga.topic WHERE topic = 'single')"))
    if events == 0:
        return {}
    bench.query("SELECT saga.subscribe('single', 'bench.noop', consumer_group => 'late', start_from => 'earliest')")
    usage = bench.usage()
    bench.wait_until_idle("single", "late")
    rate = usage.per_event(events)
    return {f"drain {events:,} published one by one": {"pg_saga": median_of([rate])}}


# ---------------------------------------------------------------------------------------------------- order

def order_rounds(bench, publish_round, rounds):
    for sequence in range(1, rounds + 1):
        publish_round(sequence)


def order_per_key(bench):
    """1,000 keys x 20: the rate with a no-op handler, the order of the calls with a handler that records it."""
    keys, rounds = KEYS, 20

    def publish_rounds(topic):
        for sequence in range(1, rounds + 1):
            document = '{"sequence": "%d"}' % sequence
            bench.query(f"SELECT array_length({batch_call(topic, keys, chr(39) + document + chr(39) + '::jsonb')}, 1)")

    def measure(name):
        if name == "pg_saga":
            fresh_topic(bench, "order_rate", "noop")
            publish_rounds("order_rate")
            return drain(bench, "order_rate", keys * rounds)
        pgq_fill(bench, keys * rounds)
        return pgq_drain(bench, "pgq_drain", keys * rounds)

    found = interleaved(bench.rounds, ["pg_saga", "pgq"], measure)
    bench.query("TRUNCATE bench.seen")
    fresh_topic(bench, "order_check", "record_order")
    publish_rounds("order_check")
    drain(bench, "order_check", keys * rounds)
    found["pg_saga"]["violations"] = int(bench.one(
        "SELECT count(*) FROM (SELECT sequence, row_number() OVER (PARTITION BY key ORDER BY run_order) AS expected"
        f" FROM bench.seen) s WHERE sequence <> expected")) + abs(keys * rounds - int(bench.one("SELECT count(*) FROM bench.seen")))
    return {f"order per key, {keys:,} x {rounds}": found}


# ---------------------------------------------------------------------------------------------------- latency

def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def latency(bench):
    """Commit acknowledged to the publisher until the handler is entered, in milliseconds; one clock for both."""
    rate, seconds = 100, 3 if bench.quick else 10
    count = rate * seconds
    bench.query(f"SELECT saga.create_topic('latency', partitions => {PARTITIONS})")
    bench.query("SELECT saga.subscribe('latency', 'bench.record_time', consumer_group => 'group')")
    session = pq.Connection()
    session.prepare("publish", "SELECT saga.publish('latency', $1::jsonb, 'probe', 'k' || $2)")
    for i in range(20):
        session.run("publish", '{"number": "-1"}', i)
        time.sleep(0.01)
    bench.wait_until_idle("latency", "group")
    acknowledged, begin = {}, time.perf_counter()
    for i in range(count):
        time.sleep(max(0.0, begin + i / rate - time.perf_counter()))
        session.run("publish", '{"number": "%d"}' % i, i % 97)
        acknowledged[i] = time.time()
    session.close()
    bench.wait_until_idle("latency", "group")
    entered = {int(n): float(at) for n, at in
               bench.query("SELECT number, extract(epoch FROM entered_at) FROM bench.entered WHERE number >= 0")}
    waits = [(entered[i] - acknowledged[i]) * 1000 for i in entered]
    return {"latency at 100/s": {"pg_saga": {
        "p50_ms": round(percentile(waits, 0.5), 3), "p99_ms": round(percentile(waits, 0.99), 3),
        "max_ms": round(max(waits), 3), "events": len(waits), "lost": count - len(waits)}}}


# ---------------------------------------------------------------------------------------------------- horizon

@contextlib.contextmanager
def held(kind):
    """Another session that pins the horizon: an open snapshot, or a transaction that has written."""
    session = pq.Connection()
    if kind == "snapshot":
        session.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
        session.query("SELECT count(*) FROM pg_class")
    elif kind == "writer":
        session.query("BEGIN")
        session.query("SELECT pg_current_xact_id()")
    yield
    session.close()


def closed_loop(seconds, publish_some, done):
    """Publishes as fast as the backlog stays below 20,000; events processed in each second."""
    rates, sent, count, begin, next_look = [], 0, 0, time.perf_counter(), 0.0
    before, second = 0, 1
    while second <= seconds:
        now = time.perf_counter() - begin
        if now >= next_look:
            count = done()
            next_look = now + 0.02
        if now >= second:
            rates.append(count - before)
            before, second = count, second + 1
        if sent - count < 20_000:
            sent += publish_some()
        else:
            time.sleep(0.002)
    return rates


def dead_tuples(bench, schema):
    """By table, counted in the tables themselves: statistics come late, or not at all from a background process."""
    rows = bench.query("SELECT * FROM (SELECT c.relname, (pgstattuple(c.oid)).dead_tuple_count AS dead FROM pg_class c"
                       f" JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = '{schema}' AND c.relkind = 'r') t"
                       " WHERE dead > 0 ORDER BY dead DESC")
    return {name: int(dead) for name, dead in rows}


def summarise(rates, tail, dead):
    first, last = statistics.mean(rates[1:tail + 1]), statistics.mean(rates[-tail:])
    return {"last_over_first": round(last / first, 3), "first_per_second": round(first), "last_per_second": round(last),
            "dead_tuples": sum(dead.values()), "dead_by_table": dead, "rates": rates}


def horizon_pg_saga(bench, kind, seconds, tail):
    topic = "horizon_" + kind
    bench.query(f"SELECT saga.create_topic('{topic}', partitions => {PARTITIONS})")
    bench.query(f"SELECT saga.subscribe('{topic}', 'bench.noop', consumer_group => 'group')")
    publisher, counter = pq.Connection(), pq.Connection()
    publisher.prepare("publish", f"SELECT array_length({batch_call(topic, 500)}, 1)")
    # The newest row of each lane, by index: a plan made while the table is small would read all of it later.
    counter.query("SET enable_seqscan = off; SET enable_bitmapscan = off")
    counter.prepare("done", "SELECT coalesce(sum(p.delivered), 0) FROM saga.subscription s JOIN saga.topic t USING (topic_id)"
                            f" CROSS JOIN generate_series(0, {PARTITIONS - 1}) lane CROSS JOIN LATERAL (SELECT delivered"
                            " FROM saga.progress_v1 p WHERE p.subscription_id = s.subscription_id"
                            " AND p.partition_number = lane::int2 ORDER BY number DESC LIMIT 1) p"
                            f" WHERE t.topic = '{topic}'")

    def publish_some():
        publisher.run("publish")
        return 500

    with held(kind):
        rates = closed_loop(seconds, publish_some, lambda: int(counter.run("done")[0][0]))
        found = summarise(rates, tail, dead_tuples(bench, "saga"))
    publisher.close()
    counter.close()
    bench.wait_until_idle(topic, "group")
    return found


def horizon_pgq(bench, kind, seconds, tail):
    bench.query("SELECT pgq.set_queue_config('bench', 'rotation_period', '10 seconds')")
    pgq_fill(bench, 0)
    publisher, consumer, keeper = pq.Connection(), pq.Connection(), pq.Connection()
    publisher.prepare("publish", f"SELECT count(pgq.insert_event('bench', 'order.created', '{PAYLOAD}')) FROM generate_series(1, 500)")
    worker = threading.Thread(target=consumer.query, args=(f"CALL bench.pgq_consume({seconds + 2})",))
    turned = [time.perf_counter()]

    def done():
        if time.perf_counter() - turned[0] > 2:
            keeper.query("SELECT pgq.maint_rotate_tables_step1('bench')")
            keeper.query("SELECT pgq.maint_rotate_tables_step2()")
            turned[0] = time.perf_counter()
        return int(bench.one("SELECT last_value FROM bench.pgq_done"))

    def publish_some():
        publisher.run("publish")
        return 500

    bench.query("SELECT setval('bench.pgq_done', 0)")
    with held(kind):
        worker.start()
        rates = closed_loop(seconds, publish_some, done)
        worker.join()
        found = summarise(rates, tail, dead_tuples(bench, "pgq"))
    for session in (publisher, consumer, keeper):
        session.close()
    return found


def horizon(bench):
    bench.query("VACUUM")  # what earlier cells have left does not count
    seconds = int(os.environ.get("HOLD_SECONDS", 6 if bench.quick else 60 if bench.full else 20))
    tail = max(seconds // 4, 2)
    found = {}
    for kind in ("snapshot",) if not bench.full else ("none", "snapshot", "writer"):
        cell = {"pg_saga": horizon_pg_saga(bench, kind, seconds, tail)}
        if not bench.quick:
            cell["pgq"] = horizon_pgq(bench, kind, seconds, tail)
        label = {"none": "nothing held", "snapshot": "a snapshot held", "writer": "a write transaction open"}[kind]
        found[f"publish and drain {seconds} s, {label}"] = cell
    return found


CELLS = {
    "publish": publish_single,
    "batch": publish_batch,
    "drain": drain_noop,
    "rows": drain_rows,
    "singles": drain_singles,
    "order": order_per_key,
    "latency": latency,
    "horizon": horizon,
}
