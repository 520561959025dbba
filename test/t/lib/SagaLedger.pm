# The effect ledger: one judge of "in order and exactly once" for all tests that break things on purpose.
#
# Publishers note outside the database what was acknowledged to them, and when: a logical clock counts the calls, so a
# publish that began after another one's commit is known to come later. Handlers append one row per run to the table
# effects. check() compares the two with the tracking views:
#
#   nothing lost       every acknowledged event has its effect in every group
#   nothing twice      and exactly one
#   nothing invented   no effect of an event that nobody published, or whose transaction was rolled back
#   no inversion       per key, an event whose commit was acknowledged before another was published comes first, and
#                      events of one transaction keep their call order
#   tracked            exactly one row per event and group in event_consumption_log, PROCESSED unless told otherwise
#   nothing left       nothing parked, held or undelivered
package SagaLedger;

use strict;
use warnings;

use Carp qw(croak);
use Exporter qw(import);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT_OK = qw(saga_node fault_points_built set_fault wait_fault_taken log_position wait_restarted wait_until sql_state release_fault);

# ------------------------------------------------------------------------------------------------ servers

# A started server that preloads pg_saga and restarts its processes after a crash, as a production server does.
sub saga_node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(%{ $options{init} // {} });
	$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'pg_saga'
restart_after_crash = on
max_worker_processes = 24
max_prepared_transactions = 10
saga.max_workers = 6
log_min_messages = info
timezone = 'UTC'
@{[ $options{conf} // '' ]}
CONF
	$node->start;
	return $node;
}

# Whether the installed library was built with FAULT_POINTS=1.
sub fault_points_built
{
	my ($node) = @_;
	chomp(my $folder = $node->config_data('--pkglibdir'));
	my $library = slurp_file("$folder/pg_saga.so");
	return index($library, 'saga_fault_') >= 0;
}

# The next process that reaches the point does the action: kill, error or wait.
sub set_fault
{
	my ($node, $point, $action) = @_;
	my $file = $node->data_dir . "/saga_fault_$point";
	append_to_file("$file.new", "$action\n");
	rename("$file.new", $file) or die "cannot rename $file.new: $!";
	return;
}

sub release_fault
{
	my ($node, $point) = @_;
	append_to_file($node->data_dir . "/saga_release_$point", "go\n");
	return;
}

# Polls a condition of the outside world. Not a sleep: it ends with the condition, or fails.
sub wait_until
{
	my ($what, $condition) = @_;
	my $left = 10 * $PostgreSQL::Test::Utils::timeout_default;
	until ($condition->())
	{
		croak "timed out waiting until $what" if $left-- <= 0;
		select(undef, undef, undef, 0.1);
	}
	return;
}

sub wait_fault_taken
{
	my ($node, $point) = @_;
	my $file = $node->data_dir . "/saga_fault_$point";
	wait_until("fault point $point is reached", sub { !-e $file });
	return;
}

# Where the server's log ends now.
sub log_position
{
	my ($node) = @_;
	return -s $node->logfile;
}

# Waits until the server has noticed the loss of a process that came after that place of its log, and is back.
sub wait_restarted
{
	my ($node, $position) = @_;
	wait_until('the server has restarted its processes', sub {
		return slurp_file($node->logfile, $position) =~ /all server processes terminated; reinitializing.*ready to accept connections/s;
	});
	return;
}

# The SQLSTATE that a statement raises, its message and its hint; empty when it succeeds.
sub sql_state
{
	my ($node, $sql, %options) = @_;
	my ($stdout, $stderr) = ('', '');
	$node->psql($options{dbname} // 'postgres', "\\set VERBOSITY verbose\n$sql", stdout => \$stdout, stderr => \$stderr, on_error_stop => 0);
	my ($state, $message) = $stderr =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5}): (.*)/;
	my ($hint) = $stderr =~ /^HINT:\s+(.*)$/m;
	return { state => $state // '', message => $message // '', hint => $hint // '', stdout => $stdout, stderr => $stderr };
}

# ------------------------------------------------------------------------------------------------ the ledger

sub new
{
	my ($class, $node, %options) = @_;
	my $self = bless {
		node => $node,
		dbname => $options{dbname} // 'postgres',
		clock => 0,
		transactions => 0,
		published => {},    # event id => what is known of it
		publishers => [],
	}, $class;
	$self->sql(<<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_saga;
CREATE TABLE effects (
  n bigint GENERATED ALWAYS AS IDENTITY,
  consumer_group text NOT NULL,
  event_id uuid NOT NULL,
  topic text NOT NULL,
  event_key text,
  seq int,
  attempt int NOT NULL,
  pid int NOT NULL DEFAULT pg_backend_pid(),
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE FUNCTION record_effect(event saga.event) RETURNS void LANGUAGE sql AS $$
  INSERT INTO public.effects (consumer_group, event_id, topic, event_key, seq, attempt)
  VALUES (event.consumer_group, event.event_id, event.topic, event.event_key, (event.payload ->> 'seq')::int, event.attempt)
$$;
SQL
	return $self;
}

sub node { return $_[0]->{node} }

sub sql
{
	my ($self, $sql) = @_;
	return $self->{node}->safe_psql($self->{dbname}, $sql);
}

sub wait_until_idle
{
	my ($self, %options) = @_;
	my $arguments = join ', ', map { "$_ => '$options{$_}'" } sort keys %options;
	$arguments = "timeout => '2 min'" unless $arguments;
	my $answer = $self->sql("SELECT saga.wait_until_idle($arguments)");
	is($answer, 't', "idle ($arguments)") or diag($self->state_of_affairs);
	return $answer eq 't';
}

# Takes a topic out of the judgement.
sub forget
{
	my ($self, $topic) = @_;
	$self->sql("DELETE FROM effects WHERE topic = '$topic'");
	my $published = $self->{published};
	delete @$published{ grep { $published->{$_}{topic} eq $topic } keys %$published };
	return;
}

# For the reader of a failed test.
sub state_of_affairs
{
	my ($self) = @_;
	my $report = '';
	for my $query (
		'SELECT * FROM saga.parked LIMIT 20',
		'SELECT * FROM saga.lag WHERE waiting > 0 OR parked > 0 LIMIT 20',
		'SELECT * FROM saga.activity',
		'SELECT consumer_group, status, count(*) FROM saga.event_consumption_log GROUP BY 1, 2',
		'SELECT topic, consumer_group, event_key, reason, sqlstate, error_message, attempts FROM saga.dead_letters LIMIT 20')
	{
		my ($out, $err) = ('', '');
		$self->{node}->psql($self->{dbname}, $query, stdout => \$out, stderr => \$err);
		$report .= "$query\n$out$err\n";
	}
	return $report;
}

# ---- publishing in a session that the test steers

# A psql to talk to. Its time limit counts for each query, not for its life.
sub session
{
	my ($self) = @_;
	my $session = $self->{node}->background_psql($self->{dbname});
	$session->set_query_timer_restart;
	return $session;
}

# Publishes inside the session's open transaction, or, without one, alone: then commit() follows at once.
sub publish
{
	my ($self, $session, %event) = @_;
	my $start = ++$self->{clock};
	my $id = $session->query_safe(publish_sql(%event));
	croak "publish answered '$id'" unless $id =~ /^[0-9a-f-]{36}$/;
	push @{ $self->{open}{$session} }, $id;
	$self->note_published($id, %event, start => $start);
	return $id;
}

# Notes that the session's transaction was acknowledged. $sql may be COMMIT PREPARED and the like; undef: it committed
# by itself.
sub commit
{
	my ($self, $session, $sql) = @_;
	$session->query_safe($sql) if defined $sql;
	$self->settle($session, 'acknowledged');
	return;
}

sub rollback
{
	my ($self, $session, $sql) = @_;
	$session->query_safe($sql) if defined $sql;
	$self->settle($session, 'rolled back');
	return;
}

# Moves what is open in one session to the name of a prepared transaction.
sub prepare
{
	my ($self, $session, $name) = @_;
	$session->query_safe("PREPARE TRANSACTION '$name'");
	$self->{open}{$name} = delete $self->{open}{$session};
	return;
}

sub settle
{
	my ($self, $who, $state) = @_;
	my $transaction = ++$self->{transactions};
	my $clock = ++$self->{clock};
	for my $id (@{ delete $self->{open}{$who} // [] })
	{
		my $known = $self->{published}{$id};
		$known->{state} = $state;
		$known->{acknowledged} = $clock;
		$known->{transaction} = $transaction;
	}
	return;
}

sub note_published
{
	my ($self, $id, %what) = @_;
	$self->{published}{$id} = { state => 'open', %what };
	return;
}

sub publish_sql
{
	my (%event) = @_;
	my $payload = $event{payload} // {};
	my $json = join ', ', map { "\"$_\": " . ($payload->{$_} =~ /^-?\d+$/ ? $payload->{$_} : "\"$payload->{$_}\"") } sort keys %$payload;
	$json = join ', ', grep { length } "\"seq\": $event{seq}", $json;
	my $key = defined $event{key} ? ", key => '$event{key}'" : '';
	my $type = defined $event{type} ? ", event_type => '$event{type}'" : '';
	my $more = defined $event{more} ? ", $event{more}" : '';
	my $name = join '-', $event{topic}, $event{key} // '', $event{seq};
	return "SELECT saga.publish(topic => '$event{topic}', payload => '{$json}'$key$type, event_id => '$name'$more)";
}

# ---- publishers that run beside the test

# Starts a client that publishes the transactions, each a list of events, one after the other. When it loses its
# connection it comes again and repeats all from the start: the event ids make that harmless. Its keys are its own.
sub start_publisher
{
	my ($self, @transactions) = @_;
	my $number = scalar @{ $self->{publishers} };
	my $base = $PostgreSQL::Test::Utils::tmp_check . '/publisher_' . $self->{node}->name . "_$number";
	my $script = "\\set VERBOSITY verbose\n";
	for my $i (0 .. $#transactions)
	{
		my @events = @{ $transactions[$i] };
		$script .= "BEGIN;\n" if @events > 1;
		$script .= publish_sql(%$_) . ";\n" for @events;
		$script .= "COMMIT;\n" if @events > 1;
		$script .= "\\echo committed $i\n";
	}
	unlink "$base.sql", "$base.out", "$base.err";
	append_to_file("$base.sql", $script);
	append_to_file("$base.out", '');
	my $connection = $self->{node}->connstr($self->{dbname});
	# psql ends with 2 when the connection is lost or refused, with 3 when a statement fails.
	my $loop = <<'SH';
left=1200
while :; do
  psql -XAqt -v ON_ERROR_STOP=1 -d "$1" -f "$2.sql" >>"$2.out" 2>>"$2.err"
  status=$?
  [ "$status" = 2 ] || exit "$status"
  echo lost >>"$2.out"
  left=$((left - 1))
  [ "$left" -gt 0 ] || exit 9
  sleep 0.1
done
SH
	my $handle = IPC::Run::start([ 'sh', '-c', $loop, 'publisher', $connection, $base ], '<', \undef);
	my $publisher = { base => $base, transactions => \@transactions, handle => $handle };
	push @{ $self->{publishers} }, $publisher;
	return $publisher;
}

# How many transactions the server has acknowledged to it so far.
sub acknowledged
{
	my ($self, $publisher) = @_;
	my %seen = map { $_ => 1 } slurp_file("$publisher->{base}.out") =~ /^committed (\d+)$/mg;
	return scalar keys %seen;
}

# Waits for the end of a publisher and takes its notes over.
sub finish_publisher
{
	my ($self, $publisher) = @_;
	$publisher->{handle}->finish;
	my $status = $publisher->{handle}->result(0);
	my $errors = -e "$publisher->{base}.err" ? slurp_file("$publisher->{base}.err") : '';
	is($status, 0, 'publisher has published everything') or diag($errors);
	my @ids;
	my $next = 0;
	for my $line (split /\n/, slurp_file("$publisher->{base}.out"))
	{
		if ($line =~ /^[0-9a-f-]{36}$/) { push @ids, $line; }
		elsif ($line eq 'lost') { @ids = (); }
		elsif ($line =~ /^committed (\d+)$/)
		{
			$self->take_over($publisher->{transactions}[$1], @ids);
			@ids = ();
		}
	}
	return;
}

sub take_over
{
	my ($self, $events, @ids) = @_;
	croak 'publisher printed ' . @ids . ' ids for ' . @$events . ' events' unless @ids == @$events;
	my $transaction = ++$self->{transactions};
	my @fresh;
	for my $i (0 .. $#ids)
	{
		if (my $known = $self->{published}{ $ids[$i] })
		{
			croak "one id for two events: $ids[$i]" unless $known->{seq} == $events->[$i]{seq} && ($known->{key} // '') eq ($events->[$i]{key} // '');
			next;    # acknowledged before the connection was lost
		}
		$self->note_published($ids[$i], %{ $events->[$i] }, start => ++$self->{clock}, state => 'acknowledged', transaction => $transaction);
		push @fresh, $ids[$i];
	}
	my $clock = ++$self->{clock};
	$self->{published}{$_}{acknowledged} = $clock for @fresh;
	return;
}

sub publish_all
{
	my ($self, @transactions) = @_;
	$self->finish_publisher($self->start_publisher(@transactions));
	return;
}

# ------------------------------------------------------------------------------------------------ the judgement

# groups: { topic => [consumer group, ...] }. statuses: { event id => status }, for those that shall not be PROCESSED;
# they have no effect. dead_letters: how many there shall be.
sub check
{
	my ($self, $name, %options) = @_;
	my $findings = $self->findings(%options);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	subtest $name => sub {
		is(first_of(@{ $findings->{$_} }), '', $_) for sort keys %$findings;
	};
	return;
}

# The judgement itself: what is checked => [what was found to be wrong].
sub findings
{
	my ($self, %options) = @_;
	my $groups = $options{groups} // croak 'the ledger needs groups';
	my %effects;    # group => event id => count
	my @rows = map { [ split /\|/ ] }
	  split /\n/, $self->sql('SELECT n, consumer_group, event_id, topic, event_key FROM effects ORDER BY n');
	$effects{ $_->[1] }{ $_->[2] }++ for @rows;
	my %found = ('no inversion against commit order' => [ $self->inversions(\@rows) ]);
	for my $topic (sort keys %$groups)
	{
		for my $group (@{ $groups->{$topic} })
		{
			my $of_group = $self->findings_of_group($topic, $group, $effects{$group} // {}, $options{statuses} // {});
			$found{"$topic/$group: $_"} = $of_group->{$_} for keys %$of_group;
		}
	}
	my $list = sub { return [ split /\n/, $self->sql($_[0]) ]; };
	$found{'nothing is parked'} = $list->('SELECT topic, consumer_group, waiting_for, event_id FROM saga.parked');
	$found{'no key is held'} = $list->('SELECT topic, consumer_group, event_key FROM saga.held_keys');
	$found{'nothing is undelivered'} = $list->('SELECT topic, consumer_group, partition_number, waiting FROM saga.lag WHERE waiting > 0');
	my $letters = $list->('SELECT topic, consumer_group, event_id, reason, error_message FROM saga.dead_letters WHERE consumer_group IS NOT NULL');
	my $wanted = $options{dead_letters} // 0;
	$found{"$wanted dead letters"} = @$letters == $wanted ? [] : [ @$letters . ' dead letters', @$letters ];
	return \%found;
}

sub findings_of_group
{
	my ($self, $topic, $group, $effects, $statuses) = @_;
	my %tracked;
	for my $row (split /\n/, $self->sql("SELECT event_id, status FROM saga.event_consumption_log WHERE topic = '$topic' AND consumer_group = '$group'"))
	{
		my ($id, $status) = split /\|/, $row;
		push @{ $tracked{$id} }, $status;
	}
	my (@lost, @twice, @invented, @untracked);
	my $acknowledged = 0;
	for my $id (sort keys %{ $self->{published} })
	{
		my $event = $self->{published}{$id};
		next unless $event->{topic} eq $topic && $event->{state} eq 'acknowledged';
		++$acknowledged;
		my $status = $statuses->{$id} // 'PROCESSED';
		my $wanted = $status eq 'PROCESSED' ? 1 : 0;
		my $count = $effects->{$id} // 0;
		my $label = join ' ', $id, $event->{key} // '', $event->{seq};
		push @lost, $label if $count < $wanted;
		push @twice, "$label: $count" if $count > 1;
		push @invented, "$label: effect of an event that is $status" if $count > $wanted && !$wanted;
		my $rows = join ' ', sort @{ delete $tracked{$id} // ['no row'] };
		push @untracked, "$label: $rows" unless $rows eq $status;
	}
	for my $id (sort keys %$effects)
	{
		my $event = $self->{published}{$id};
		push @invented, $id if !$event || $event->{state} ne 'acknowledged';
	}
	push @untracked, map { "$_: a row, but nobody published it" } sort keys %tracked;
	return {
		'something was acknowledged' => $acknowledged ? [] : ['nothing was'],
		'nothing lost' => \@lost,
		'nothing twice' => \@twice,
		'nothing invented' => \@invented,
		'one tracking row each' => \@untracked,
	};
}

sub first_of
{
	my (@findings) = @_;
	my $more = @findings > 10 ? sprintf("\n... and %d more", @findings - 10) : '';
	splice @findings, 10 if @findings > 10;
	return join("\n", @findings) . $more;
}

# Per group and key in the order of the effects: an event must not come after one that was published when it had been
# acknowledged already, nor after a later one of its own transaction.
sub inversions
{
	my ($self, $rows) = @_;
	my (%latest, %in_transaction, @found);
	for my $row (@$rows)
	{
		my ($n, $group, $id, $topic, $key) = @$row;
		my $event = $self->{published}{$id} // next;
		next unless length($key // '') && defined $event->{acknowledged};
		my $lane = "$group|$topic|$key";
		my $before = $latest{$lane};
		push @found, "$lane: $event->{seq} after $before->{seq}" if $before && $event->{acknowledged} < $before->{start};
		$latest{$lane} = $event if !$before || $event->{start} > $before->{start};
		my $own = $in_transaction{"$lane|$event->{transaction}"};
		push @found, "$lane: $event->{seq} after $own->{seq} of one transaction" if $own && $event->{start} < $own->{start};
		$in_transaction{"$lane|$event->{transaction}"} = $event;
	}
	splice @found, 10 if @found > 10;
	return @found;
}

1;
