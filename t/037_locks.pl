# Locks on items beside all that goes on: nobody else stores or locks what is
# locked, a queue gives out each item once, and many locks, or little memory,
# change nothing of that.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use POSIX ();
use DBD::Pg qw(:async);
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = cfp_node('locks', 'cfp.cache_size = 64MB', 'fsync = off', 'max_prepared_transactions = 2');
cfp_install($node);
my $small = cfp_node('small', 'cfp.cache_size = 1MB', 'fsync = off', 'deadlock_timeout = 100ms');
cfp_install($small);

my @pids;
END { kill 'KILL', @pids }

# A client of its own, which does this with a session.
sub client
{
	my ($of, $work) = @_;
	my $pid = fork;

	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		my $ok = eval { $work->(connect_node($of)); 1 };
		print STDERR $@ unless $ok;
		POSIX::_exit($ok ? 0 : 1);
	}
	push @pids, $pid;
	return $pid;
}

# All have done what they should.
sub clients_ok
{
	my ($what) = @_;
	my $failed = 0;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach my $pid (@pids)
	{
		waitpid $pid, 0;
		$failed++ if $?;
	}
	@pids = ();
	return is($failed, 0, $what);
}

sub blocked
{
	my ($session) = @_;

	return wait_true($node, "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $session->{pg_pid}");
}

#
# Very many locks in one transaction.
#
$node->safe_psql('postgres', q{SELECT count(cfp_store('many', '{}', 'i' || n, 'c', n)) FROM generate_series(1, 1000) n});
my $memory = 'SELECT sum(total_bytes) FROM pg_backend_memory_contexts';
my $bytes = q{SELECT bytes FROM cfp_stat_collections WHERE (key, collection_name) = ('many', 'c')};
my $lock_all = q{SELECT count(cfp_lock('many', 'i' || n, 'c')) FROM generate_series(1, 200000) n};
foreach my $end ('COMMIT', 'ROLLBACK', 'ROLLBACK TO')
{
	my $session = connect_node($node);

	$session->do(q{SELECT cfp_lock('many', 'i1', 'c')});
	$session->do('BEGIN');
	$session->do('SAVEPOINT s') if $end eq 'ROLLBACK TO';
	my $before = $session->selectrow_array($memory);
	my $start = time;
	is($session->selectrow_array($lock_all), 200_000, "$end: 200,000 locks");
	my $seconds = time - $start;
	is($session->selectrow_array($lock_all), 200_000, 'once more');
	my $each = ($session->selectrow_array($memory) - $before) / 200_000;
	cmp_ok($each, '<=', 64, "at most 64 bytes each of the session's memory: " . int($each));

	# Those of the items that the locks have made included.
	cmp_ok($session->selectrow_array($bytes) / 200_000, '<=', 120, 'and 120 of the cache');
	is($node->safe_psql('postgres', q{SELECT count(cfp_lock('many', 'i' || n, 'c', skip_locked => true)) FROM generate_series(1, 200000, 13) n}),
		0, 'nobody else gets one');
	is($node->safe_psql('postgres', q{SELECT cfp_lock('many', 'i200001', 'c', nowait => true), cfp_store('many', '{}', 'i0', 'c') > 0, cfp_get_value('many', 'i1000', 'c')}),
		'0|t|1000', 'but what is not locked');
	$start = time;
	$session->do($end eq 'ROLLBACK TO' ? 'ROLLBACK TO s' : $end);
	note(sprintf('%d locks: %.2f s, %s: %.2f s', 200_000, $seconds, $end, time - $start));
	is($node->safe_psql('postgres', q{SELECT count(cfp_lock('many', 'i' || n, 'c', skip_locked => true)) FROM generate_series(1, 200000, 13) n}),
		15385, "$end: all are free");
	$session->do('COMMIT') if $end eq 'ROLLBACK TO';
	$session->disconnect;
}
seen_ok($node, 'all agree after very many locks');

# More than the cache has room for.
my $session = connect_node($small);
$session->do(q{SELECT count(cfp_store('few', '{}', 'i' || n, 'c', n)) FROM generate_series(1, 100) n});
$session->do('BEGIN');
$session->do(q{SELECT cfp_lock('few', 'i7', 'c')});
is($session->selectrow_array(q{SELECT count(cfp_lock('few', 'i' || n, 'c')) FROM generate_series(1, 50000) n}),
	50000, 'more locks than the cache has room for');
is($small->safe_psql('postgres', q{SELECT count(cfp_lock('few', 'i' || n, 'c', skip_locked => true)) FROM generate_series(1, 60000, 101) n}),
	0, 'nobody else gets one, nor another of the collection');
state_is($small, 'postgres', q{SET lock_timeout = '20ms'; SELECT cfp_store('few', '{}', 'i1', 'c')}, '55P03', qr/lock timeout/, 'a store waits');
state_is($small, 'postgres', q{SELECT cfp_lock('few', 'i1', 'c', nowait => true)}, '55P03', qr/could not obtain lock on item "i1"/, 'NOWAIT');
is($small->safe_psql('postgres', q{SELECT cfp_get_value('few', 'i7', 'c')}), 7, 'readers do not');
is($session->selectrow_array(q{SELECT cfp_store('few', '{}', 'i7', 'c', 8) + cfp_store('few', '{}', 'i100', 'c', 8)}), 4, 'its own stores go on');
$session->do('COMMIT');
is($small->safe_psql('postgres', q{SELECT cfp_lock('few', 'i7', 'c', nowait => true), cfp_lock('few', 'i100', 'c', nowait => true), cfp_lock('few', 'i50000', 'c', nowait => true)}),
	'2|2|0', 'all are free afterwards');
seen_ok($small, 'all agree after it');

#
# A collection that is not cached.
#
$small->safe_psql('postgres', q{
SELECT count(cfp_store('large', jsonb_build_object('text', repeat(md5(n::text), 30)), 'i' || n, 'c', n)) FROM generate_series(1, 2000) n;
SELECT count(cfp_store('other', jsonb_build_object('text', repeat(md5(n::text), 30)), 'i' || n, 'c' || n % 50, n)) FROM generate_series(1, 2000) n});
my $other = connect_node($small);
$session->do('BEGIN');
is($session->selectrow_array(q{SELECT cfp_lock('large', 'i1', 'c', skip_locked => true)}), 1, 'not cached: a lock');
is($session->selectrow_array(q{SELECT cfp_lock('large', 'i2000', 'c', shared => true) + cfp_lock('large', 'none', 'c')}), 1, 'and more of them');
is($other->selectrow_array(q{SELECT cfp_lock('large', 'i2', 'c', skip_locked => true)}), undef, 'the whole collection is locked');
is($other->selectrow_array(q{SELECT cfp_lock('other', 'i2', 'c2', skip_locked => true)}), 1, 'another is not');
$other->do(q{SELECT cfp_lock('large', 'i1', 'c')}, { pg_async => PG_ASYNC });
wait_true($small, "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $other->{pg_pid}");
$session->do(q{SELECT cfp_store('large', '{}', 'i1', 'c', 8)});
$session->do('COMMIT');
ok(succeeded($other), 'who waits gets it');
is($other->selectrow_array(q{SELECT cfp_lock('large', 'i1', 'c', nowait => true)}), 2, 'with what was stored');
foreach my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	$other->do("BEGIN ISOLATION LEVEL $level");
	$other->do('SELECT 1');
	$session->do(q{SELECT cfp_store('large', '{}', 'i1', 'c', 8)});
	is(eval { $other->do(q{SELECT cfp_lock('large', 'i2', 'c')}) }, 1, "$level: what is as the snapshot sees it");
	is(eval { $other->do(q{SELECT cfp_lock('large', 'i1', 'c')}) }, undef, "$level: not what it does not see");
	is($other->state, '40001', 'SQLSTATE');
	$other->do('ROLLBACK');
}
$session->do('BEGIN');
$session->do('SAVEPOINT s');
$session->do(q{SELECT cfp_lock('large', 'i1', 'c')});
$session->do('ROLLBACK TO s');
is($other->selectrow_array(q{SELECT cfp_lock('large', 'i2', 'c', skip_locked => true)}), undef, 'ROLLBACK TO does not free it');
$session->do('COMMIT');
is($other->selectrow_array(q{SELECT cfp_lock('large', 'i2', 'c', skip_locked => true)}), 1, 'the end of the transaction does');

# Others need the memory.
$session->do(q{SELECT count(cfp_store('kept', '{}', 'i' || n, 'c', n)) FROM generate_series(1, 10) n});
$session->do('BEGIN');
$session->do(q{SELECT cfp_lock('kept', 'i1', 'c')});
$small->safe_psql('postgres', q{SELECT count(cfp_get_collection('other', 'c' || n % 50)) FROM generate_series(1, 500) n; SELECT cfp_evict('kept', 'c')});
is($other->selectrow_array(q{SELECT cfp_lock('kept', 'i1', 'c', skip_locked => true)}), undef, 'locked: evicted are others');
is($other->selectrow_array(q{SELECT cfp_lock('kept', 'i2', 'c', skip_locked => true)}), 1, 'and the lock is of the one item');
$session->do('COMMIT');
$other->disconnect;
$session->disconnect;
seen_ok($small, 'all agree with a small cache');

#
# A holder that is terminated, or loses its server.
#
$session = connect_node($node);
$other = connect_node($node);
$session->do('BEGIN');
$session->do(q{SELECT cfp_lock('many', 'i1', 'c')});
$other->do(q{SELECT cfp_store('many', '{}', 'i1', 'c', 5)}, { pg_async => PG_ASYNC });
blocked($other);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($session->{pg_pid})");
ok(succeeded($other), 'a store goes on when the holder of a lock is terminated');
$session->disconnect;

# And a waiter that is: who comes later does not wait for it.
$session = connect_node($node);
$session->do('BEGIN');
$session->do(q{SELECT cfp_store('many', '{}', 'i1', 'c', 6)});
my $waiter = connect_node($node);
$waiter->do(q{SELECT cfp_lock('many', 'i1', 'c')}, { pg_async => PG_ASYNC });
blocked($waiter);
$other->do(q{SELECT cfp_store('many', '{}', 'i1', 'c', 7)}, { pg_async => PG_ASYNC });
blocked($other);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($waiter->{pg_pid})");
ok(!succeeded($waiter), 'one that waits for a lock is cancelled');
ok(succeeded($other), 'a store that came after it goes on');
$session->do('COMMIT');
is($other->selectrow_array(q{SELECT cfp_get_value('many', 'i1', 'c')}), 7, 'and is above what it did not wait for');
$_->disconnect foreach $session, $other, $waiter;

#
# A lock gets through a stream of stores that do not wait for each other.
#
my $until = time + 6;
foreach my $number (1 .. 4)
{
	client($node, sub {
		my ($dbh) = @_;
		while (time < $until)
		{
			$dbh->do('BEGIN');
			$dbh->do(q{SELECT cfp_store('many', '{}', 'hot', 'c', 0)});
			usleep(20_000);
			$dbh->do('COMMIT');
		}
	});
}
$session = connect_node($node);
usleep(500_000);
my $got = 0;
while (time < $until - 1)
{
	$session->do('BEGIN');
	my $version = $session->selectrow_array(q{SELECT cfp_lock('many', 'hot', 'c')});
	usleep(10_000);
	die 'the item was stored' if $version != $session->selectrow_array(q{SELECT (cfp_item('many', 'hot', 'c')).version});
	$session->do('COMMIT');
	$got++;
}

# One that waited until the stores end would be the only one.
cmp_ok($got, '>', 2, "locks among stores: $got");
clients_ok('and stores among locks');

#
# Nobody else has what is locked, whatever all do.  Whether that is so is asked
# by advisory locks, which are taken after a lock and given back before its end.
#
foreach my $of ($node, $small)
{
	my $name = $of->name;
	my $until = time + 10;

	# Of the two collections the small cache has room for one.
	$of->safe_psql('postgres', q{
	SELECT count(cfp_store('mixed', jsonb_build_object('text', repeat(md5(n::text), 30)), 'i' || n, 'c' || n % 2, 0)) FROM generate_series(0, 800) n});
	foreach my $number (1 .. 6)
	{
		client($of, sub {
			my ($dbh) = @_;
			my $one = sub { $dbh->selectrow_array(@_) };

			srand($number);
			$dbh->do(q{SET deadlock_timeout = '50ms'});
			while (time < $until)
			{
				my $done = eval {
					$dbh->do('BEGIN');
					foreach my $turn (1 .. 1 + int(rand(3)))
					{
						my $n = int(rand(6));
						my $item = "'mixed', 'i$n', 'c" . $n % 2 . q{'};
						my $shared = rand() < 0.4;
						my $how = (', skip_locked => true', ', nowait => true', '', '', '')[ int(rand(5)) ];
						my $kind = $shared ? '_shared' : '';

						if (rand() < 0.3)
						{
							$one->(q{SELECT cfp_store('mixed', '{}', ?, ?, 1)}, undef, "i$n", 'c' . $n % 2);
							next;
						}
						my $saved = rand() < 0.3;
						$dbh->do('SAVEPOINT s') if $saved;
						my $version = $one->("SELECT cfp_lock($item, shared => ?$how)", undef, $shared ? 1 : 0);
						next unless defined $version;
						die "VIOLATED: $item$how$kind is locked by another"
						  unless $one->("SELECT pg_try_advisory_lock$kind($n)");
						usleep(int(rand(3000)));
						my $now = $one->("SELECT (cfp_item($item)).version");
						die "VIOLATED: $item was $version, is $now" if $now != $version;
						$one->("SELECT pg_advisory_unlock$kind($n)");
						$one->(q{SELECT cfp_store('mixed', '{}', ?, ?, 1)}, undef, "i$n", 'c' . $n % 2) if rand() < 0.3;
						$dbh->do('ROLLBACK TO s') if $saved && rand() < 0.5;
					}
					$dbh->do(rand() < 0.2 ? 'ROLLBACK' : 'COMMIT');
					1;
				};
				next if $done;
				die $@ if $@ =~ /VIOLATED/ || $dbh->state !~ /^(?:40P01|55P03)$/;
				$dbh->do('ROLLBACK');
			}
		});
	}
	clients_ok("$name: nobody has what another has locked");
	is($of->safe_psql('postgres', q{SELECT count(cfp_lock('mixed', 'i' || n, 'c' || n % 2, nowait => true)) FROM generate_series(0, 5) n}),
		6, "$name: nothing stays locked");
	seen_ok($of, "$name: all agree");
	history_ok($of, "$name: no version twice");
}

#
# A queue: each item is worked on once, and a counter loses nothing.
#
foreach my $queue ([ $node, 1500 ], [ $small, 300 ])
{
	my ($of, $items) = @$queue;
	my $name = $of->name;

	$of->safe_psql('postgres', qq{
		CREATE TABLE done (item text, worker int);
		SELECT count(cfp_store('queue', jsonb_build_object('text', repeat(md5(n::text), 100)), 'job ' || lpad(n::text, 5, '0'), 'c', n))
		FROM generate_series(1, $items) n;
		SELECT cfp_store('queue', '{}', 'count', 'done', 0)});
	foreach my $worker (1 .. 5)
	{
		client($of, sub {
			my ($dbh) = @_;

			srand($worker);
			while ($dbh->selectrow_array(q{SELECT EXISTS (SELECT FROM cfp_items('queue', 'c'))}))
			{
				$dbh->do('BEGIN');
				my $item = $dbh->selectrow_array(
					q{SELECT item_name FROM cfp_items('queue', 'c', max_items => 20)
					  WHERE cfp_lock('queue', item_name, 'c', skip_locked => true) > 0 LIMIT 1});
				if (defined $item)
				{
					$dbh->do('INSERT INTO done VALUES (?, ?)', undef, $item, $worker);
					$dbh->do(q{SELECT cfp_delete('queue', ?, 'c')}, undef, $item);
					$dbh->selectrow_array(q{SELECT cfp_lock('queue', 'count', 'done')});
					$dbh->do(q{SELECT cfp_store('queue', '{}', 'count', 'done', cfp_get_text('queue', 'count', 'done')::int + 1)});
				}
				$dbh->do(rand() < 0.1 ? 'ROLLBACK' : 'COMMIT');
				usleep(1000) unless defined $item;
			}
		});
	}
	clients_ok("$name: a queue is worked off");
	is($of->safe_psql('postgres', q{SELECT count(*), count(DISTINCT item), cfp_get_value('queue', 'count', 'done') FROM done}),
		"$items|$items|$items", "$name: each item was worked on once");
	note($of->safe_psql('postgres', 'SELECT worker, count(*) FROM done GROUP BY 1 ORDER BY 1'));
}

#
# A crash leaves no lock.
#
$session = connect_node($node);
$session->do('BEGIN');
$session->do(q{SELECT cfp_lock('many', 'i1', 'c')});
$node->stop('immediate');
$node->start;
wait_worker($node);
is($node->safe_psql('postgres', q{SELECT cfp_lock('many', 'i1', 'c', nowait => true) > 0}), 't', 'after a crash nothing is locked');

$node->stop;
$small->stop;
log_ok($node, qr/ERROR:  (?:deadlock detected|could not obtain lock on item|canceling statement due to user request)/,
	qr/FATAL:  terminating connection due to administrator command/,
	qr/WARNING:  terminating connection because of crash/, qr/database system was not properly shut down/);
log_ok($small, qr/ERROR:  (?:deadlock detected|could not obtain lock on item|could not serialize access|canceling statement due to lock timeout)/);
done_testing();
