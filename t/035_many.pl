# Flush and fold of many items: whatever storage_dirty and storage_latest have
# already, each item gets into the one once, and its newest record into the
# other.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use Test::More;

my $node = cfp_node('many', 'cfp.flush_interval = 1h', 'autovacuum = off');
cfp_install($node);

sub store
{
	my ($items, $value) = @_;

	$node->safe_psql('postgres', "SELECT count(cfp_store(k, jsonb_build_object('v', '$value'), i, c, '$value')) FROM ($items) n(k, c, i)");
	return;
}

# All items that were stored since the last fold, each once.
sub dirty_is
{
	my ($items, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->safe_psql('postgres', 'SELECT cfp_flush()');
	return is(
		$node->safe_psql('postgres',
			"WITH wanted AS ($items) SELECT (SELECT count(*) FROM storage_dirty) = (SELECT count(*) FROM wanted), count(*) FROM (TABLE storage_dirty EXCEPT TABLE wanted) x"),
		't|0', $what);
}

sub folded_ok
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->safe_psql('postgres', 'SELECT cfp_fold()');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM storage_dirty'), '0', "$what: nothing is left to fold");
	return latest_ok($node, $what);
}

# Names of all lengths, so that their order is not that of the numbers in them.
my $all = q{SELECT k, c, repeat('x', i % 7) || i FROM unnest('{a,b}'::text[]) k, unnest('{c,cc,d}'::text[]) c, generate_series(1, 1500) i};
sub of
{
	my ($where) = @_;

	return $all . " WHERE $where";
}

# Into an empty table, in order and in none.
store("$all ORDER BY md5(k || c || i)", 'first');
dirty_is($all, 'all new');
folded_ok('all new');
store("$all ORDER BY md5(i || c || k)", 'second');
dirty_is($all, 'all there');
folded_ok('all there');

# Few among many, all of some, and what comes before and after.
foreach my $few ('i % 97 = 0', 'i BETWEEN 300 AND 420', q{(k, c) = ('a', 'cc')}, q{i % 97 = 0 OR (k, c) = ('b', 'c') OR i BETWEEN 1400 AND 1450}, 'i = 1')
{
	store(of($few), $few =~ s/'/''/gr);
	dirty_is(of($few), "those with $few");
	folded_ok("those with $few");
}
my $new = q{SELECT k, c, i || 'new' FROM unnest('{0,a,ab,c}'::text[]) k, unnest('{b,cc,e}'::text[]) c, generate_series(1, 400) i};
store("$new UNION ALL " . of('i % 5 = 0'), 'new');
dirty_is("$new UNION ALL " . of('i % 5 = 0'), 'new ones and others');
$node->safe_psql('postgres', q{SELECT cfp_delete_collection('ab', 'cc')});
folded_ok('new ones, others and deleted ones');

# What was flushed before, by this worker, by another, and after a change by hand.
store(of('i <= 200'), 'once');
dirty_is(of('i <= 200'), 'flushed once');
store(of('i BETWEEN 100 AND 300'), 'twice');
dirty_is(of('i <= 300'), 'some of them flushed twice');
my $worker = wait_worker($node);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
wait_true($node, "SELECT worker_pid <> $worker AND worker_state = 'idle' FROM cfp_stat");
store(of('i BETWEEN 200 AND 400'), 'another worker');
dirty_is(of('i <= 400'), 'by another worker');
$node->safe_psql('postgres', q{UPDATE storage_history SET username = 'by hand' WHERE key = 'a' AND collection_name = 'c' AND item_name LIKE '%77' AND data ->> 'v' = 'once'});
store(of('i BETWEEN 300 AND 500'), 'after a change by hand');
dirty_is(of('i <= 500'), 'after a change by hand');
folded_ok('after a change by hand');
store(of('i <= 10'), 'before a truncate');
dirty_is(of('i <= 10'), 'before latest is truncated');
$node->safe_psql('postgres', 'TRUNCATE storage_latest');
store(of('i <= 20'), 'after a truncate');
folded_ok('after latest was truncated');

# Rows that are in storage_dirty although nobody should have put them there:
# the worker trusts itself until it meets one.
$node->safe_psql('postgres', q{INSERT INTO storage_dirty VALUES ('a', 'c', 'x1'), ('a', 'c', 'strange')});
store(of('i <= 10'), 'by hand');
$node->psql('postgres', 'SELECT cfp_flush()');
dirty_is(of('i <= 10') . q{ UNION ALL SELECT 'a', 'c', 'strange'}, 'with rows by hand in storage_dirty');
folded_ok('with rows by hand in storage_dirty');

# Rows that are inserted together: long ones, and ones that a trigger sees.
$node->safe_psql('postgres', q{SELECT count(cfp_store('wide', jsonb_build_object('t', repeat(md5(i::text), i)), 'i' || i, 'c')) FROM generate_series(1, 900) i});
folded_ok('long records');
$node->safe_psql('postgres', q{
CREATE TABLE seen (item text);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (NEW.item_name); RETURN NULL; END $$;
CREATE TRIGGER see AFTER INSERT ON storage_latest FOR EACH ROW EXECUTE FUNCTION see();
ALTER TABLE storage_latest ENABLE ALWAYS TRIGGER see;
SELECT count(cfp_store('seen', '{}', 'i' || i, 'c')) FROM generate_series(1, 500) i});
folded_ok('with a trigger that sees each row');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT item) FROM seen'), '500|500', 'it has seen each of them');
$node->safe_psql('postgres', q{
DROP TRIGGER see ON storage_latest;
CREATE UNIQUE INDEX one_of_each ON storage_latest ((data ->> 'one'));
SELECT cfp_store('one', '{"one": 1}', 'i' || i, 'c') FROM generate_series(1, 2) i});
state_is($node, 'postgres', 'SELECT cfp_fold()', '23505', qr/cfp_fold\(\) failed: duplicate key value violates unique constraint "one_of_each"/, 'a row that an index refuses');
$node->safe_psql('postgres', 'DROP INDEX one_of_each');
folded_ok('when it is gone');
seen_ok($node, 'all agree');

# More names than the worker remembers.
my $long = q{SELECT 'long', 'c', repeat('l', 1500) || i FROM generate_series(1, 50000) i};
store("$long UNION ALL SELECT 'long', 'c', repeat('l', 1500) || i FROM generate_series(1, 50) i", 'long');
dirty_is($long, 'names of 75 MB');
is($node->safe_psql('postgres', q{SELECT cfp_fold(); SELECT count(*) FROM storage_latest WHERE key = 'long'}), "50000\n50000", 'and folded');

$node->stop;
log_ok(
	$node,
	qr/(?:ERROR|WARNING):  cfp[^\n]*duplicate key value violates unique constraint "storage_dirty_pkey"/,
	qr/(?:ERROR|WARNING):  cfp[^\n]*duplicate key value violates unique constraint "one_of_each"/);
done_testing();
