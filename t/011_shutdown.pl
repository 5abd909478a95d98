# Shutdown, reload and worker restarts while clients store.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use POSIX ();
use Test::More;
use Time::HiRes qw(usleep);

my $node = cfp_node('main', 'cfp.flush_interval = 1s');
cfp_install($node);

my @clients;
END { kill 'KILL', @clients }

# A client that stores until the server goes; it leaves by itself after a
# while, for a smart shutdown waits for it.
sub start_client
{
	my ($number, $stores) = @_;
	my $pid = fork;

	die "fork: $!" unless defined $pid;
	return $pid if $pid;
	eval {
		my $dbh = connect_node($node);
		$dbh->do("SELECT cfp_store('k', '{}', ?, 'c', ?::int)", undef, 'item' . ($_ % 50), $_ + $number)
		  foreach 1 .. $stores;
		$dbh->disconnect;
	};
	POSIX::_exit(0);
}

sub wait_stores
{
	$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%cfp_store(''k''%' AND pid <> pg_backend_pid()});
	usleep(200_000);
	return;
}

foreach my $mode ('fast', 'smart', 'immediate', 'fast')
{
	my $stores = $mode eq 'smart' ? 20_000 : 1_000_000;
	@clients = map { start_client($_, $stores) } 1 .. 3;

	wait_stores();
	$node->stop($mode);
	waitpid $_, 0 foreach @clients;
	@clients = ();
	$node->start;
	seen_ok($node, "all agree after stop -m $mode under load");
	history_ok($node, "no version twice after stop -m $mode under load");
	wait_worker($node);
}

# The worker flushes before it leaves at a normal shutdown.
$node->safe_psql('postgres', q{ALTER SYSTEM SET cfp.flush_interval = '1h'});
$node->safe_psql('postgres', q{SELECT pg_reload_conf()});
$node->safe_psql('postgres', q{SELECT cfp_store('last', '{}', 'i' || i, 'c', i) FROM generate_series(1, 10) i});
$node->stop('fast');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
is($node->safe_psql('postgres', q{SELECT count(*) FROM storage_dirty WHERE key = 'last'}), '10',
	'the worker has flushed before a normal shutdown');
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cfp'");
$node->start;
$node->safe_psql('postgres', 'ALTER SYSTEM RESET cfp.flush_interval');

# Reload under load, with a setting of the database that the worker reads.
wait_worker($node);
@clients = map { start_client($_, 1_000_000) } 1 .. 3;
wait_stores();
foreach my $round (1 .. 10)
{
	$node->safe_psql('postgres', 'ALTER DATABASE postgres SET cfp.batch_size = ' . ($round * 100));
	$node->reload;
	$node->safe_psql('postgres', 'SELECT cfp_flush()') if $round % 3 == 0;
	usleep(50_000);
}
wait_worker($node);
like($node->safe_psql('postgres', 'SELECT cfp_flush()'), qr/^\d+$/, 'the worker serves after reloads under load');
seen_ok($node, 'all agree after reloads under load');

# The worker is asked to go, again and again.
foreach my $round (1 .. 5)
{
	my $pid = wait_worker($node);
	kill 'TERM', $pid;
	$node->poll_query_until('postgres', "SELECT worker_pid <> $pid FROM cfp_stat")
	  or fail('the worker comes back');
}
like($node->safe_psql('postgres', 'SELECT cfp_fold()'), qr/^\d+$/, 'the worker serves after restarts');
kill 'KILL', @clients;
waitpid $_, 0 foreach @clients;
@clients = ();
seen_ok($node, 'all agree after restarts of the worker');

$node->stop;
log_ok(
	$node,
	qr/FATAL:  terminating connection due to administrator command/,
	qr/FATAL:  terminating background worker "[^"]*" due to administrator command/,
	qr/FATAL:  the database system is/,
	qr/FATAL:  connection to client lost/,
	qr/WARNING:  terminating connection because of crash of another server process/);
done_testing();
