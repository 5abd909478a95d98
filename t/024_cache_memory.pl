# The cache's memory: what is given back is one piece again, large records take
# what they are long, names cannot be chosen to collide, and what does not fit
# leaves what is hot alone.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Drop all that is cached, what is known of collections that did not fit included.
sub evict_all
{
	my ($node) = @_;

	$node->safe_psql('postgres', q{
SELECT count(cfp_evict(key, collection_name))
FROM (SELECT DISTINCT key, collection_name FROM storage_latest
	UNION SELECT DISTINCT key, collection_name FROM storage_history) c});
	return;
}

# Nothing is cached: the area is one piece but for the descriptors, which take
# an eighth at most.
sub one_piece_ok
{
	my ($node, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	evict_all($node);
	return is($node->safe_psql('postgres', q{
SELECT cache_used + cache_largest_free = cache_size AS one_piece, cache_used <= cache_size / 8 AS descriptors_only FROM cfp_stat}),
		't|t', $what);
}

# The scripts, with all that is stored flushed before the last of them: the
# worker then has no snapshot that older versions are kept for.
sub without_snapshots
{
	my @scripts = @_;

	return (join("\n", @scripts[ 0 .. $#scripts - 1 ]), 'SELECT cfp_flush()', $scripts[-1]);
}

# Fill and evict.  Collections of 50 bytes to half of the cache, one size the
# double of the one before; the smaller, the more of them and the more often.
foreach my $mb (1, 4, 128)
{
	my $node = cfp_node("fill$mb", "cfp.cache_size = '${mb}MB'", 'cfp.flush_interval = 1h',
		'cfp.wal_files = off', 'fsync = off', 'autovacuum = off');
	my $half = $mb * 1024 * 1024 / 2;

	cfp_install($node);
	$node->safe_psql('postgres', qq{
CREATE TABLE sizes AS
SELECT s AS size, c AS copy, 's' || s || '-' || c AS name
FROM (SELECT 50 * 2 ^ n AS size FROM generate_series(0, 40) n WHERE 50 * 2 ^ n < $half) g,
	LATERAL (SELECT least(size, 0.8 * $half)::int AS s) l,
	generate_series(1, greatest(1, least(40, ($half / size)::int))) c;
-- records of up to 6 kB
SELECT count(cfp_store('fill', jsonb_build_object('t', repeat('x', least(6000, size - n * 6000))), 'i' || n, name))
FROM sizes, generate_series(0, size / 6000) n WHERE size - n * 6000 > 0;
SELECT cfp_fold();
VACUUM ANALYZE;
});
	evict_all($node);

	# One is loaded, and one dropped that may be there.
	is($node->safe_psql('postgres', q{
CREATE FUNCTION churn(times int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	names text[] := ARRAY(SELECT name FROM sizes ORDER BY size, name);
	n int := cardinality(names);
	failed int := 0;
BEGIN
	FOR i IN 1 .. times LOOP
		IF cfp_warm('fill', names[1 + floor(n * power(random(), 2))::int]) IS NULL THEN
			failed := failed + 1;
		END IF;
		PERFORM cfp_evict('fill', names[1 + floor(n * random())::int]);
	END LOOP;
	RETURN failed;
END $$;
SELECT setseed(0.24); SELECT churn(10000)}),
		"\n0", "$mb MB: each of 10000 collections found room");
	cmp_ok($node->safe_psql('postgres', 'SELECT evictions FROM cfp_stat'), '>', 1000,
		"$mb MB: others were evicted for it");
	is($node->safe_psql('postgres', q{SELECT cfp_warm('fill', name) > 0 FROM sizes ORDER BY size DESC LIMIT 1}), 't',
		"$mb MB: half of the cache in one collection");
	one_piece_ok($node, "$mb MB: the area is one piece again");

	# Reads of many collections that do not fit together, and stores into them.
	if ($mb == 4)
	{
		$node->safe_psql('postgres', q{
SELECT count(cfp_store('many', jsonb_build_object('t', repeat('y', 100 + 37 * n % 900)), 'i' || n, 'c' || c))
FROM generate_series(1, 200) c, generate_series(1, 10 + c) n;
SELECT cfp_fold();
SELECT count(cfp_get('many', 'i1', 'c' || 1 + (random() * 199)::int)) FROM generate_series(1, 20000) g;
SELECT count(cfp_store('many', jsonb_build_object('t', repeat('z', g % 1200)), 'i' || g % 10, 'c' || 1 + (g * 7919) % 200))
FROM generate_series(1, 4000) g;
SELECT count(cfp_get_collection_json('many', 'c' || 1 + (g * 7919) % 200)) FROM generate_series(1, 1000) g});
		is($node->safe_psql('postgres', q{SELECT cfp_warm('fill', name) > 0 FROM sizes ORDER BY size DESC LIMIT 1}), 't',
			'4 MB: half of the cache in one collection after many gets');
		one_piece_ok($node, '4 MB: and one piece again');
	}
	$node->stop;
	log_ok($node);
}

# Large records and their texts: a collection's bytes over what cfp_get and
# cfp_get_collection_json return.
my $node = cfp_node('large', "cfp.cache_size = '128MB'", 'cfp.flush_interval = 1h', 'fsync = off',
	'autovacuum = off');
cfp_install($node);
foreach my $case ([ 9000, 150, 1.5 ], [ 12_000, 100, 1.5 ], [ 17_000, 100, 1.3 ], [ 60_000, 50, 1.3 ], [ 1_000_000, 5, 1.3 ])
{
	my ($size, $n, $most) = @$case;
	my $measure = qq{
SELECT count(cfp_get_collection_json('large', '$size'));
SELECT u.items = $n AND u.bytes <= $most * r.bytes AS ok, round(u.bytes / r.bytes, 3) AS "over"
FROM cfp_stat_collections u, (
	SELECT sum(pg_column_size(cfp_get('large', i.item_name, '$size')))
		+ octet_length(cfp_get_collection_json('large', '$size') ->> 'items') AS bytes
	FROM cfp_items('large', '$size') i) r
WHERE u.collection_name = '$size'};
	my $store = qq{
SELECT count(cfp_store('large', jsonb_build_object('t', repeat('x', $size - 200)), 'i' || n, '$size')) FROM generate_series(1, $n) n;};

	$node->safe_psql('postgres', $store);
	like($node->safe_psql('postgres', $measure), qr/^t\|/m, "$n records of $size bytes as stored take at most $most of their size");
	$node->safe_psql('postgres', "SELECT cfp_evict('large', '$size')");
	like($node->safe_psql('postgres', $measure), qr/^t\|/m, 'as loaded');

	# With texts in between, each a little longer than the one before.
	$node->safe_psql('postgres', $_) foreach without_snapshots(
		map { "SELECT count(cfp_get_collection_json('large', '$size')); $store" =~ s/- 200/- 100 + 10 * $_/r } 1 .. 20);
	like($node->safe_psql('postgres', $measure), qr/^t\|/m, 'and stored anew 20 times');
	$node->safe_psql('postgres', "SELECT cfp_evict('large', '$size')");
}
one_piece_ok($node, 'large records: one piece again');

# Records that grow from small to large leave no more behind than they take.
$node->safe_psql('postgres', $_) foreach without_snapshots(map { qq{
SELECT count(cfp_store('grow', jsonb_build_object('t', repeat('x', (100 * 1.2 ^ $_)::int)), 'i' || n)) FROM generate_series(1, 300) n;
SELECT count(cfp_get_collection_json('grow'));} } 1 .. 24);
is($node->safe_psql('postgres', q{
SELECT u.bytes < 4 * r.bytes FROM cfp_stat_collections u, (
	SELECT sum(pg_column_size(cfp_get('grow', i.item_name))) + octet_length(cfp_get_collection_json('grow') ->> 'items') AS bytes
	FROM cfp_items('grow') i) r WHERE u.key = 'grow'}),
	't', 'records that grow leave little behind');

# Names that differ in the top bits of neighbouring 8-byte words, in each
# combination of 15 places.  The timeout is for a server that hangs.
$node->safe_psql('postgres', q{CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0});
cfp_install($node, 'latin1');
is($node->safe_psql('latin1', q{
SET statement_timeout = '30s';
CREATE TABLE names AS
SELECT n, (SELECT string_agg(CASE WHEN n & (1 << p) = 0
		THEN 'aaaaaaaaaaaaaaaa'
		ELSE convert_from('\x61616161616161e1616161e1616161e1', 'LATIN1') END, '' ORDER BY p)
	FROM generate_series(0, 14) p) AS name
FROM generate_series(0, 32767) n;
SELECT count(cfp_store('k', '{}', name, 'c', n)) FROM names;
SELECT sum(cfp_get_value('k', name, 'c')::bigint) FROM names;
SELECT count(*), count(*) FILTER (WHERE before < item_name COLLATE "C")
FROM (SELECT item_name, lag(item_name) OVER () AS before FROM cfp_items('k', 'c')) i;
SELECT count(cfp_store(name, '{}', 'i', '', n)) FROM names WHERE n < 8192;
SELECT count(cfp_get_value(name, 'i')) FROM names WHERE n < 8192;
SELECT cfp_flush() >= 0}), join("\n", 32768, 32767 * 32768 / 2, '32768|32767', 8192, 8192, 't'), 'names made to collide do not');
$node->stop;
log_ok($node);

# What does not fit.  100 collections of some 25 kB are hot, one has 12 MB.
my $small = cfp_node('small', "cfp.cache_size = '4MB'", 'cfp.flush_interval = 1h', 'fsync = off');
cfp_install($small);
$small->safe_psql('postgres', q{
SELECT count(cfp_store('hot', jsonb_build_object('t', repeat(md5(n::text), 30)), 'i' || n, 'c' || c))
FROM generate_series(1, 100) c, generate_series(1, 23) n;
SELECT count(cfp_store('huge', jsonb_build_object('t', repeat(md5(n::text), 120)), 'i' || n)) FROM generate_series(1, 3000) n;
SELECT cfp_fold()});
my $heat = q{SELECT count(cfp_get('hot', 'i1', 'c' || c)) FROM generate_series(1, 100) c};
my $hot = q{SELECT count(*) FROM cfp_stat_collections WHERE key = 'hot' AND state = 'cached'};
evict_all($small);
$small->safe_psql('postgres', "$heat; $heat");
is($small->safe_psql('postgres', $hot), '100', '100 hot collections');
is($small->safe_psql('postgres', q{SELECT cfp_get('huge', 'i711') IS NOT NULL}), 't', 'a get of one that does not fit');
my $left = $small->safe_psql('postgres', $hot);
cmp_ok($left, '>=', 80, "it leaves $left of them");

$small->safe_psql('postgres', $heat);
my $before = $small->safe_psql('postgres', 'SELECT evictions, loads FROM cfp_stat');
$small->safe_psql('postgres', q{SELECT pg_sleep(11); SELECT count(cfp_get('huge', 'i' || n)) FROM generate_series(1, 100) n});
is($small->safe_psql('postgres', 'SELECT evictions, loads FROM cfp_stat'), $before, 'it is not tried again');
is($small->safe_psql('postgres', q{SELECT cfp_warm('huge') IS NULL}), 't', 'nor does it fit when it is warmed');
is($small->safe_psql('postgres', $hot), '100', 'which leaves the others');

# It is read from the tables, and stores go there, until it is small enough.
is($small->safe_psql('postgres', q{SELECT count(*) FROM cfp_items('huge')}), '3000', 'it is read from the tables');
$small->safe_psql('postgres', q{SELECT count(cfp_delete('huge', 'i' || n)) FROM generate_series(1, 1500) n});
is($small->safe_psql('postgres', q{SELECT cfp_get('huge', 'i711') IS NULL; SELECT count(*) FROM cfp_stat_collections WHERE key = 'huge'}),
	"t\n0", 'still too large');
$small->safe_psql('postgres', q{SELECT count(cfp_delete('huge', 'i' || n)) FROM generate_series(1501, 2900) n});
is($small->safe_psql('postgres', q{SELECT cfp_get('huge', 'i2950') IS NOT NULL; SELECT state FROM cfp_stat_collections WHERE key = 'huge'}),
	"t\ncached", 'tried as soon as it has become small enough');
is($small->safe_psql('postgres', q{SELECT count(*) FROM cfp_items('huge')}), '100', 'and read right');

# Of unknown size, larger than the share it may take at once, but it fits.
$small->safe_psql('postgres', q{SELECT count(cfp_store('fits', jsonb_build_object('t', repeat(md5(n::text), 30)), 'i' || n)) FROM generate_series(1, 2000) n});
evict_all($small);
$small->safe_psql('postgres', "$heat; $heat");
is($small->safe_psql('postgres', q{SELECT cfp_get('fits', 'i1') IS NOT NULL; SELECT state, items FROM cfp_stat_collections WHERE key = 'fits'}),
	"t\ncached|2000", 'what fits is loaded, others make room');
one_piece_ok($small, 'what did not fit left nothing behind');
$small->stop;
log_ok($small);
done_testing();
