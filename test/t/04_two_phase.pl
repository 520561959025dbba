# Two-phase commit: events of a prepared transaction come when it commits, not before, in the order of the commits,
# also when the server is restarted in between; COMMIT PREPARED wakes the lanes by itself.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Utils;
use SagaLedger qw(saga_node);
use Test::More;

# A sweep that never comes: what is delivered was woken.
my $node = saga_node('two_phase', conf => 'saga.sweep_interval = 3600');
my $ledger = SagaLedger->new($node);
$ledger->sql(<<'SQL');
SELECT saga.create_topic('orders', partitions => 4);
SELECT saga.subscribe('orders', 'record_effect', consumer_group => 'billing');
SQL
my %groups = (orders => ['billing']);

sub sequence_of
{
	my ($key) = @_;
	return $ledger->sql("SELECT string_agg(seq::text, ' ' ORDER BY n) FROM effects WHERE event_key = '$key'");
}

my $one = $ledger->session;
my $two = $ledger->session;

subtest 'COMMIT PREPARED delivers and wakes' => sub {
	$one->query_safe('BEGIN');
	my $id = $ledger->publish($one, topic => 'orders', key => 'a', seq => 1);
	$ledger->prepare($one, 'first');
	$ledger->publish($two, topic => 'orders', key => 'a', seq => 2);
	$ledger->commit($two);
	$ledger->wait_until_idle;
	is(sequence_of('a'), '2', 'only what is committed');
	$one->query_safe(q{COMMIT PREPARED 'first'});
	$ledger->commit('first');
	is($ledger->sql("SELECT saga.wait_for_event('$id', timeout => '60s')"), 'PROCESSED', 'woken by COMMIT PREPARED');
	$ledger->publish($two, topic => 'orders', key => 'a', seq => 3);
	$ledger->commit($two);
	$ledger->wait_until_idle;
	is(sequence_of('a'), '2 1 3', 'in the order of the commits');
};

subtest 'ROLLBACK PREPARED' => sub {
	$one->query_safe('BEGIN');
	$ledger->publish($one, topic => 'orders', key => 'b', seq => 1);
	$ledger->prepare($one, 'second');
	$ledger->publish($two, topic => 'orders', key => 'b', seq => 2);
	$ledger->commit($two);
	$one->query_safe(q{ROLLBACK PREPARED 'second'});
	$ledger->rollback('second');
	$ledger->publish($two, topic => 'orders', key => 'b', seq => 3);
	$ledger->commit($two);
	$ledger->wait_until_idle;
	is(sequence_of('b'), '2 3', 'nothing of it');
};

subtest 'across a restart' => sub {
	$one->query_safe('BEGIN');
	$ledger->publish($one, topic => 'orders', key => 'c', seq => 1);
	$ledger->publish($one, topic => 'orders', key => 'c', seq => 2);
	$ledger->prepare($one, 'third');
	$one->query_safe('BEGIN');
	$ledger->publish($one, topic => 'orders', key => 'c', seq => 3);
	$ledger->prepare($one, 'fourth');
	$ledger->publish($two, topic => 'orders', key => 'c', seq => 4);
	$ledger->commit($two);
	$_->quit for $one, $two;
	$node->stop('immediate');
	$node->start;
	$one = $ledger->session;
	$two = $ledger->session;
	$ledger->publish($two, topic => 'orders', key => 'c', seq => 5);
	$ledger->commit($two);
	$ledger->wait_until_idle;
	is(sequence_of('c'), '4 5', 'prepared ones are not visible after the restart');
	$one->query_safe(q{COMMIT PREPARED 'fourth'});
	$ledger->commit('fourth');
	$ledger->publish($two, topic => 'orders', key => 'c', seq => 6);
	$ledger->commit($two);
	$ledger->wait_until_idle;
	$one->query_safe(q{COMMIT PREPARED 'third'});
	$ledger->commit('third');
	$ledger->wait_until_idle;
	is(sequence_of('c'), '4 5 3 6 1 2', 'in the order of the commits');
};

# Both prepared transactions and an ordinary one are found in one read; those that committed before another was
# published come first in it.
subtest 'found in one read' => sub {
	$ledger->sql(q{SELECT saga.pause('orders', 'billing', 'collect')});
	$one->query_safe('BEGIN');
	$one->query_safe('SELECT pg_current_xact_id()');
	$two->query_safe('BEGIN');
	$ledger->publish($two, topic => 'orders', key => 'd', seq => 1);
	$ledger->prepare($two, 'fifth');
	$two->query_safe(q{COMMIT PREPARED 'fifth'});
	$ledger->commit('fifth');
	$ledger->publish($one, topic => 'orders', key => 'd', seq => 2);
	$ledger->prepare($one, 'sixth');
	$one->query_safe(q{COMMIT PREPARED 'sixth'});
	$ledger->commit('sixth');
	$ledger->sql(q{SELECT saga.resume('orders', 'billing', 'go')});
	$ledger->wait_until_idle;
	is(sequence_of('d'), '1 2', 'the smaller xid comes second');
};

# Settings that come into force by COMMIT PREPARED are noticed too.
subtest 'a prepared subscribe' => sub {
	$one->query_safe('BEGIN');
	$one->query_safe(q{SELECT saga.create_topic('late', partitions => 1)});
	$one->query_safe(q{SELECT saga.subscribe('late', 'record_effect', consumer_group => 'late')});
	my $id = $ledger->publish($one, topic => 'late', key => 'x', seq => 1);
	$ledger->prepare($one, 'seventh');
	$one->query_safe(q{COMMIT PREPARED 'seventh'});
	$ledger->commit('seventh');
	is($ledger->sql("SELECT saga.wait_for_event('$id', timeout => '60s')"), 'PROCESSED', 'the new subscription runs');
};

$_->quit for $one, $two;
$ledger->check('two-phase commit', groups => { %groups, late => ['late'] });
$node->stop;
done_testing();
