# storage_current beside all that goes on: each item once, whatever is stored,
# flushed, folded, vacuumed and evicted meanwhile; and own stores of any number.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use Test::More;
use Time::HiRes qw(usleep);

my $node = cfp_node('table', "cfp.cache_size = '8MB'", 'cfp.batch_size = 50', 'autovacuum = off');
cfp_install($node);
$node->safe_psql('postgres', q{
SELECT count(cfp_store('k' || n % 3, '{}', 'i' || n, 'c' || n % 40, 0)) FROM generate_series(1, 4000) n;
SELECT cfp_fold();
SELECT count(cfp_store('k' || n % 3, '{}', 'i' || n, 'c' || n % 40, 0)) FROM generate_series(1, 4000, 7) n});

# Three that store, one that does what moves records from place to place.
my @pids;
END { kill 'KILL', @pids }
my @work = (
	(q{SELECT cfp_store('k' || n % 3, '{}', 'i' || n, 'c' || n % 40, n) FROM (SELECT 1 + (random() * 3999)::int) r(n)}) x 3,
	[ 'SELECT cfp_flush()', 'SELECT cfp_fold()', 'VACUUM storage_history, storage_latest, storage_dirty',
		q{SELECT count(cfp_evict(key, collection_name)) FROM (SELECT DISTINCT key, collection_name FROM storage_latest) c} ]);
foreach my $work (@work)
{
	my $pid = fork;
	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		my $session = connect_node($node);
		my $turn = 0;

		while (1)
		{
			eval { $session->do(ref $work ? $work->[ $turn++ % @$work ] : $work) };
			usleep(ref $work ? 20_000 : 300);
		}
	}
	push @pids, $pid;
}

my $reader = connect_node($node);
my %wrong;
my $end = time + 12;
my $reads = 0;
while (time < $end)
{
	foreach my $level ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
	{
		$reader->do("BEGIN ISOLATION LEVEL $level READ ONLY");
		foreach my $read (
			[ 'all', q{SELECT count(*) || ' ' || count(DISTINCT (key, collection_name, item_name)) FROM storage_current}, '4000 4000' ],
			[ 'a key', q{SELECT count(*) || ' ' || count(DISTINCT (collection_name, item_name)) FROM storage_current WHERE key = 'k1'}, '1334 1334' ],
			[ 'a collection', q{SELECT count(*) || ' ' || count(DISTINCT item_name) FROM storage_current WHERE key = 'k1' AND collection_name = 'c1'}, '34 34' ],
			[ 'a join', q{SELECT count(*) || ' ' || count(s.value_int) FROM generate_series(1, 4000, 37) n LEFT JOIN storage_current s ON s.key = 'k' || n % 3 AND s.collection_name = 'c' || n % 40 AND s.item_name = 'i' || n}, '109 109' ])
		{
			my ($what, $sql, $wanted) = @$read;
			my $got = $reader->selectrow_array($sql);

			$reads++;
			$wrong{"$what, $level: $got"}++ if $got ne $wanted;
		}
		$reader->do('COMMIT');
	}
}
kill 'KILL', @pids;
waitpid($_, 0) foreach @pids;
@pids = ();
cmp_ok($reads, '>', 24, 'it was read often');
is(join(', ', sort keys %wrong), '', 'each item is there, once');
wait_true($node, 'SELECT unflushed_records = 0 FROM cfp_stat');
seen_ok($node, 'all agree when they have ended');

# What a transaction has stored itself, and takes back.
$reader->do('BEGIN');
$reader->do(q{SELECT count(cfp_store('own', '{}', 'i' || n, 'c' || n % 2, n)) FROM generate_series(1, 30000) n});
is($reader->selectrow_array(q{SELECT count(*) || ' ' || sum(value_int) FROM storage_current WHERE key = 'own'}), '30000 450015000', 'own items, of a key');
is($reader->selectrow_array(q{SELECT count(*) FROM storage_current}), '34000', 'of all');
$reader->do('SAVEPOINT s');
$reader->do(q{DELETE FROM storage_current WHERE key = 'own' AND collection_name = 'c1'});
is($reader->selectrow_array(q{SELECT count(*) FROM storage_current}), '19000', 'half of them deleted');
$reader->do(q{DECLARE c CURSOR FOR SELECT item_name FROM storage_current WHERE key = 'own' ORDER BY collection_name, item_name});
is($reader->selectrow_array('FETCH 1 FROM c'), 'i10', 'a cursor');
$reader->do(q{UPDATE storage_current SET value_int = -1 WHERE key = 'own'});
is(scalar @{ $reader->selectcol_arrayref('FETCH ALL FROM c') }, 14999, 'which sees what there was');
$reader->do('ROLLBACK TO s');
is($reader->selectrow_array(q{SELECT count(*) || ' ' || sum(value_int) FROM storage_current WHERE key = 'own'}), '30000 450015000', 'taken back');
$reader->do('ROLLBACK');
is($reader->selectrow_array(q{SELECT count(*) FROM storage_current}), '4000', 'and all of it');

# A scan of everything puts nothing into the cache, and takes nothing out.
$node->safe_psql('postgres', q{SELECT cfp_evict(key, collection_name) FROM (SELECT DISTINCT key, collection_name FROM storage_latest) c; SELECT cfp_warm('k1', 'c1')});
my $cached = q{SELECT string_agg(key || collection_name, ' ') || ' ' || (SELECT loads || ' ' || evictions FROM cfp_stat) FROM cfp_stat_collections WHERE state = 'cached'};
my $before = $node->safe_psql('postgres', $cached);
$node->safe_psql('postgres', q{SELECT count(*) FROM storage_current; SELECT count(*) FROM storage_current WHERE key = 'k1'});
is($node->safe_psql('postgres', $cached), $before, 'scans of all and of a key leave the cache as it is');
like($before, qr/^k1c1 /, 'with one collection in it');

$node->stop;
log_ok($node, qr/ERROR:  [^\n]*(?:serialize|deadlock|concurrent|canceling)/, qr/FATAL:  connection to client lost/);
done_testing();
