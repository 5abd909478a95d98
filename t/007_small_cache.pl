# A cache far too small: slower, never an error, and every read right.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

my $node = cfp_node('main', "cfp.cache_size = '1MB'", 'cfp.flush_interval = 1s');
cfp_install($node);

# 20 MB in 200 collections, and one collection larger than the cache.
$node->safe_psql('postgres', q{
SELECT cfp_store('many', jsonb_build_object('text', repeat(md5(n::text), 30)), 'item' || n, 'c' || c, n)
FROM generate_series(1, 200) c, generate_series(1, 100) n;
SELECT cfp_store('large', jsonb_build_object('text', repeat(md5(n::text), 30)), 'item' || n, 'c', n)
FROM generate_series(1, 5000) n});
seen_ok($node, 'all agree after bulk stores');

is( $node->safe_psql('postgres', q{
	SELECT count(*) FROM generate_series(1, 200) c, generate_series(1, 100, 17) n
	WHERE cfp_get_value('many', 'item' || n, 'c' || c) = to_jsonb(n)}),
	'1200', 'gets over all collections');
is($node->safe_psql('postgres', q{SELECT count(*) FROM jsonb_object_keys(cfp_get_collection('large', 'c'))}),
	'5000', 'a collection larger than the cache');
is($node->safe_psql('postgres', q{SELECT cfp_get_value('large', 'item4711', 'c')}), '4711', 'and one item of it');
is($node->safe_psql('postgres', q{SELECT cfp_store('large', '{}', 'item4711', 'c', 1), cfp_get_value('large', 'item4711', 'c')}),
	'2|1', 'a store into it');
is($node->safe_psql('postgres', 'SELECT evictions > 0 FROM cfp_stat'), 't', 'collections are evicted');

# What is pruned keeps its version also where stores go through the tables, and
# in many collections at once.
is($node->safe_psql('postgres', q{SELECT cfp_delete('large', 'item1', 'c'), cfp_store('large', '{}', 'item2', 'c', 1), count(cfp_delete('many', 'item1', 'c' || c)) FROM generate_series(1, 200) c}),
	'2|2|200', 'items are deleted');
is($node->safe_psql('postgres', q{SELECT cfp_fold(); SELECT cfp_prune_history('infinity')}) =~ s/^.*\n//r, 2 * 201 + 2, 'and pruned');
is($node->safe_psql('postgres', q{SELECT count(*) FROM cfp_items('large', 'c', include_deleted => true)}), '4999', 'they are gone');
is($node->safe_psql('postgres', q{SELECT cfp_store('large', '{}', 'item1', 'c', 1), cfp_store('large', '{}', 'item3', 'c', 1), sum(cfp_store('many', '{}', 'item1', 'c' || c)) FROM generate_series(1, 200) c}),
	'3|2|600', 'and stored again above their tombstones');
state_is($node, 'postgres', q{SELECT cfp_store('large', '{}', 'item1', 'c', expected_version => 1)}, '40001', qr/current version is 3/, 'what was read before them is not expected any more');
seen_ok($node, 'all agree about what was pruned');

# More collections in one transaction than the lock table has room for.
is($node->safe_psql('postgres', q{SELECT count(cfp_store('customer' || n, '{}', 'profile', '', n)) FROM generate_series(1, 20000) n}),
	'20000', 'a collection for each of many keys');
is($node->safe_psql('postgres', q{SELECT sum((cfp_get_value('customer' || n, 'profile'))::bigint) FROM generate_series(1, 20000) n}),
	20000 * 20001 / 2, 'and each is read');
$node->safe_psql('postgres', q{DELETE FROM cfp.storage_history WHERE key ~ '^customer'});

# Old snapshots beside it.
my $old = connect_node($node);
$old->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
my $sum = q{SELECT sum((cfp_get_value('many', 'item' || n, 'c' || c))::bigint) FROM generate_series(1, 200, 7) c, generate_series(1, 100, 9) n};
my $before = $old->selectrow_array($sum);

# More pending in one transaction than the cache can hold: memory runs out at
# the latest before the commit.
my $session = connect_node($node);
$session->do('BEGIN');
$session->do(q{
SELECT cfp_store('many', jsonb_build_object('text', repeat(md5(n::text), 30)), 'item' || n, 'c' || c, 1000 + n)
FROM generate_series(1, 100) n, generate_series(1, 200) c});
is($session->selectrow_array(q{SELECT count(*) FROM cfp_items('many', 'c77') WHERE value_int > 1000}), '100',
	'a large transaction sees its own stores');
is($node->safe_psql('postgres', q{SELECT count(*) FROM cfp_items('many', 'c77') WHERE value_int > 1000}), '0',
	'nobody else does');
$session->do('COMMIT');
is($node->safe_psql('postgres', q{SELECT count(*) FROM cfp_items('many', 'c77') WHERE value_int > 1000}), '100',
	'they are seen after the commit');
is($old->selectrow_array($sum), $before, 'an old snapshot reads the same');
$old->do('COMMIT');
$old->disconnect;
seen_ok($node, 'all agree after a large transaction');

# One collection at a time, by one transaction, rolled back.
$session->do('BEGIN');
$session->do(q{
SELECT cfp_store('large', jsonb_build_object('text', repeat(md5(n::text), 30)), 'item' || n, 'c', -n)
FROM generate_series(1, 5000) n});
$session->do('ROLLBACK');
is($node->safe_psql('postgres', q{SELECT count(*) FROM cfp_items('large', 'c') WHERE value_int < 0}), '0',
	'nothing of a large rolled back transaction is seen');
$session->disconnect;

# Several clients at once.  Stores through the tables may queue and, in
# transactions with several, deadlock: those are tried again.
my @pids;
foreach my $number (1 .. 4)
{
	my $pid = fork;
	die "fork: $!" unless defined $pid;
	next if $pid and push @pids, $pid;

	my $ok = eval {
		my $dbh = connect_node($node);
		srand($number);
		foreach my $round (1 .. 400)
		{
			my @items = map { [ 'c' . (1 + int(rand(200))), 'item' . (1 + int(rand(20))) ] } 1 .. 3;
			my $done = eval {
				$dbh->do('BEGIN');
				foreach my $item (@items)
				{
					my ($collection, $name) = @$item;
					my ($version) = $dbh->selectrow_array(
						"SELECT cfp_store('many', jsonb_build_object('text', repeat('x', 900)), ?, ?, ?::int)",
						undef, $name, $collection, $round);
					my ($own, $all) = $dbh->selectrow_array(
						"SELECT (cfp_item('many', ?, ?)).version, cfp_get_collection('many', ?) -> ? ->> 'version'",
						undef, $name, $collection, $collection, $name);
					die "own store: $version, $own, $all" if $own < $version or $all < $version;
				}
				$dbh->do('COMMIT');
				1;
			};
			next if $done;
			die $@ unless ($dbh->state // '') eq '40P01';
			$dbh->do('ROLLBACK');
			redo;
		}
		$dbh->disconnect;
		1;
	};
	print STDERR "client $number: $@" unless $ok;
	POSIX::_exit($ok ? 0 : 1);
}
foreach my $pid (@pids)
{
	waitpid $pid, 0;
	is($?, 0, 'a client meets no error');
}
seen_ok($node, 'all agree after concurrent stores');
history_ok($node, 'no version twice');
is($node->safe_psql('postgres', 'SELECT cache_used <= cache_size FROM cfp_stat'), 't',
	'the cache keeps its size');

wait_worker($node);
$node->safe_psql('postgres', 'SELECT cfp_fold()');
latest_ok($node, 'the fold is right');
seen_ok($node, 'all agree after a fold');

$node->stop;
log_ok($node, qr/ERROR:  deadlock detected/, qr/ERROR:  the item is not at the expected version/);

# A cache full of small collections makes room for a large one that fits; those
# of a dropped database leave it.
my $full = cfp_node('full', "cfp.cache_size = '128MB'");
cfp_install($full);
$full->safe_psql('postgres', 'CREATE DATABASE other');
cfp_install($full, 'other');
$full->safe_psql('other', q{
SELECT cfp_store('large', jsonb_build_object('text', repeat(md5(n::text), 64)), 'item' || n, 'c') FROM generate_series(1, 34000) n});
$full->safe_psql('other', qq{
SELECT cfp_store('small', jsonb_build_object('text', repeat(md5(n::text), 64)), 'item' || n, 'c' || c)
FROM generate_series($_ + 1, $_ + 500) c, generate_series(1, 20) n}) foreach map { 500 * $_ } 0 .. 6;
is($full->safe_psql('other', q{SELECT cache_used > 0.8 * cache_size FROM cfp_stat}), 't', 'the cache is full');
is($full->safe_psql('other', q{SELECT cfp_warm('large', 'c')}), '34000', 'a large collection is loaded');
is($full->safe_psql('other', q{SELECT items FROM cfp_stat_collections WHERE key = 'large'}), '34000', 'and stays');
$full->safe_psql('postgres', q{SELECT cfp_store('k', '{}', 'i', 'c')});
$full->safe_psql('postgres', 'DROP DATABASE other');
ok($full->poll_query_until('postgres', q{SELECT cache_used < 0.1 * cache_size FROM cfp_stat}),
	'the collections of a dropped database leave the cache');
is($full->safe_psql('postgres', q{SELECT cfp_get_key('k') IS NOT NULL}), 't', 'those of others stay');
$full->stop;
log_ok($full);
done_testing();
