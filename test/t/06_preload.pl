# Where nothing can run, the error says what to do: library not preloaded, standby, read-only transaction.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use SagaLedger qw(saga_node sql_state);
use Test::More;

# CREATE EXTENSION must say it at once, or publish at the latest.
subtest 'library not preloaded' => sub {
	my $node = PostgreSQL::Test::Cluster->new('bare');
	$node->init;
	$node->start;
	my $error = sql_state($node, <<'SQL');
CREATE EXTENSION pg_saga;
SELECT saga.create_topic('orders');
SELECT saga.publish('orders', '{}');
SQL
	is($error->{state}, 'SG030', 'SQLSTATE');
	like($error->{hint}, qr/shared_preload_libraries/, 'the hint says what to set');
	like($error->{hint}, qr/restart/, 'and that it needs a restart');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_saga'");
	$node->restart;
	$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION IF NOT EXISTS pg_saga;
CREATE TABLE seen (n int);
CREATE FUNCTION note(event saga.event) RETURNS void LANGUAGE sql AS 'INSERT INTO public.seen VALUES (1)';
SELECT saga.create_topic('orders', if_not_exists => true);
SELECT saga.subscribe('orders', 'note');
SELECT saga.publish('orders', '{}');
SQL
	is($node->safe_psql('postgres', q{SELECT saga.wait_until_idle(timeout => '60s')}), 't', 'with it everything runs');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM seen'), '1', 'delivered');
	$node->stop;
};

my $primary = saga_node('primary', init => { allows_streaming => 1 });
my $ledger = SagaLedger->new($primary);
$ledger->sql(<<'SQL');
SELECT saga.create_topic('orders', partitions => 4);
SELECT saga.subscribe('orders', 'record_effect', consumer_group => 'billing');
SQL
$ledger->publish_all(map { [ { topic => 'orders', key => 'k' . $_ % 3, seq => $_ } ] } 1 .. 10);
$ledger->wait_until_idle;

subtest 'read-only transaction' => sub {
	my $error = sql_state($primary, q{BEGIN READ ONLY; SELECT saga.publish('orders', '{"seq": 1}');});
	is($error->{state}, '25006', 'publish');
	$error = sql_state($primary, q{BEGIN READ ONLY; SELECT saga.subscribe('orders', 'record_effect', consumer_group => 'other');});
	is($error->{state}, '25006', 'subscribe');
	$error = sql_state($primary, q{SET default_transaction_read_only = on; SELECT saga.create_topic('other');});
	is($error->{state}, '25006', 'create_topic');
	is(sql_state($primary, q{BEGIN READ ONLY; SELECT count(*) FROM saga.event_consumption_log; SELECT count(*) FROM saga.lag; COMMIT;})->{state}, '', 'views can be read');
};

# Workers inherit what ALTER DATABASE has set; they must write all the same.
subtest 'a database that is read-only by default' => sub {
	$ledger->sql(q{ALTER DATABASE postgres SET default_transaction_read_only = on});
	$primary->restart;
	my $session = $ledger->session;
	$session->query_safe('SET default_transaction_read_only = off');
	$ledger->publish($session, topic => 'orders', key => 'k1', seq => 11);
	$ledger->commit($session);
	$ledger->wait_until_idle;
	$session->query_safe(q{ALTER DATABASE postgres RESET default_transaction_read_only});
	$session->quit;
	$ledger->check('still delivered', groups => { orders => ['billing'] });
};

subtest 'standby and promotion' => sub {
	$primary->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($primary, 'base', has_streaming => 1);
	$standby->start;
	$ledger->publish_all(map { [ { topic => 'orders', key => 'k' . $_ % 3, seq => $_ } ] } 12 .. 20);
	$ledger->wait_until_idle;
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));

	my $error = sql_state($standby, q{SELECT saga.publish('orders', '{"seq": 1}');});
	is($error->{state}, '25006', 'publish on a standby');
	is($standby->safe_psql('postgres', q{SELECT count(*) FROM saga.event_consumption_log WHERE status = 'PROCESSED'}), '20', 'tracking can be read there');
	is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pg_saga%'}), '0', 'nothing runs there');

	$ledger->sql(q{SELECT saga.pause('orders', 'billing', 'collect')});
	$ledger->publish_all(map { [ { topic => 'orders', key => 'k' . $_ % 3, seq => $_ } ] } 21 .. 30);
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
	$primary->stop('immediate');
	$standby->promote;
	$ledger->{node} = $standby;
	$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
	$ledger->sql(q{SELECT saga.resume('orders', 'billing', 'promoted')});
	$ledger->publish_all(map { [ { topic => 'orders', key => 'k' . $_ % 3, seq => $_ } ] } 31 .. 40);
	$ledger->wait_until_idle;
	$ledger->check('after the promotion', groups => { orders => ['billing'] });
	$standby->stop;
};

done_testing();
