# What becomes of an event whose handler does not simply return: retry at its backoff, dead letter and replay, halt,
# snooze, skip, reject, time limits, conflicts, an operator's cancel; and what is counted as an attempt.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use SagaLedger qw(saga_node wait_until);
use Test::More;

my $node = saga_node('outcomes', conf => 'deadlock_timeout = 60s');
my $ledger = SagaLedger->new($node);
my $session = $ledger->session;
my (%groups, %statuses);
my $dead = 0;

# Does what the payload says. Sequences survive the rollback of a failed run, so they count runs.
$ledger->sql(<<'SQL');
CREATE SEQUENCE runs;
CREATE TABLE mended (seq int PRIMARY KEY);
CREATE FUNCTION behave(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  what text := event.payload ->> 'do';
  times int := coalesce((event.payload ->> 'times')::int, 0);
BEGIN
  IF what = 'fail' AND event.attempt <= times
     AND NOT EXISTS (SELECT FROM public.mended m WHERE m.seq = (event.payload ->> 'seq')::int) THEN
    RAISE EXCEPTION 'no luck at attempt %', event.attempt USING ERRCODE = '22012', DETAIL = 'The detail.', HINT = 'The hint.';
  ELSIF what = 'conflict' AND nextval('public.runs') <= times THEN
    RAISE EXCEPTION 'somebody was faster' USING ERRCODE = '40001';
  ELSIF what = 'conflict by message' AND nextval('public.runs') <= times THEN
    RAISE EXCEPTION 'Change Conflicts with another transaction';
  ELSIF what = 'snooze' AND nextval('public.runs') <= times THEN
    PERFORM saga.snooze('50 ms');
  ELSIF what = 'skip' THEN
    PERFORM saga.skip('not for us');
  ELSIF what = 'reject' THEN
    PERFORM saga.reject('amount is negative');
  ELSIF what = 'sleep' THEN
    PERFORM pg_sleep(600);
  ELSIF what = 'sleep once' AND nextval('public.runs') = 1 THEN
    PERFORM pg_sleep(600);
  ELSIF what = 'swallow' THEN
    BEGIN
      PERFORM pg_sleep(600);
    EXCEPTION WHEN query_canceled THEN
      NULL;
    END;
  ELSIF what = 'never end' THEN
    LOOP
      BEGIN
        PERFORM pg_sleep(600);
      EXCEPTION WHEN query_canceled THEN
        NULL;
      END;
    END LOOP;
  END IF;
  PERFORM public.record_effect(event);
END $$;
SQL

sub subscribe
{
	my ($topic, $options, $handler) = @_;
	$handler //= 'behave';
	$ledger->sql("SELECT saga.create_topic('$topic', partitions => 1)");
	$ledger->sql("SELECT saga.subscribe('$topic', '$handler', consumer_group => '${topic}_group', jitter => 0, $options)");
	$ledger->sql(q{SELECT setval('runs', 1, false)});
	$groups{$topic} = ["${topic}_group"];
	return;
}

sub publish
{
	my ($topic, $seq, $payload, $key) = @_;
	my $id = $ledger->publish($session, topic => $topic, key => $key // 'k', seq => $seq, payload => $payload // {});
	$ledger->commit($session);
	return $id;
}

sub outcome
{
	my ($id) = @_;
	return $ledger->sql("SELECT saga.wait_for_event('$id', timeout => '60s')");
}

sub tracking
{
	my ($id) = @_;
	return $ledger->sql("SELECT status, retry_count, max_retries FROM saga.event_consumption_log WHERE event_id = '$id'");
}

sub order_of
{
	my ($topic) = @_;
	return $ledger->sql("SELECT string_agg(seq::text, ' ' ORDER BY n) FROM effects WHERE topic = '$topic'");
}

sub dead_letter
{
	my ($id) = @_;
	return $ledger->sql("SELECT reason, sqlstate, attempts, error_message FROM saga.dead_letters WHERE event_id = '$id'");
}

# A topic whose order is another than that of the commits, as it should be, and was judged on the spot.
sub forget
{
	my ($topic) = @_;
	$ledger->forget($topic);
	delete $groups{$topic};
	return;
}

subtest 'retry at its backoff' => sub {
	subscribe('retry', q{backoff => '200 ms'});
	my $id = publish('retry', 1, { do => 'fail', times => 2 });
	my $behind = publish('retry', 2);
	my $other = publish('retry', 3, {}, 'another key');
	is(outcome($other), 'PROCESSED', 'another key flows past');
	is(outcome($id), 'PROCESSED', 'the third attempt succeeds');
	is(outcome($behind), 'PROCESSED', 'the one behind it');
	is($ledger->sql(q{SELECT string_agg(seq::text, ' ' ORDER BY n) FROM effects WHERE topic = 'retry' AND event_key = 'k'}), '1 2', 'in order');
	is(tracking($id), 'PROCESSED|2|3', 'two failures are counted');
	is($ledger->sql("SELECT attempt FROM effects WHERE event_id = '$id'"), '3', 'the handler knows');
	is($ledger->sql("SELECT string_agg(concat_ws(' ', attempt, outcome, sqlstate, error_message, error_detail, error_hint), E'\n' ORDER BY attempt) FROM saga.attempts WHERE event_id = '$id'"),
		"1 retry 22012 no luck at attempt 1 The detail. The hint.\n2 retry 22012 no luck at attempt 2 The detail. The hint.", 'each attempt is kept');
	is($ledger->sql(<<"SQL"), 't|t', 'not before 200 ms, then 400 ms');
WITH runs AS (
  SELECT started_at FROM saga.attempts WHERE event_id = '$id'
  UNION ALL SELECT at FROM effects WHERE event_id = '$id'),
gaps AS (SELECT row_number() OVER (ORDER BY started_at) AS i, started_at - lag(started_at) OVER (ORDER BY started_at) AS gap FROM runs)
SELECT (SELECT gap >= '200 ms' FROM gaps WHERE i = 2), (SELECT gap >= '400 ms' FROM gaps WHERE i = 3)
SQL
};

subtest 'dead letter, continue, replay' => sub {
	subscribe('dead', q{backoff => '10 ms'});
	my $id = publish('dead', 1, { do => 'fail', times => 99 });
	my $behind = publish('dead', 2);
	is(outcome($id), 'FAILED', 'given up');
	is(outcome($behind), 'PROCESSED', 'the key goes on');
	is(tracking($id), 'FAILED|3|3', 'dead when they are equal');
	is(dead_letter($id), 'exhausted|22012|3|no luck at attempt 3', 'the dead letter');
	is($ledger->sql("SELECT saga.is_processed('$id', 'dead_group')"), 'f', 'not processed');

	my $letter = $ledger->sql("SELECT dead_letter_id FROM saga.dead_letters WHERE event_id = '$id'");
	is($ledger->sql("SELECT saga.replay_dead_letter('$letter', reason => 'try once more')"), '1', 'replay');
	$ledger->wait_until_idle(topic => 'dead', timeout => '1 min');
	is(tracking($id), 'FAILED|3|3', 'a fresh budget, used up again');
	is($ledger->sql("SELECT count(*) FROM saga.dead_letters WHERE event_id = '$id'"), '1', 'one open dead letter');

	$ledger->sql('INSERT INTO mended VALUES (1)');
	$letter = $ledger->sql("SELECT dead_letter_id FROM saga.dead_letters WHERE event_id = '$id'");
	is($ledger->sql("SELECT saga.replay_dead_letter('$letter', reason => 'mended')"), '1', 'replay after the repair');
	$ledger->wait_until_idle(topic => 'dead', timeout => '1 min');
	is(tracking($id), 'PROCESSED|0|3', 'processed at the first attempt');
	is($ledger->sql("SELECT count(*) FROM saga.dead_letters WHERE event_id = '$id'"), '0', 'settled');
	is($ledger->sql("SELECT count(*) FROM saga.audit_log WHERE reason = 'mended'"), '1', 'audited');
	is(order_of('dead'), '2 1', 'later events had passed it');
	forget('dead');
};

subtest 'halt' => sub {
	subscribe('halt', q{backoff => '10 ms', max_attempts => 2, on_exhausted => 'halt'});
	my $id = publish('halt', 10, { do => 'fail', times => 99 });
	my @behind = map { publish('halt', $_) } 11 .. 13;
	my $other = publish('halt', 14, {}, 'another key');
	is(outcome($other), 'PROCESSED', 'another key flows past');
	is(outcome($id), 'FAILED', 'given up');
	$ledger->wait_until_idle(topic => 'halt', timeout => '1 min');
	is(order_of('halt'), '14', 'the key halts');
	my $command = $ledger->sql(q{SELECT release_command FROM saga.held_keys WHERE topic = 'halt' AND waiting = 3});
	like($command, qr/^SELECT saga.replay_dead_letter\('[0-9a-f-]{36}'\);$/, 'held_keys has the command that frees it');
	$ledger->sql('INSERT INTO mended VALUES (10)');
	$ledger->sql($command);
	is(outcome($_), 'PROCESSED', 'processed') for $id, @behind;
	is(order_of('halt'), '14 10 11 12 13', 'the replayed one before all that waited');
};

subtest 'snooze, skip, reject' => sub {
	subscribe('verbs', q{backoff => '10 ms'});
	my $snoozed = publish('verbs', 1, { do => 'snooze', times => 3 });
	my $behind = publish('verbs', 2);
	my $skipped = publish('verbs', 3, { do => 'skip' });
	my $rejected = publish('verbs', 4, { do => 'reject' });
	my $last = publish('verbs', 5);
	is(outcome($last), 'PROCESSED', 'the key is free in the end');
	is(order_of('verbs'), '1 2 5', 'order');
	is(tracking($snoozed), 'PROCESSED|0|3', 'a snooze spends no attempt');
	is($ledger->sql("SELECT attempt FROM effects WHERE event_id = '$snoozed'"), '1', 'not in the event either');
	is(tracking($skipped), 'SKIPPED|0|3', 'skipped');
	is(outcome($rejected), 'INVALID', 'rejected');
	is($ledger->sql("SELECT status FROM saga.event_consumption_log WHERE event_id = '$rejected'"), 'INVALID', 'invalid');
	like(dead_letter($rejected), qr/^rejected\|SG001\|\d\|amount is negative$/, 'dead at once');
	@statuses{ $skipped, $rejected } = qw(SKIPPED INVALID);
	++$dead;
};

subtest 'time limits' => sub {
	subscribe('slow', q{backoff => '10 ms', max_attempts => 1, timeout => '300 ms'});
	my %started = map { $_ => publish('slow', $_, { do => ('', 'sleep', 'swallow', 'never end')[$_] }, "k$_") } 1 .. 3;
	my $after = publish('slow', 4, {}, 'k1');
	is(outcome($started{1}), 'FAILED', 'a handler that sleeps is cancelled');
	is(outcome($started{2}), 'FAILED', 'one that swallows the cancel and returns has failed too');
	is(outcome($started{3}), 'FAILED', 'one that swallows them all is terminated at the hard limit');
	is(outcome($after), 'PROCESSED', 'the next event runs');
	like(dead_letter($started{$_}), qr/^exhausted\|57014\|1\|/, "dead letter $_") for 1 .. 3;
	$statuses{$_} = 'FAILED' for values %started;
	$dead += 3;
};

subtest 'an error caught by an event is not the time limit of the next' => sub {
	subscribe('stale', q{backoff => '10 ms', max_attempts => 2, timeout => '300 ms'});
	my $slow = publish('stale', 1, { do => 'sleep once' });
	my @fast = map { publish('stale', $_) } 2 .. 50;
	is(outcome($slow), 'PROCESSED', 'the second attempt succeeds');
	is(outcome($fast[-1]), 'PROCESSED', 'the others too');
	is($ledger->sql(q{SELECT count(*) FROM saga.attempts WHERE topic = 'stale'}), '1', 'one failed attempt');
};

subtest 'conflicts' => sub {
	subscribe('conflict', q{backoff => '10 ms'});
	my $log = -s $node->logfile;
	my $id = publish('conflict', 1, { do => 'conflict', times => 3 });
	is(outcome($id), 'PROCESSED', 'processed at the third repetition');
	is(tracking($id), 'PROCESSED|0|3', 'no attempt was spent');
	ok($node->log_contains('Transaction conflict \(40001\) detected', $log), 'logged');
	is($ledger->sql("SELECT count(*) FROM saga.attempts WHERE event_id = '$id'"), '0', 'no attempt recorded');

	$ledger->sql(q{SELECT setval('runs', 1, false)});
	my $stubborn = publish('conflict', 2, { do => 'conflict', times => 5 });
	is(outcome($stubborn), 'PROCESSED', 'one that conflicts for longer');
	is(tracking($stubborn), 'PROCESSED|1|3', 'is charged one attempt after three repetitions');
	like($ledger->sql("SELECT sqlstate FROM saga.attempts WHERE event_id = '$stubborn'"), qr/^40001$/, 'with its own code');

	$ledger->sql(q{SELECT setval('runs', 1, false)});
	$log = -s $node->logfile;
	my $told = publish('conflict', 3, { do => 'conflict by message', times => 1 });
	is(outcome($told), 'PROCESSED', 'a conflict that only its message tells');
	is(tracking($told), 'PROCESSED|0|3', 'no attempt was spent');
	ok($node->log_contains('Transaction conflict \(OC000\) detected', $log), 'logged');
};

# The handler's snapshot is older than another session's update of the same row.
subtest '40001 under serializable' => sub {
	$ledger->sql(<<'SQL');
CREATE TABLE account (id int PRIMARY KEY, amount int NOT NULL);
INSERT INTO account VALUES (1, 0), (2, 0);
CREATE FUNCTION add_one(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE before int;
BEGIN
  SELECT amount INTO before FROM public.account WHERE id = 1;
  PERFORM pg_advisory_xact_lock(4711);
  UPDATE public.account SET amount = before + 1 WHERE id = 1;
  PERFORM public.record_effect(event);
END $$;
SQL
	subscribe('serial', q{isolation => 'serializable', backoff => '10 ms'}, 'add_one');
	my $log = -s $node->logfile;
	my $rival = $ledger->session;
	$rival->query_safe('SELECT pg_advisory_lock(4711)');
	my $id = publish('serial', 1);
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted});
	$rival->query_safe('UPDATE account SET amount = amount + 10 WHERE id = 1');
	$rival->query_safe('SELECT pg_advisory_unlock(4711)');
	$rival->quit;
	is(outcome($id), 'PROCESSED', 'processed');
	is($ledger->sql('SELECT amount FROM account WHERE id = 1'), '11', 'no update was lost');
	is(tracking($id), 'PROCESSED|0|3', 'no attempt was spent');
	ok($node->log_contains('Transaction conflict \(40001\) detected', $log), 'logged');
};

# The handler closes a circle of waiters, and is the one that looks for deadlocks.
subtest '40P01' => sub {
	$ledger->sql(<<'SQL');
CREATE TABLE armed (pid int);
CREATE FUNCTION lock_both(event saga.event) RETURNS void LANGUAGE plpgsql SET deadlock_timeout = '10ms' AS $$
BEGIN
  UPDATE public.account SET amount = amount + 100 WHERE id = 1;
  PERFORM pg_advisory_xact_lock(4712);
  WHILE EXISTS (SELECT FROM public.armed) AND NOT EXISTS (SELECT FROM pg_locks l JOIN public.armed a USING (pid) WHERE NOT l.granted) LOOP
    PERFORM pg_sleep(0.01);
  END LOOP;
  UPDATE public.account SET amount = amount + 100 WHERE id = 2;
  PERFORM public.record_effect(event);
END $$;
SQL
	subscribe('deadlock', q{backoff => '10 ms'}, 'lock_both');
	my $log = -s $node->logfile;
	my $rival = $ledger->session;
	$rival->query_safe('INSERT INTO armed VALUES (pg_backend_pid())');
	$rival->query_safe('BEGIN');
	$rival->query_safe('DELETE FROM armed');
	$rival->query_safe('UPDATE account SET amount = amount + 1000 WHERE id = 2');
	my $id = publish('deadlock', 1);
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 4712 AND granted});
	$rival->query_safe('UPDATE account SET amount = amount + 1000 WHERE id = 1');
	$rival->query_safe('COMMIT');
	$rival->quit;
	is(outcome($id), 'PROCESSED', 'processed');
	is($ledger->sql(q{SELECT string_agg(amount::text, ' ' ORDER BY id) FROM account}), '1111 1100', 'both updates of both');
	is(tracking($id), 'PROCESSED|0|3', 'no attempt was spent');
	ok($node->log_contains('Transaction conflict \(40P01\) detected', $log), 'logged');
};

subtest 'an operator cancels a running handler' => sub {
	subscribe('cancel', q{backoff => '10 ms'});
	my $id = publish('cancel', 1, { do => 'sleep' });
	my $behind = publish('cancel', 2);
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM saga.activity WHERE event_id = '$id' AND state = 'running'") or diag($ledger->state_of_affairs);
	is($ledger->sql("SELECT status FROM saga.event_consumption_log WHERE event_id = '$id'"), 'PROCESSING', 'PROCESSING while it runs');
	is($ledger->sql("SELECT saga.cancel_event('$id', 'cancel_group', 'hopeless')"), '1', 'cancelled');
	is(outcome($id), 'CANCELLED', 'its outcome');
	is(outcome($behind), 'PROCESSED', 'the key is free');
	$statuses{$id} = 'CANCELLED';
};

# pg_cancel_backend by an administrator is neither a time limit nor a failure of the handler.
subtest 'a cancel from outside is no attempt' => sub {
	subscribe('interrupted', q{backoff => '10 ms'});
	my $id = publish('interrupted', 1, { do => 'sleep once' });
	my $pid = '';
	wait_until('the handler runs', sub { $pid = $ledger->sql("SELECT pid FROM saga.activity WHERE event_id = '$id' AND state = 'running'"); length $pid });
	$ledger->sql("SELECT pg_cancel_backend($pid)");
	is(outcome($id), 'PROCESSED', 'run again');
	is(tracking($id), 'PROCESSED|0|3', 'no attempt was spent');
};

subtest 'deliver_at holds no key' => sub {
	subscribe('later', q{backoff => '10 ms'});
	my $delayed = $ledger->publish($session, topic => 'later', key => 'k', seq => 1, more => q{deliver_at => now() + interval '1 s'});
	$ledger->commit($session);
	my $behind = publish('later', 2);
	is(outcome($behind), 'PROCESSED', 'the one behind it goes first');
	is($ledger->sql("SELECT status FROM saga.event_production_log WHERE event_id = '$delayed'"), 'PENDING', 'not yet due');
	is(outcome($delayed), 'PROCESSED', 'then it comes');
	is(order_of('later'), '2 1', 'by time');
	is($ledger->sql("SELECT at >= deliver_at FROM effects JOIN saga.event_production_log USING (event_id) WHERE event_id = '$delayed'"), 't', 'not before its time');
	forget('later');
};

$session->quit;
$ledger->check('every outcome in its place', groups => \%groups, statuses => \%statuses, dead_letters => $dead);
$node->stop;
done_testing();
