# Immediate stop in the middle, fast stop, restart: nothing lost, nothing twice, and the order holds across it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use SagaLedger qw(saga_node fault_points_built set_fault wait_fault_taken release_fault wait_until);
use Test::More;

my $node = saga_node('restart');
my $ledger = SagaLedger->new($node);
$ledger->sql(<<'SQL');
SELECT saga.create_topic('orders', partitions => 4);
SELECT saga.subscribe('orders', 'record_effect', consumer_group => 'billing');
SELECT saga.subscribe('orders', 'record_effect', consumer_group => 'parallel', ordering => 'key', concurrency => 2);
SQL
my %groups = (orders => [ 'billing', 'parallel' ]);
my $seq = 0;

sub transactions
{
	my ($client, $count) = @_;
	return map { [ map { { topic => 'orders', key => "$client-$_", seq => ++$seq } } 1 .. 3 ] } 1 .. $count;
}

for my $mode (qw(immediate fast immediate))
{
	subtest "$mode stop in the middle" => sub {
		my $round = ++$seq;
		my @publishers = map { $ledger->start_publisher(transactions("$mode-$round-$_", 200)) } 1 .. 2;
		wait_until('publishing is on its way', sub { $ledger->acknowledged($publishers[0]) >= 5 });
		$node->stop($mode);
		$node->start;
		$ledger->finish_publisher($_) for @publishers;
		$ledger->wait_until_idle;
		$ledger->check("after the $mode stop", groups => \%groups);
	};
}

# Everything is published, nothing delivered, and the server goes down.
subtest 'a backlog survives' => sub {
	$ledger->sql(q{SELECT saga.pause('orders', 'billing', 'later'), saga.pause('orders', 'parallel', 'later')});
	$ledger->publish_all(transactions('backlog', 30));
	$node->stop('immediate');
	$node->start;
	is($ledger->sql(q{SELECT count(*) FROM saga.subscriptions WHERE paused_reason = 'later'}), 2, 'pauses survive too');
	$ledger->sql(q{SELECT saga.resume('orders', 'billing', 'now'), saga.resume('orders', 'parallel', 'now')});
	$ledger->wait_until_idle;
	$ledger->check('the backlog was worked off', groups => \%groups);
};

# An open transaction draws positions before the crash and dies with it; later events of its key are not affected. An
# event that is held across the crash still goes before those behind it.
subtest 'order across the crash' => sub {
	$ledger->sql(<<'SQL');
CREATE TABLE closed_keys (event_key text PRIMARY KEY);
CREATE FUNCTION unless_closed(event saga.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM public.closed_keys c WHERE c.event_key = event.event_key) THEN
    RAISE EXCEPTION 'key % is closed', event.event_key;
  END IF;
  PERFORM public.record_effect(event);
END $$;
SELECT saga.create_topic('held', partitions => 2);
SELECT saga.subscribe('held', 'unless_closed', consumer_group => 'held', max_attempts => 100, backoff => '1 hour', max_backoff => '1 hour');
INSERT INTO closed_keys VALUES ('a');
SQL
	my $one = $ledger->session;
	my $two = $ledger->session;
	my $first = $ledger->publish($one, topic => 'held', key => 'a', seq => 1);
	$ledger->commit($one);
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM saga.held_keys WHERE event_id = '$first'") or diag($ledger->state_of_affairs);

	$one->query_safe('BEGIN');
	$ledger->publish($one, topic => 'held', key => 'a', seq => 2);
	$ledger->publish($two, topic => 'held', key => 'a', seq => 3);
	$ledger->commit($two);
	$ledger->publish($two, topic => 'held', key => 'b', seq => 4);
	$ledger->commit($two);
	$node->stop('immediate');
	$ledger->rollback($one);
	$node->start;

	my $three = $ledger->session;
	$ledger->publish($three, topic => 'held', key => 'a', seq => 5);
	$ledger->commit($three);
	$ledger->publish($three, topic => 'held', key => 'b', seq => 6);
	$ledger->commit($three);
	$ledger->wait_until_idle(topic => 'held', timeout => '1 min');
	is($ledger->sql(q{SELECT string_agg(seq::text, ' ' ORDER BY n) FROM effects WHERE topic = 'held'}), '4 6', 'the other key flows, the held one waits');
	is($ledger->sql(q{SELECT event_id || ' ' || waiting FROM saga.held_keys WHERE topic = 'held'}), "$first 2", 'the key is still held after the crash');
	$ledger->sql(q{DELETE FROM closed_keys});
	$ledger->sql("SELECT saga.retry_now('$first', 'held', 'mended')");
	$ledger->wait_until_idle;
	is($ledger->sql(q{SELECT string_agg(seq::text, ' ' ORDER BY n) FROM effects WHERE topic = 'held' AND event_key = 'a'}), '1 3 5', 'in order');
	$ledger->check('all of it', groups => { %groups, held => ['held'] });
	$three->quit;
	for my $lost ($one, $two) { eval { $lost->{run}->kill_kill(grace => 1) }; }
};

# A fast stop while a handler is running: it is interrupted, its effects are rolled back, no attempt is counted.
SKIP:
{
	skip 'the library was built without fault points', 1 unless fault_points_built($node);
	subtest 'fast stop while a handler runs' => sub {
		set_fault($node, 'after_handler', 'wait');
		my $session = $ledger->session;
		my $id = $ledger->publish($session, topic => 'held', key => 'c', seq => 1);
		$ledger->commit($session);
		$session->quit;
		wait_fault_taken($node, 'after_handler');
		$node->stop('fast');
		$node->start;
		$ledger->wait_until_idle;
		is($ledger->sql("SELECT attempt FROM effects WHERE event_id = '$id'"), '1', 'run again as the first attempt');
		is($ledger->sql("SELECT count(*) FROM saga.attempts WHERE event_id = '$id'"), '0', 'an administrator\'s shutdown is no attempt');
		$ledger->check('and once', groups => { %groups, held => ['held'] });
	};
}

$node->stop;
done_testing();
