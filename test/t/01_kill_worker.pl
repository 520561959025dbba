# A handler worker is killed with SIGKILL at the four points that matter: before the handler, after it, before the
# commit and after it. The server restarts its processes; every event is processed exactly once, in order, while the
# publishers come and go with the server.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use SagaLedger qw(saga_node fault_points_built set_fault wait_fault_taken log_position wait_restarted wait_until);
use Test::More;

my $node = saga_node('kill');
my $ledger = SagaLedger->new($node);

$ledger->sql(<<'SQL');
SELECT saga.create_topic('orders', partitions => 4);
SELECT saga.subscribe('orders', 'record_effect', consumer_group => 'billing');
SELECT saga.subscribe('orders', 'record_effect', consumer_group => 'audit', ordering => 'topic');
SQL

my %groups = (orders => [ 'billing', 'audit' ]);
my $seq = 0;

# Transactions of one, two or three events of a few keys; ids grow for ever, so that no two rounds share one.
sub transactions
{
	my ($client, $count) = @_;
	my @transactions;
	for my $i (1 .. $count)
	{
		push @transactions, [ map { { topic => 'orders', key => "$client-" . ($i % 5), seq => ++$seq } } 1 .. 1 + $i % 3 ];
	}
	return @transactions;
}

SKIP:
{
	skip 'the library was built without fault points', 4 unless fault_points_built($node);
	for my $point (qw(before_handler after_handler before_commit after_commit))
	{
		subtest "SIGKILL $point" => sub {
			my @publishers = ($ledger->start_publisher(transactions("$point-1", 40)));
			wait_until('publishing is on its way', sub { $ledger->acknowledged($publishers[0]) >= 5 });
			my $position = log_position($node);
			set_fault($node, $point, 'kill');
			push @publishers, $ledger->start_publisher(transactions("$point-2", 40));
			wait_fault_taken($node, $point);
			wait_restarted($node, $position);
			$ledger->finish_publisher($_) for @publishers;
			$ledger->wait_until_idle;
			$ledger->check("after SIGKILL $point", groups => \%groups);
		};
	}
}

# Parked events are run on another road than fresh ones: one of them runs when the worker dies.
SKIP:
{
	skip 'the library was built without fault points', 1 unless fault_points_built($node);
	subtest 'SIGKILL while retries run' => sub {
		$ledger->sql(<<'SQL');
CREATE FUNCTION second_time_lucky(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF event.attempt = 1 AND (event.payload ->> 'seq')::int % 3 = 0 THEN
    RAISE EXCEPTION 'not yet';
  END IF;
  PERFORM public.record_effect(event);
END $$;
SELECT saga.create_topic('flaky', partitions => 2);
SELECT saga.subscribe('flaky', 'second_time_lucky', consumer_group => 'flaky', backoff => '50 ms', jitter => 0);
SQL
		my $events = 0;
		for my $point (qw(before_handler after_handler before_commit after_commit))
		{
			# The fault comes when the events of this round have failed and are waiting for their retry.
			$ledger->sql(q{SELECT saga.alter_subscription('flaky', 'flaky', backoff => '1 hour', max_backoff => '1 hour')});
			$ledger->publish_all(map { [ { topic => 'flaky', key => 'k' . $_ % 4, seq => ++$events } ] } 1 .. 24);
			$ledger->wait_until_idle(topic => 'flaky', timeout => '1 min');
			cmp_ok($ledger->sql(q{SELECT count(*) FROM saga.held_keys WHERE topic = 'flaky'}), '>', 0, 'keys are held');
			$ledger->sql(q{SELECT saga.alter_subscription('flaky', 'flaky', backoff => '50 ms')});
			my $position = log_position($node);
			set_fault($node, $point, 'kill');
			# The server may be gone before it has answered; the events are released when it falls.
			$node->psql('postgres', q{SELECT saga.retry_now(event_id::text, 'flaky') FROM saga.held_keys WHERE topic = 'flaky'});
			wait_fault_taken($node, $point);
			wait_restarted($node, $position);
			$ledger->wait_until_idle;
		}
		is($ledger->sql(q{SELECT count(*), count(DISTINCT event_id), max(attempt) FROM saga.attempts WHERE topic = 'flaky'}), '32|32|1', 'every third failed once');
		is($ledger->sql(q{SELECT count(*) FROM saga.event_consumption_log WHERE topic = 'flaky' AND retry_count = 1}), '32', 'and is known for it');
		$ledger->check('retries', groups => { %groups, flaky => ['flaky'] });
	};
}

# The same without fault points: whatever a worker is just doing.
subtest 'SIGKILL of busy workers' => sub {
	my @publishers;
	for my $round (1 .. 3)
	{
		push @publishers, my $latest = $ledger->start_publisher(transactions("busy-$round", 120));
		wait_until('publishing goes on', sub { $ledger->acknowledged($latest) >= 20 });
		my $pid = '';
		wait_until('a worker runs', sub {
			my ($out, $err) = ('', '');
			$node->psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_saga worker' ORDER BY random() LIMIT 1},
				stdout => \$out, stderr => \$err);
			$pid = $out;
			return $pid =~ /^\d+$/;
		});
		my $position = log_position($node);
		kill 'KILL', $pid;
		wait_restarted($node, $position);
	}
	$ledger->finish_publisher($_) for @publishers;
	$ledger->wait_until_idle;
	$ledger->check('after three SIGKILLs', groups => \%groups);
};

# An event that takes its process with it: once among others, then alone and marked until the limit. The others live.
subtest 'poison' => sub {
	$ledger->sql(<<'SQL');
CREATE FUNCTION poisoned(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF event.payload ? 'poison' THEN
    COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID';
    PERFORM pg_sleep(60);
  END IF;
  PERFORM public.record_effect(event);
END $$;
SELECT saga.create_topic('risky', partitions => 1);
SELECT saga.subscribe('risky', 'poisoned', consumer_group => 'victim');
SELECT saga.pause('risky', 'victim', 'collect first');
SQL
	my @events = map { { topic => 'risky', key => 'k' . ($_ % 3), seq => $_ } } 1 .. 9;
	$events[4]{payload} = { poison => 1 };
	$ledger->publish_all(map { [$_] } @events);
	my $poison = $ledger->sql(q{SELECT event_id FROM saga.event_production_log WHERE topic = 'risky' AND payload ? 'poison'});
	# The server may be gone before it has answered.
	$node->psql('postgres', q{SELECT saga.resume('risky', 'victim', 'go')});
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM saga.dead_letters WHERE topic = 'risky'})
	  or diag($ledger->state_of_affairs);
	$ledger->wait_until_idle;
	is($ledger->sql(q{SELECT reason || ' ' || attempts FROM saga.dead_letters WHERE topic = 'risky'}), 'crashed 0', 'a dead letter: crashed, no attempt counted');
	$ledger->check('the others were processed', groups => { risky => ['victim'] }, statuses => { $poison => 'FAILED' }, dead_letters => 1);
};

$node->stop;
done_testing();
