# One record, one name: what is pruned, restored back or lost keeps its versions;
# a tombstone leaves tables and cache with one commit, and makes the next backup
# a full one; a table that cannot be read can still be truncated.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use DBD::Pg qw(:async);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = cfp_node('main', "cfp.timezone = 'UTC'", "cfp.backup_history = day", 'autovacuum = off');
cfp_install($node);

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# The items of a collection with their versions, deleted ones too.
sub items
{
	my ($key, $session) = @_;
	my $query = "SELECT coalesce(string_agg(item_name || version, ' ' ORDER BY item_name), 'none') FROM cfp_items('$key', 'c', include_deleted => true)";
	return $session ? $session->selectrow_array($query) : sql($query);
}

#
# Prune: table and cache at one moment, for every snapshot.
#
foreach my $cached (0, 1)
{
	my $key = "prune$cached";
	my $what = $cached ? 'cached' : 'not cached';

	sql("SELECT cfp_store('$key', '{}', i, 'c', 1) FROM unnest(ARRAY['x', 'y']) i; SELECT cfp_delete('$key', 'x', 'c'); SELECT cfp_fold()");
	my $old = connect_node($node);
	$old->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$old->do('SELECT 1');
	sql($cached ? "SELECT cfp_warm('$key', 'c')" : "SELECT cfp_evict('$key', 'c')");
	is(items($key, $old), 'x2 y1', "$what: an old snapshot sees the tombstone") if $cached;

	sql(q{ALTER DATABASE postgres SET cfp.debug_waitpoint = 'prune_commit'});
	my $pruner = connect_node($node);
	$pruner->do("SELECT cfp_prune_history('infinity', key => '$key')", { pg_async => PG_ASYNC });
	$node->poll_query_until('postgres',
		q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'cfp job worker' AND wait_event_type = 'Extension'});
	sql('ALTER DATABASE postgres RESET cfp.debug_waitpoint');
	is(items($key), 'x2 y1', "$what: before the commit it is there");
	sql("SELECT cfp_warm('$key', 'c')");
	is(items($key), 'x2 y1', "$what: also after a load was tried");
	sql(q{SET cfp.debug_release = 'prune_commit'});
	foreach (1 .. 600)
	{
		last if $pruner->pg_ready;
		usleep(50_000);
		sql(q{SET cfp.debug_release = 'prune_commit'});
	}
	ok(succeeded($pruner), "$what: pruned");
	is(items($key), 'y1', "$what: after the commit it is gone");
	sql("SELECT cfp_warm('$key', 'c')");
	is(items($key), 'y1', "$what: and loaded again");
	is(items($key, $old), 'x2 y1', "$what: the old snapshot sees it on");
	ok(!eval { $old->do("SELECT cfp_store('$key', '{}', 'x', 'c', 2)"); 1 }, "$what: it cannot store what it sees as deleted");
	is($old->state, '40001', "$what: as if another had stored it");
	$old->do('ROLLBACK');
	$old->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
	is($old->selectrow_array("SELECT cfp_store('$key', '{}', 'x', 'c', 2)"), '3', "$what: a new one stores above it");
	$old->do('COMMIT');
	state_is($node, 'postgres', "SELECT cfp_store('$key', '{}', 'x', 'c', 2, expected_version => 1)", '40001', qr/current version is 3/, "$what: what was read before is not expected any more");
}

# A store in flight: others wait for it, as when memory runs out; nothing is lost.
my ($early, $late) = map { connect_node($node) } 1 .. 2;
sql(q{SELECT cfp_store('flight', '{}', i, 'c', 1) FROM unnest(ARRAY['x', 'y']) i; SELECT cfp_delete('flight', 'x', 'c'); SELECT cfp_fold()});
$early->do('BEGIN');
$early->do(q{SELECT cfp_store('flight', '{}', 'y', 'c', 2)});
is(sql(q{SELECT cfp_prune_history('infinity', key => 'flight')}), '2', 'pruned beside a store');
is(items('flight'), 'y1', 'it is gone');
is(items('flight', $early), 'y2', 'also for who stores');
is($early->selectrow_array(q{SELECT cfp_store('flight', '{}', 'x', 'c', 2)}), '3', 'who goes on above it');
$late->do(q{SELECT cfp_store('flight', '{}', 'x', 'c', 3)}, { pg_async => PG_ASYNC });
$early->do('COMMIT');
ok(succeeded($late), 'another store goes on after it');
is(items('flight'), 'x4 y2', 'with the next version');

#
# Backups: the next one after tombstones went is whole, and restores.
#
sub backup
{
	my ($date) = @_;
	sql("INSERT INTO storage_days (date, started, items_folded) VALUES ('$date', now(), 0); SELECT pg_reload_conf()");
	wait_true($node, "SELECT finished IS NOT NULL FROM cfp.storage_days WHERE date = '$date'");
	my ($file) = glob $node->data_dir . "/cfp/*_postgres/$date/manifest.json";
	my ($kind) = slurp_file($file) =~ /"history": "(\w+)"/;
	return $kind;
}

sql(q{SELECT cfp_store('chain', '{}', 'x', 'c', 1), cfp_delete('chain', 'x', 'c'), cfp_store('chain', '{}', 'y', 'c', 1); SELECT cfp_fold()});
is(backup('2020-01-01'), 'full', 'the first backup is a full one');
sql(q{SELECT cfp_store('chain', '{}', 'y', 'c', 2); SELECT cfp_fold()});
is(backup('2020-01-02'), 'day', 'the next one builds on it');
sql(q{SELECT cfp_prune_history(keep_versions => 1, key => 'chain')});
sql(q{SELECT cfp_store('chain', '{}', 'y', 'c', 3); SELECT cfp_fold()});
is(backup('2020-01-03'), 'day', 'also after superseded records went');
is(sql(q{SELECT cfp_prune_history('infinity', key => 'chain')}), '2', 'a tombstone goes');
is(sql(q{SELECT cfp_store('chain', '{}', 'x', 'c', 2)}), '3', 'its item is stored again');
sql('SELECT cfp_fold()');
is(backup('2020-01-04'), 'full', 'then it is a full one');
sql(q{SELECT cfp_store('chain', '{}', 'x', 'c', 3); SELECT cfp_fold()});
is(backup('2020-01-05'), 'day', 'and again one that builds on it');
my $shown = q{SELECT string_agg(format('%s %s %s %s', key, item_name, version, value), ', ' ORDER BY key, item_name) FROM storage_current};
my $then = sql($shown);

# Restored back: what was discarded keeps its versions, by collection.
sql(q{SELECT cfp_store('chain', '{}', 'x', 'c', v) FROM generate_series(5, 9) v; SELECT cfp_store('other', '{}', 'x', 'c', 1); SELECT cfp_delete('chain', 'y', 'c')});
sql(q{SELECT cfp_restore_backup('2020-01-05', discard_newer => true)});
is(sql($shown), $then, 'the backup of a day restores');
is(sql(q{SELECT cfp_store('chain', '{}', 'x', 'c', 10), cfp_store('chain', '{}', 'new', 'c', 1), cfp_store('other', '{}', 'x', 'c', 2), cfp_store('flight', '{}', 'y', 'c', 3)}),
	'10|10|2|3', 'versions go on above what was discarded');
state_is($node, 'postgres', q{SELECT cfp_store('other', '{}', 'x', 'c', 2, expected_version => 1)}, '40001', qr/current version is 2/, 'what was discarded is not expected any more');
seen_ok($node, 'all agree after the restore');
sql('SELECT cfp_fold()');
latest_ok($node, 'and after a fold');

#
# All lost, and rebuilt from the day files: the pruned tombstone comes back below
# what was stored since, or not at all.
#
my $today = sql('SELECT max(date) FROM cfp_wal_files');
my $live = q{SELECT string_agg(cfp_get_value('prune' || n, 'x', 'c')::text, ' ') FROM generate_series(0, 1) n};
is(sql($live), '2 2', 'what was stored above pruned tombstones');
sql("SELECT cfp_rebuild_history_from_wal('$today')");
is(sql($live), '2 2', 'is there after a rebuild that finds nothing lost');
sql('TRUNCATE storage_history, storage_latest');
is(sql($live), '', 'all is lost');
sql("SELECT cfp_rebuild_history_from_wal('$today')");
sql('SELECT cfp_rebuild_latest_from_history()');
is(sql($live), '2 2', 'and is back');
is(sql(q{SELECT cfp_store('prune0', '{}', 'x', 'c', 3)}) > 10, 1, 'versions go on above all that was lost');

#
# A history that cannot be read is truncated all the same.
#
sql(q{SELECT cfp_store('lost', '{}', 'x', 'c', v) FROM generate_series(1, 40) v; SELECT cfp_fold()});
my $next = sql(q{SELECT max(version) + 1 FROM storage_history});
my $file = $node->data_dir . '/' . sql(q{SELECT pg_relation_filepath('storage_history')});
sql('CHECKPOINT');
$node->stop;
open my $fh, '+<:raw', $file or die $!;
print $fh "\xaa" x 8192;
close $fh;
unlink "${file}_vm";
$node->start;
wait_worker($node);
state_is($node, 'postgres', 'SELECT count(data) FROM storage_history', 'XX001', qr/invalid page/, 'the history is damaged');
sql(q{INSERT INTO storage_latest (key, collection_name, item_name, data, updated_at, version) VALUES ('lost', 'c', 'y', '{}', now(), 1)});
my ($state, $err) = sqlstate($node, 'postgres', 'TRUNCATE storage_history');
is($state, '00000', 'it is truncated');
like($err, qr/WARNING:.*could not read which versions go with table "storage_history".*invalid page.*HINT:.*all_items/s, 'with a word about its versions');
sql('TRUNCATE storage_latest');
is(sql(q{SELECT cfp_store('lost', '{}', 'x', 'c', 41), cfp_store('elsewhere', '{}', 'x', 'c', 1)}), "$next|$next", 'those that are known stay taken');
seen_ok($node, 'all agree in the end');
history_ok($node, 'no version twice');

$node->stop;
log_ok($node, qr/could not serialize|not at the expected version|invalid page|could not read which versions|storage_history|records were passed over because they had been given up/);
done_testing();
