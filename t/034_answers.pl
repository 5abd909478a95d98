# What a worker answers reaches who has asked, whole: many sessions of several
# databases ask at once, and most of what they ask for fails, each time in other words.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use DBD::Pg qw(:async);
use Test::More;

my $node = cfp_node('main', 'deadlock_timeout = 10s', 'cfp.flush_interval = 1h', 'cfp.batch_size = 1000000');

# Requests whose errors these are, of the databases by name.
my %fails = (one => [qw(cfp_fold)], two => [qw(cfp_fold)], three => [], four => [qw(cfp_fold cfp_flush)]);
my %table = (one => 'storage_latest', two => 'storage_latest', four => 'storage_dirty');
my $room = 255;    # bytes of each text that an answer has room for
my $pad = "\xC3\xBC" x 200;

# A failure says the database and its own number, in each text.
foreach my $database (sort keys %fails)
{
	$node->safe_psql('postgres', "CREATE DATABASE $database ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0");
	cfp_install($node, $database);
	$node->safe_psql($database, qq{
CREATE SEQUENCE failures;
CREATE FUNCTION fail() RETURNS boolean LANGUAGE plpgsql SET search_path = public AS \$\$
DECLARE
	n bigint := nextval('failures');
BEGIN
	RAISE EXCEPTION '$database message % %', n, repeat(U&'\\00FC', 200) USING ERRCODE = 'X' || upper(left('$database', 2)) || '00',
		DETAIL = '$database detail ' || n || ' ' || repeat(U&'\\00FC', 200), HINT = '$database hint ' || n;
END \$\$});
	$node->safe_psql($database, "ALTER TABLE $table{$database} ADD CONSTRAINT fails CHECK (public.fail())") if $table{$database};
	# What may be flushed at once, by the worker that has just started.
	$node->safe_psql($database, q{SELECT cfp_store('k', '{}', 'i', 'c')});
}

sub clipped
{
	my ($text) = @_;

	return substr($text, 0, $room) =~ s/\xC3\z//r;
}

sub ask
{
	my ($session, $function) = @_;

	$session->do("SELECT $function()", { pg_async => PG_ASYNC });
	return;
}

# The number of the failure that an asker was told; 0 when it was told none, or
# cancelled where it may be; undef when it was told something wrong.
sub told
{
	my ($session, $database, $function, $may_be_cancelled) = @_;
	my $wanted = grep { $_ eq $function } @{ $fails{$database} };
	my $error = succeeded($session) ? undef : $session->errstr;

	# Whether what the server cancels is an error depends on the version of DBD::Pg.
	return 0 if !defined $error && (!$wanted || $may_be_cancelled);
	return 0 if defined $error && $may_be_cancelled && $session->state eq '57014';
	utf8::encode($error) if defined $error && utf8::is_utf8($error);
	if ($wanted && defined $error && $error =~ / message ([0-9]+) /)
	{
		my $n = $1;
		my $right = join "\n",
		  "ERROR:  $function() failed: " . clipped("$database message $n $pad"),
		  'DETAIL:  ' . clipped("$database detail $n $pad"),
		  "HINT:  $database hint $n";

		return $n if index($error, $right) == 0 && $session->state eq 'X' . uc(substr($database, 0, 2)) . '00';
	}
	diag("$function() in $database: ", $error // 'no error');
	return;
}

my @askers;
foreach my $n (1 .. 10)
{
	push @askers, map { { session => connect_node($node, $_), database => $_, last => 0 } } sort keys %fails;
}
$_->{session}->do('SET statement_timeout = 3') foreach @askers[ 0 .. 7 ];

my ($wrong, $old, $failures) = (0, 0, 0);
foreach my $round (1 .. 12)
{
	foreach my $i (0 .. $#askers)
	{
		$askers[$i]{asked} = ($round + int($i / 8)) % 2 ? 'cfp_fold' : 'cfp_flush';
		ask($askers[$i]{session}, $askers[$i]{asked});
	}
	foreach my $i (0 .. $#askers)
	{
		my $asker = $askers[$i];
		my $n = told($asker->{session}, $asker->{database}, $asker->{asked}, $i < 8);

		$wrong++ unless defined $n;
		next unless $n;
		$failures++;
		$old++ if $n <= $asker->{last};
		$asker->{last} = $n;
	}
}
is($wrong, 0, 'each asker is told what became of its own request');
is($old, 0, 'and never what it was told before');
cmp_ok($failures, '>=', 12 * 8, "$failures failures were told");

# Makes the session's request one that the worker has taken, and waits with.
my $lock = connect_node($node, 'one');
my $one = connect_node($node, 'one');

sub ask_and_hold
{
	my ($asker) = @_;
	my $worker = wait_worker($node, 'one');

	$one->do("SELECT cfp_store('k', '{}', 'i', 'c')");
	$lock->do('BEGIN');
	$lock->do('LOCK TABLE storage_dirty IN SHARE MODE');
	ask($asker, 'cfp_fold');
	$node->poll_query_until('postgres', qq{
SELECT cardinality(pg_blocking_pids($worker)) > 0 AND wait_event_type = 'Extension'
FROM pg_stat_activity WHERE pid = $asker->{pg_pid}}) or BAIL_OUT('the worker does not wait');
	return;
}

# An asker that does not come to read its answer, while others are told theirs.
my $slow = connect_node($node, 'one');
ask_and_hold($slow);
kill 'STOP', $slow->{pg_pid};
$lock->do('ROLLBACK');
my %later;
foreach my $round (1 .. 3)
{
	foreach my $asker (@askers[ 8 .. 15 ])
	{
		ask($asker->{session}, 'cfp_fold');
		my $n = told($asker->{session}, $asker->{database}, 'cfp_fold');

		$wrong++ unless defined $n;
		push @{ $later{ $asker->{database} } }, $n;
	}
}
kill 'CONT', $slow->{pg_pid};
my $n = told($slow, 'one', 'cfp_fold');
is($wrong, 0, 'others are told theirs while one does not read its answer');
ok($n && !grep({ $n >= $_ } @{ $later{one} }), 'which it finds later')
  or diag(join ' ', $n // 'none', '<', @{ $later{one} });

# One that leaves a request which runs, and asks again.
ask_and_hold($slow);
$slow->pg_cancel;
ask($slow, 'cfp_fold');
$lock->do('ROLLBACK');
my $again = told($slow, 'one', 'cfp_fold');
cmp_ok($again // 0, '>', $n // 0, 'an asker that was cancelled and asks again is told what became of that');

# One that goes while its request runs; others have its place among the processes then.
ask_and_hold($slow);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($slow->{pg_pid}, 10000)");
$slow->disconnect;
my @next = map { { session => connect_node($node, $_), database => $_ } } qw(two four two);
ask($_->{session}, 'cfp_fold') foreach @next;
$lock->do('ROLLBACK');
is(scalar(grep { !told($_->{session}, $_->{database}, 'cfp_fold') } @next), 0, 'those that come in the place of one that has gone are told theirs');
$wrong = grep { !defined told($_->{session}, $_->{database}, 'cfp_fold') } map { ask($_->{session}, 'cfp_fold'); $_ } @askers[ 8 .. 15 ];
is($wrong, 0, 'and so are the others');

# A database that takes the place of one that was dropped, with its askers.
$_->{session}->disconnect foreach grep { $_->{database} eq 'two' } @askers, @next;
$node->safe_psql('postgres', 'DROP DATABASE two');
$node->safe_psql('postgres', 'CREATE DATABASE five');
cfp_install($node, 'five');
is($node->safe_psql('five', q{SELECT cfp_store('k', '{}', 'i', 'c'); SELECT cfp_fold()}), "1\n1", 'a new database is told nothing of a dropped one');

# A shared memory of a few megabytes, whatever the databases.
cmp_ok($node->safe_psql('postgres', q{SELECT sum(allocated_size) FROM pg_shmem_allocations WHERE name IN ('cfp databases', 'cfp outcomes')}),
	'<', 4_000_000, 'requests and the rest that databases share take less than 4 MB');

$_->{session}->disconnect foreach grep { $_->{database} ne 'two' } @askers, @next;
$_->disconnect foreach $one, $lock;
$node->stop;
log_ok(
	$node,
	qr/(?:ERROR|WARNING):  [^\n]* message \d+/,
	qr/ERROR:  canceling statement due to (?:statement timeout|user request)/);
done_testing();
