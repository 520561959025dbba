# Handlers that misbehave: what one does, leaves behind or loses must not touch the next event.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use SagaLedger qw(saga_node wait_until);
use Test::More;

my $node = saga_node('bad');
my $ledger = SagaLedger->new($node);
my $session = $ledger->session;
my (%groups, %statuses);
my $dead = 0;

# One topic per kind of misbehaviour: an event with {"bad": true} misbehaves, the others record that they ran, and in
# what state they found the session.
$ledger->sql(<<'SQL');
CREATE ROLE somebody;
CREATE ROLE plain LOGIN;
GRANT ALL ON effects TO plain;
CREATE TABLE locked ();
CREATE TABLE found (event_id uuid, topic text, what text);
CREATE FUNCTION note_session(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  expected text := current_setting('test.expected', true);
  what text;
BEGIN
  what := concat_ws(',',
    CASE WHEN current_user <> session_user THEN 'user ' || current_user END,
    CASE WHEN current_setting('search_path') <> '"$user", public' THEN 'search_path ' || current_setting('search_path') END,
    CASE WHEN current_setting('work_mem') <> '4MB' THEN 'work_mem ' || current_setting('work_mem') END,
    CASE WHEN coalesce(current_setting('test.leaked', true), '') <> '' THEN 'custom setting' END,
    CASE WHEN EXISTS (SELECT FROM pg_class WHERE relpersistence = 't' AND relnamespace = pg_my_temp_schema()) THEN 'temp table' END,
    CASE WHEN EXISTS (SELECT FROM pg_prepared_statements WHERE from_sql) THEN 'prepared statement' END,
    CASE WHEN EXISTS (SELECT FROM pg_cursors WHERE is_holdable) THEN 'held cursor' END,
    CASE WHEN EXISTS (SELECT FROM pg_listening_channels()) THEN 'listens' END,
    CASE WHEN EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) THEN 'advisory lock' END);
  INSERT INTO public.found VALUES (event.event_id, event.topic, what);
END $$;
SQL

# Publishes five events of one key in one transaction, the third of which is bad, and waits for all.
sub misbehave
{
	my ($topic, $body, %options) = @_;
	my $more = $options{options} // q{backoff => '10 ms'};
	$ledger->sql(<<"SQL");
CREATE FUNCTION bad_$topic(event saga.event) RETURNS @{[ $options{returns} // 'void' ]} LANGUAGE plpgsql AS \$\$
BEGIN
  PERFORM public.note_session(event);
  PERFORM public.record_effect(event);
  IF event.payload ? 'bad' THEN
    $body
  END IF;
  @{[ $options{finally} // '' ]}
END \$\$;
SELECT saga.create_topic('$topic', partitions => 1);
SELECT saga.subscribe('$topic', 'bad_$topic', consumer_group => '${topic}_group', jitter => 0, $more);
SQL
	$groups{$topic} = ["${topic}_group"];
	return publish_five($topic);
}

sub publish_five
{
	my ($topic, $first) = @_;
	$first //= 1;
	$session->query_safe('BEGIN');
	my @ids = map { $ledger->publish($session, topic => $topic, key => 'k', seq => $_, payload => $_ == $first + 2 ? { bad => 1 } : {}) } $first .. $first + 4;
	$ledger->commit($session, 'COMMIT');
	return @ids;
}

sub outcomes
{
	my (@ids) = @_;
	return join ' ', map { $ledger->sql("SELECT saga.wait_for_event('$_', timeout => '60s')") } @ids;
}

sub dead_letter
{
	my ($id) = @_;
	return $ledger->sql("SELECT reason, sqlstate, attempts FROM saga.dead_letters WHERE event_id = '$id'");
}

sub found
{
	my ($topic) = @_;
	return $ledger->sql("SELECT string_agg(DISTINCT what, '; ') FROM found WHERE topic = '$topic' AND what <> ''");
}

# Only the bad event fails, with that SQLSTATE.
sub fails_alone
{
	my ($name, $topic, $state, $body, %options) = @_;
	subtest $name => sub {
		my @ids = misbehave($topic, $body, %options);
		is(outcomes(@ids), 'PROCESSED PROCESSED FAILED PROCESSED PROCESSED', 'only the bad one fails');
		is(dead_letter($ids[2]), "exhausted|$state|3", 'its dead letter');
		is(found($topic), '', 'the others found a clean session');
		$statuses{ $ids[2] } = 'FAILED';
		++$dead;
	};
	return;
}

# All five succeed, and none finds what another has left.
sub leaves_nothing
{
	my ($name, $topic, $body, %options) = @_;
	subtest $name => sub {
		my @ids = misbehave($topic, $body, %options);
		is(outcomes(@ids), 'PROCESSED PROCESSED PROCESSED PROCESSED PROCESSED', 'all succeed');
		is(found($topic), '', 'all found a clean session');
	};
	return;
}

my $locker = $ledger->session;
$locker->query_safe('BEGIN; LOCK TABLE locked');

fails_alone('raises', 'raising', 'P0001', q{RAISE EXCEPTION 'never';});
fails_alone('does COMMIT', 'committing', '2D000', 'COMMIT;');
fails_alone('does ROLLBACK', 'rolling', '2D000', 'ROLLBACK;');
fails_alone('divides by zero after it has written', 'dividing', '22012', q{INSERT INTO public.found VALUES (event.event_id, event.topic, 'a write that must vanish'); PERFORM 1 / 0;});
fails_alone('returns a huge result', 'huge', '54000', q{RETURN jsonb_build_object('text', repeat(md5(random()::text), 100000));}, returns => 'jsonb', finally => 'RETURN NULL;');
fails_alone('does LISTEN', 'listening', '0A000', 'LISTEN something;');
fails_alone('needs a lock that somebody has', 'locking', '55P03', 'SET LOCAL lock_timeout = 1; LOCK TABLE public.locked;');

leaves_nothing('SET ROLE', 'role_setting', 'SET ROLE somebody;');
leaves_nothing('SET and SET LOCAL', 'setting', q{SET search_path = pg_catalog; SET LOCAL work_mem = '64kB'; PERFORM set_config('test.leaked', 'yes', false);});
leaves_nothing('SET SESSION AUTHORIZATION', 'authorising', 'SET SESSION AUTHORIZATION plain;');
leaves_nothing('temp table', 'temporary', 'CREATE TEMP TABLE scratch AS SELECT 1 AS one;');
leaves_nothing('session lock', 'advisory', 'PERFORM pg_advisory_lock(99);');
leaves_nothing('prepared statement', 'preparing', q{EXECUTE 'PREPARE left_over AS SELECT 1';});
leaves_nothing('held cursor', 'cursor', q{EXECUTE 'DECLARE left_over CURSOR WITH HOLD FOR SELECT 1';});
leaves_nothing('constraints deferred', 'deferring', 'SET CONSTRAINTS ALL DEFERRED;');

# Every event makes the same temporary table: what one leaves would be in the way of the next.
subtest 'temp table in every event' => sub {
	my @ids = misbehave('scratch', 'NULL;', finally => 'CREATE TEMP TABLE scratch (one int) ON COMMIT DROP;');
	is(outcomes(@ids), 'PROCESSED PROCESSED PROCESSED PROCESSED PROCESSED', 'all succeed');
	is($ledger->sql(q{SELECT count(*) FROM saga.attempts WHERE topic = 'scratch'}), '0', 'at the first attempt');
};

# The constraint fails when the batch ends, long after the culprit has returned.
subtest 'violates a deferred constraint' => sub {
	$ledger->sql(<<'SQL');
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
SQL
	my @ids = misbehave('deferred', 'INSERT INTO public.child VALUES (1);');
	is(outcomes(@ids), 'PROCESSED PROCESSED FAILED PROCESSED PROCESSED', 'only the culprit fails');
	is(dead_letter($ids[2]), 'exhausted|23503|3', 'with the error of the constraint');
	$statuses{ $ids[2] } = 'FAILED';
	++$dead;
};

subtest 'publishes itself' => sub {
	$ledger->sql(<<'SQL');
CREATE FUNCTION forward(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM public.record_effect(event);
  PERFORM saga.publish('second', jsonb_build_object('seq', event.payload -> 'seq'), event_type => 'forwarded', key => event.event_key);
END $$;
SELECT saga.create_topic('first', partitions => 2);
SELECT saga.create_topic('second', partitions => 2);
SELECT saga.subscribe('first', 'forward', consumer_group => 'forwarder');
SELECT saga.subscribe('second', 'record_effect', consumer_group => 'receiver');
SQL
	$groups{first} = ['forwarder'];
	$ledger->publish($session, topic => 'first', key => 'k', seq => 1, more => q{correlation_id => 'process-7'});
	$ledger->commit($session);
	my $bare = $ledger->publish($session, topic => 'first', key => 'k', seq => 2);
	$ledger->commit($session);
	$ledger->wait_until_idle;
	is($ledger->sql(q{SELECT string_agg(seq::text, ' ' ORDER BY n) FROM effects WHERE topic = 'second'}), '1 2', 'delivered in order');
	is($ledger->sql(q{SELECT correlation_id, causation_id FROM saga.event_production_log WHERE topic = 'second' AND payload ->> 'seq' = '1'}),
		'process-7|first-k-1', 'correlation inherited, causation is the event in the words of its publisher');
	is($ledger->sql(q{SELECT count(DISTINCT correlation_id) FROM saga.event_production_log WHERE payload ->> 'seq' = '2' AND topic IN ('first', 'second')}), '1', 'the same process without a given id');
	is($ledger->sql(q{SELECT string_agg(concat_ws(' ', topic, status), ', ' ORDER BY position) FROM saga.trace('process-7')}), 'first PROCESSED, second PROCESSED', 'trace');
	$ledger->forget('second');
};

# A failed run's own events vanish with it.
subtest 'publishes, then fails once' => sub {
	my @ids = misbehave('echoing', q{PERFORM saga.publish('second', '{"seq": 100}', key => 'echo'); IF event.attempt = 1 THEN RAISE EXCEPTION 'once'; END IF;});
	is(outcomes(@ids), 'PROCESSED PROCESSED PROCESSED PROCESSED PROCESSED', 'all succeed');
	$ledger->wait_until_idle;
	is($ledger->sql(q{SELECT count(*) FROM saga.event_production_log WHERE topic = 'second' AND event_key = 'echo'}), '1', 'published once');
	is($ledger->sql(q{SELECT count(*) FROM effects WHERE topic = 'second' AND event_key = 'echo'}), '1', 'delivered once');
	$ledger->forget('second');
};

# A chain of events that cause each other ends at the limit.
subtest 'publishes for ever' => sub {
	$ledger->sql(<<'SQL');
CREATE FUNCTION again(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM saga.publish('loop', event.payload);
END $$;
SELECT saga.create_topic('loop', partitions => 1);
SELECT saga.subscribe('loop', 'again', consumer_group => 'looper', backoff => '1 ms', max_attempts => 1);
SELECT saga.publish('loop', '{"seq": 1}');
SQL
	$ledger->wait_until_idle;
	is($ledger->sql(q{SELECT count(*) FROM saga.event_production_log WHERE topic = 'loop'}), '33', 'the first and 32 that were caused');
	is($ledger->sql(q{SELECT count(*) FROM saga.dead_letters WHERE topic = 'loop'}), '1', 'the last one is dead');
	++$dead;
};

# The subscription stops visibly, keeps its events, and goes on when the function is back.
subtest 'is dropped' => sub {
	my @ids = misbehave('dropping', 'NULL;');
	is(outcomes(@ids), 'PROCESSED PROCESSED PROCESSED PROCESSED PROCESSED', 'works');
	$ledger->sql('DROP FUNCTION bad_dropping(saga.event)');
	my @waiting = publish_five('dropping', 6);
	$node->poll_query_until('postgres', q{SELECT paused_reason ~ 'does not exist' FROM saga.subscriptions WHERE topic = 'dropping'})
	  or diag($ledger->sql(q{SELECT * FROM saga.subscriptions}));
	$ledger->sql(q{CREATE FUNCTION bad_dropping(event saga.event) RETURNS void LANGUAGE sql AS 'SELECT public.record_effect($1)'});
	$ledger->sql(q{SELECT saga.resume('dropping', 'dropping_group', 'it is back')});
	is(outcomes(@waiting), 'PROCESSED PROCESSED PROCESSED PROCESSED PROCESSED', 'works again');
	is($ledger->sql(q{SELECT count(*) FROM saga.attempts WHERE topic = 'dropping'}), '0', 'no attempt was spent');
};

subtest 'loses EXECUTE' => sub {
	my @ids = misbehave('revoking', 'NULL;', options => q{run_as => 'plain'});
	is(outcomes(@ids), 'FAILED FAILED FAILED FAILED FAILED', 'a plain role may not write where it has no right');
	is($ledger->sql(q{SELECT DISTINCT sqlstate FROM saga.dead_letters WHERE topic = 'revoking'}), '42501', 'and sees why');
	$ledger->sql(q{GRANT ALL ON found TO plain; CALL saga.replay_dead_letters('{"topic": "revoking"}')});
	is(outcomes(@ids), 'PROCESSED PROCESSED PROCESSED PROCESSED PROCESSED', 'replayed after the GRANT');
	$ledger->sql('REVOKE EXECUTE ON FUNCTION bad_revoking(saga.event) FROM PUBLIC');
	my @waiting = publish_five('revoking', 6);
	$node->poll_query_until('postgres', q{SELECT paused_reason ~ 'may not execute' FROM saga.subscriptions WHERE topic = 'revoking'})
	  or diag($ledger->sql(q{SELECT * FROM saga.subscriptions}));
	$ledger->sql(q{GRANT EXECUTE ON FUNCTION bad_revoking(saga.event) TO plain});
	$ledger->sql(q{SELECT saga.resume('revoking', 'revoking_group', 'granted')});
	is(outcomes(@waiting), 'PROCESSED PROCESSED PROCESSED PROCESSED PROCESSED', 'works again');
	is($ledger->sql(q{SELECT DISTINCT what FROM found WHERE topic = 'revoking' AND what <> ''}), '', 'as the plain role, from the start');
};

# A plain role's handler cannot become somebody else: the process is connected as that role.
subtest 'RESET ROLE is no way out' => sub {
	$ledger->sql(<<'SQL');
CREATE FUNCTION climber(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RESET ROLE;
  RESET SESSION AUTHORIZATION;
  INSERT INTO public.found VALUES (event.event_id, event.topic, session_user || ' ' || current_user);
  PERFORM public.record_effect(event);
END $$;
SELECT saga.create_topic('climbing', partitions => 1);
SELECT saga.subscribe('climbing', 'climber', consumer_group => 'climber', run_as => 'plain');
SQL
	$groups{climbing} = ['climber'];
	my $id = $ledger->publish($session, topic => 'climbing', key => 'k', seq => 1);
	$ledger->commit($session);
	is(outcomes($id), 'PROCESSED', 'processed');
	is($ledger->sql(q{SELECT what FROM found WHERE topic = 'climbing'}), 'plain plain', 'still the plain role');
};

# Never returns, and is not interested in a cancel: only the process's end helps, and the next event has another one.
subtest 'never returns' => sub {
	my @ids = misbehave('endless', 'LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;',
		options => q{backoff => '10 ms', max_attempts => 2, timeout => '200 ms'});
	is(outcomes(@ids), 'PROCESSED PROCESSED FAILED PROCESSED PROCESSED', 'only that one fails');
	is(dead_letter($ids[2]), 'exhausted|57014|2', 'by the time limit');
	$statuses{ $ids[2] } = 'FAILED';
	++$dead;
};

$_->quit for $session, $locker;
$ledger->wait_until_idle;
$ledger->check('nobody else was affected', groups => \%groups, statuses => \%statuses, dead_letters => $dead);
$node->stop;
done_testing();
