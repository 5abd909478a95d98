# A committing session cancelled, terminated or killed at each step of the
# commit: before the commit record nothing of it is left, after it all is
# there, and the cache agrees with the tables, also while it stands there.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use DBD::Pg qw(:async);
use Test::More;
use Time::HiRes qw(usleep);

my $node = cfp_node('main', 'restart_after_crash = on');
cfp_install($node);
$node->safe_psql('postgres', q{SELECT cfp_store('k', '{}', 'item' || i, 'c', 0) FROM generate_series(1, 3) i});

my $value = 0;

# A session that stands at the waitpoint in the middle of its COMMIT.
sub park
{
	my ($point) = @_;
	my $session = connect_node($node);

	$value++;
	$session->do('BEGIN');
	$session->do("SELECT cfp_store('k', '{}', 'item' || i, 'c', $value) FROM generate_series(1, 4) i");
	$session->do('SAVEPOINT s');
	$session->do("SELECT cfp_store('k', '{}', 'item1', 'c', -1)");
	$session->do('ROLLBACK TO s');
	$session->do("SET cfp.debug_waitpoint = '$point'");
	$session->do('COMMIT', { pg_async => PG_ASYNC });
	$node->poll_query_until('postgres',
		"SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $session->{pg_pid}")
	  or BAIL_OUT("no session arrives at $point");
	return $session;
}

sub stored
{
	return $node->safe_psql('postgres',
		"SELECT count(*) FROM cfp_items('k', 'c') WHERE value_int = $value");
}

sub release
{
	my ($point) = @_;
	$node->safe_psql('postgres', "SET cfp.debug_release = '$point'");
	return;
}

sub gone
{
	my ($pid) = @_;
	wait_true($node, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
	return;
}

foreach my $point ('precommit', 'linked')
{
	my $session = park($point);
	is(stored(), '0', "at $point: nothing is seen");
	seen_ok($node, "at $point: all agree");
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($session->{pg_pid})");
	ok(!succeeded($session), "cancelled at $point: the COMMIT fails");
	is($session->state, '57014', "cancelled at $point: SQLSTATE");
	is(stored(), '0', "cancelled at $point: nothing is seen");
	$session->do("SET cfp.debug_waitpoint = ''");
	$session->do("SELECT cfp_store('k', '{}', 'item1', 'c', 7)");
	seen_ok($node, "cancelled at $point: all agree");

	$session = park($point);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($session->{pg_pid})");
	gone($session->{pg_pid});
	is(stored(), '0', "terminated at $point: nothing is seen");
	seen_ok($node, "terminated at $point: all agree");

	$session = park($point);
	my $witness = connect_node($node);
	kill 'KILL', $session->{pg_pid};
	usleep(10_000) while eval { $witness->do('SELECT 1'); 1 };
	wait_true($node, 'SELECT true');
	is(stored(), '0', "killed at $point: nothing is seen");
	seen_ok($node, "killed at $point: all agree");
	is($node->safe_psql('postgres', q{SELECT cfp_evict('k', 'c') IS NOT NULL}), 't', "killed at $point: nobody has it pinned");
}

# After the commit record nothing can take it back.
my $session = park('commit');
is(stored(), '4', 'at commit: all is seen');
seen_ok($node, 'at commit: all agree');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($session->{pg_pid})");
is(stored(), '4', 'terminated at commit: all is seen');
release('commit');
gone($session->{pg_pid});
is(stored(), '4', 'terminated at commit, and gone: all is seen');
seen_ok($node, 'terminated at commit: all agree');

$session = park('commit');
my $witness = connect_node($node);
kill 'KILL', $session->{pg_pid};
usleep(10_000) while eval { $witness->do('SELECT 1'); 1 };
wait_true($node, 'SELECT true');
is(stored(), '4', 'killed at commit: all is seen');
seen_ok($node, 'killed at commit: all agree');

# A load that is terminated: the next reader loads.
$session = connect_node($node);
$session->do(q{SELECT cfp_evict('k', 'c')});
$session->do(q{SET cfp.debug_waitpoint = 'load'});
$session->do(q{SELECT cfp_warm('k', 'c')}, { pg_async => PG_ASYNC });
$node->poll_query_until('postgres',
	"SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $session->{pg_pid}");
my $waiter = connect_node($node);
$waiter->do(q{SELECT cfp_store('k', '{}', 'item1', 'c', 99)}, { pg_async => PG_ASYNC });
$node->poll_query_until('postgres', "SELECT cardinality(pg_blocking_pids($waiter->{pg_pid})) > 0")
  or fail('a store waits for the load');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($session->{pg_pid})");
ok(succeeded($waiter), 'terminated at load: who waits takes over');
is($node->safe_psql('postgres', q{SELECT cfp_get_value('k', 'item1', 'c')}), '99', 'terminated at load: the store is seen');
seen_ok($node, 'terminated at load: all agree');

history_ok($node, 'no version twice');
wait_worker($node);
$waiter->do('SELECT cfp_fold()');
latest_ok($node, 'the fold is right');
$_->disconnect foreach $waiter;

$node->stop;
log_ok(
	$node,
	qr/ERROR:  canceling statement due to user request/,
	qr/FATAL:  terminating connection due to administrator command/,
	qr/FATAL:  connection to client lost/,
	qr/terminating connection because of crash of another server process/,
	qr/FATAL:  the database system is (?:in recovery mode|starting up|not yet accepting connections)/,
	qr/not properly shut down/);
done_testing();
