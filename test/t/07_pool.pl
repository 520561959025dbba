# The processes: workers come with the backlog and go when idle, within their caps; whatever is terminated comes back;
# what they do can be seen; databases can be dropped; settings are taken over by a reload.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use SagaLedger qw(saga_node wait_until sql_state);
use Test::More;

my $node = saga_node('pool', conf => "saga.worker_idle_timeout = '300ms'\nsaga.max_workers = 4");
my $ledger = SagaLedger->new($node);
my $session = $ledger->session;
my %groups;

# Handlers of gated topics wait until the test opens the gate.
my $gate = $ledger->session;
$ledger->sql(<<'SQL');
CREATE FUNCTION gated(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(1);
  PERFORM public.record_effect(event);
END $$;
SQL

sub workers
{
	my ($more) = @_;
	return "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_saga worker'" . ($more // '');
}

sub pid_of
{
	my ($type) = @_;
	my $pid = '';
	wait_until("there is a $type", sub {
		my ($out, $err) = ('', '');
		$node->psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = '$type' LIMIT 1", stdout => \$out, stderr => \$err);
		$pid = $out;
		return $pid =~ /^\d+$/;
	});
	return $pid;
}

# One event on each of the eight partitions that all topics here have: which key goes where is tried out once.
my @keys;
my $seq = 0;

sub publish_everywhere
{
	my ($topic) = @_;
	my %taken;
	for my $key (@keys ? @keys : map { "k$_" } 1 .. 1000)
	{
		my $id = $ledger->publish($session, topic => $topic, key => $key, seq => ++$seq);
		$ledger->commit($session);
		$taken{ $ledger->sql("SELECT partition_number FROM saga.event_production_log WHERE event_id = '$id'") } //= $key;
		last if keys %taken == 8;
	}
	@keys = values %taken;
	is(scalar @keys, 8, 'events on all partitions');
	return;
}

sub create
{
	my ($topic, $options) = @_;
	$ledger->sql("SELECT saga.create_topic('$topic', partitions => 8)");
	$ledger->sql("SELECT saga.subscribe('$topic', 'gated', consumer_group => '${topic}_group', timeout => '10 min', $options)");
	$groups{$topic} = ["${topic}_group"];
	return;
}

subtest 'idle' => sub {
	is($ledger->sql(workers()), '0', 'no worker without work');
	is($ledger->sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_saga launcher'}), '1', 'one launcher');
};

subtest 'workers grow with the backlog and end when idle' => sub {
	create('wide', 'concurrency => 10');
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	publish_everywhere('wide');
	$node->poll_query_until('postgres', q{SELECT count(*) = 4 FROM saga.activity WHERE state = 'running'}) or diag($ledger->state_of_affairs);
	is($ledger->sql(workers()), '4', 'as many as saga.max_workers allows');
	is($ledger->sql(q{SELECT count(DISTINCT partition_number) FROM saga.activity WHERE topic = 'wide' AND consumer_group = 'wide_group' AND attempt = 1 AND event_id IS NOT NULL}),
		'4', 'activity shows who runs what: each its own lane');
	is($ledger->sql(workers(q{ AND application_name LIKE 'pg_saga worker %' AND state = 'active' AND query ~ '^wide/wide_group'})), '4', 'pg_stat_activity says it too');
	$gate->query_safe('SELECT pg_advisory_unlock(1)');
	$ledger->wait_until_idle;
	$node->poll_query_until('postgres', workers() . ' HAVING count(*) = 0', '0') or diag($ledger->state_of_affairs);
	pass('idle workers have ended');
};

subtest 'concurrency caps a subscription' => sub {
	create('narrow', 'concurrency => 2');
	create('beside', 'concurrency => 10');
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	publish_everywhere('narrow');
	publish_everywhere('beside');
	$node->poll_query_until('postgres', q{SELECT count(*) = 4 FROM saga.activity WHERE state = 'running'}) or diag($ledger->state_of_affairs);
	is($ledger->sql(q{SELECT count(*) <= 2 FROM saga.activity WHERE topic = 'narrow' AND state = 'running'}), 't', 'two of it at most');
	$gate->query_safe('SELECT pg_advisory_unlock(1)');
	$ledger->wait_until_idle;
};

subtest 'settings by reload' => sub {
	$node->append_conf('postgresql.conf', "saga.max_workers = 2");
	$node->reload;
	$node->poll_query_until('postgres', q{SELECT current_setting('saga.max_workers') = '2'});
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	publish_everywhere('beside');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM saga.activity WHERE state = 'running'}), 'two run handlers') or diag($ledger->state_of_affairs);
	ok($node->poll_query_until('postgres', workers(), '2'), 'the others have ended: the new limit holds');
	$node->append_conf('postgresql.conf', "saga.max_workers = 5\nsaga.worker_idle_timeout = '10s'");
	$node->reload;
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 5 FROM saga.activity WHERE state = 'running'}), 'and can be raised while all are busy') or diag($ledger->state_of_affairs);
	$gate->query_safe('SELECT pg_advisory_unlock(1)');
	$ledger->wait_until_idle;
};

# Terminated in the middle of a handler: its effects are rolled back, another worker runs the event.
subtest 'pg_terminate_backend of a busy worker' => sub {
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	my $id = $ledger->publish($session, topic => 'wide', key => 'terminated', seq => 1);
	$ledger->commit($session);
	my $pid = '';
	wait_until('the handler runs', sub { $pid = $ledger->sql("SELECT pid FROM saga.activity WHERE event_id = '$id' AND state = 'running'"); length $pid });
	$ledger->sql("SELECT pg_terminate_backend($pid, 60000)");
	ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM saga.activity WHERE event_id = '$id' AND state = 'running' AND pid <> $pid"), 'another worker runs it')
	  or diag($ledger->state_of_affairs);
	$gate->query_safe('SELECT pg_advisory_unlock(1)');
	is($ledger->sql("SELECT saga.wait_for_event('$id', timeout => '60s')"), 'PROCESSED', 'processed');
	is($ledger->sql("SELECT attempt FROM effects WHERE event_id = '$id'"), '1', 'as its first attempt');
	is($ledger->sql("SELECT count(*) FROM saga.attempts WHERE event_id = '$id'"), '0', 'an administrator spends none');
};

for my $type ('pg_saga worker', 'pg_saga engine', 'pg_saga launcher')
{
	subtest "pg_terminate_backend of the $type" => sub {
		my @publishers = map { my $c = $_; $ledger->start_publisher(map { [ { topic => 'wide', key => "$type $c-" . $_ % 4, seq => $_ } ] } 1 .. 50) } 1 .. 2;
		for my $round (1 .. 2)
		{
			my $pid = pid_of($type);
			$ledger->sql("SELECT pg_terminate_backend($pid, 60000)");
		}
		$ledger->finish_publisher($_) for @publishers;
		my $id = $ledger->publish($session, topic => 'wide', key => $type, seq => 1);
		$ledger->commit($session);
		is($ledger->sql("SELECT saga.wait_for_event('$id', timeout => '120s')"), 'PROCESSED', 'goes on');
		$ledger->wait_until_idle;
		pid_of($type) unless $type eq 'pg_saga worker';
		$ledger->check("after the end of the $type", groups => \%groups);
	};
}

# Several databases; one that is dropped goes at once, its workers included.
subtest 'DROP DATABASE' => sub {
	$ledger->sql('CREATE DATABASE other');
	my $other = SagaLedger->new($node, dbname => 'other');
	$other->sql(<<'SQL');
SELECT saga.create_topic('orders', partitions => 4);
SELECT saga.subscribe('orders', 'record_effect', consumer_group => 'billing');
SQL
	$other->publish_all(map { [ { topic => 'orders', key => 'k' . $_ % 7, seq => $_ } ] } 1 .. 50);
	$other->wait_until_idle;
	$other->check('a second database', groups => { orders => ['billing'] });
	$ledger->sql('DROP DATABASE other');
	is($ledger->sql(q{SELECT count(*) FROM pg_database WHERE datname = 'other'}), '0', 'gone, without FORCE');
	$ledger->sql('CREATE DATABASE other');
	$ledger->sql('DROP DATABASE other');
	pass('any other database too');
	my $id = $ledger->publish($session, topic => 'wide', key => 'after', seq => 1);
	$ledger->commit($session);
	is($ledger->sql("SELECT saga.wait_for_event('$id', timeout => '60s')"), 'PROCESSED', 'the rest goes on');
};

# Roles share the pool: one that has nobody gets a worker although another has taken all.
subtest 'roles share the workers' => sub {
	$ledger->sql(<<'SQL');
CREATE ROLE clerk LOGIN;
GRANT ALL ON effects TO clerk;
SELECT saga.create_topic('clerks', partitions => 1);
SELECT saga.subscribe('clerks', 'record_effect', consumer_group => 'clerk', run_as => 'clerk');
SQL
	$groups{clerks} = ['clerk'];
	$gate->query_safe('SELECT pg_advisory_lock(1)');
	publish_everywhere('wide');
	$node->poll_query_until('postgres', q{SELECT count(*) = 5 FROM saga.activity WHERE state = 'running'}) or diag($ledger->state_of_affairs);
	my $id = $ledger->publish($session, topic => 'clerks', key => 'k', seq => 1);
	$ledger->commit($session);
	$gate->query_safe('SELECT pg_advisory_unlock(1)');
	is($ledger->sql("SELECT saga.wait_for_event('$id', timeout => '60s')"), 'PROCESSED', 'the other role has its turn');
	is($ledger->sql(q{SELECT count(DISTINCT usename) FROM pg_stat_activity WHERE backend_type = 'pg_saga worker' AND usename = 'clerk'}), '1', 'in a process connected as it');
	$ledger->wait_until_idle;
};

subtest 'superuser handlers can be forbidden' => sub {
	$node->append_conf('postgresql.conf', 'saga.superuser_handlers = off');
	$node->reload;
	$node->poll_query_until('postgres', q{SELECT current_setting('saga.superuser_handlers') = 'off'});
	my $error = sql_state($node, q{SELECT saga.subscribe('wide', 'record_effect', consumer_group => 'another');});
	is($error->{state}, 'SG020', 'subscribe is refused');
	like($error->{hint}, qr/saga\.superuser_handlers|run_as/, 'with a hint');
	$node->append_conf('postgresql.conf', 'saga.superuser_handlers = on');
	$node->reload;
};

$_->quit for $session, $gate;
$ledger->check('all of it', groups => \%groups);
$node->stop;
done_testing();
