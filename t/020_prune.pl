# Pruning the history: what may go and what never does, old snapshots, the
# cache, concurrent stores, a dry run that counts what a run removes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use DBD::Pg qw(:async);
use Test::More;
use Time::HiRes qw(usleep);

my $node = cfp_node('main', 'restart_after_crash = on', 'cfp.min_free_space = 0',
	'deadlock_timeout = 100ms', "cfp.timezone = 'UTC'");
cfp_install($node);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# The dry run counts what the run removes; a second run removes nothing.
sub prune_ok
{
	my ($arguments, $rows, $what) = @_;
	my $before = sql('SELECT count(*) FROM storage_history');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql("SELECT cfp_prune_history($arguments, dry_run => true)"), $rows, "$what: dry run");
	is(sql('SELECT count(*) FROM storage_history'), $before, "$what: which removes nothing");
	is(sql("SELECT cfp_prune_history($arguments)"), $rows, "$what: run");
	is(sql('SELECT count(*) FROM storage_history'), $before - $rows, "$what: as many rows have gone");
	is(sql("SELECT cfp_prune_history($arguments)"), '0', "$what: again");
	seen_ok($node, "$what: all agree");
	return;
}

sub versions
{
	my ($item) = @_;
	return sql("SELECT string_agg(version::text, ' ' ORDER BY version) FROM storage_history WHERE item_name = '$item'");
}

sql(q{SELECT cfp_store('k', '{}', 'i' || i, c, v)
	FROM generate_series(1, 3) i, unnest(ARRAY['c', 'd']) c, generate_series(1, 10) v});
prune_ok('keep_versions => 1', 0, 'before the fold');
sql('SELECT cfp_fold()');
sql(q{SELECT cfp_store('k', '{}', 'i1', 'c', 11)});
sql('SELECT cfp_flush()');
state_is($node, 'postgres', 'SELECT cfp_prune_history(keep_versions => 0, dry_run => NULL)', '22004', qr/dry_run/, 'dry_run NULL');
prune_ok("keep_versions => 5, key => 'other'", 0, 'another key');
prune_ok("keep_versions => 5, key => 'k', collection_name => 'x'", 0, 'another collection');
prune_ok("keep_versions => 5, key => 'k', collection_name => 'c'", 6 + 5 + 5, 'one collection');
is(sql(q{SELECT string_agg(version::text, ' ' ORDER BY version) FROM storage_history WHERE item_name = 'i1' AND collection_name = 'c'}),
	'7 8 9 10 11', 'the newest are kept, those not folded among them');
prune_ok("keep_versions => 7, collection_name => 'd'", 9, 'collections of one name');
prune_ok("keep_versions => 0, key => 'k', collection_name => 'c'", 3 + 4 + 4, 'none but the newest');
is(sql(q{SELECT string_agg(version::text, ' ' ORDER BY version) FROM storage_history WHERE item_name = 'i1' AND collection_name = 'c'}),
	'10 11', 'what latest has, and what is not folded yet');
sql('SELECT cfp_fold()');

# older_than, alone and with keep_versions.
sql(q{SELECT cfp_store('o', '{}', 'a', 'c', v) FROM generate_series(1, 10) v});
my $then = sql('SELECT clock_timestamp()');
sql(q{SELECT cfp_store('o', '{}', 'a', 'c', v) FROM generate_series(11, 20) v});
sql('SELECT cfp_fold()');
prune_ok("'-infinity', key => 'o'", 0, 'older than all');
prune_ok("'$then', keep_versions => 15, key => 'o'", 5, 'old enough, and enough newer ones');
prune_ok("'$then', key => 'o'", 5, 'old enough');
is(versions('a'), join(' ', 11 .. 20), 'the younger ones are kept');
prune_ok("'infinity', key => 'o'", 9, 'all but the newest');
is(sql(q{SELECT cfp_get_value('o', 'a', 'c')}), '20', 'which is still there');

# Tombstones.
sql(q{SELECT cfp_store('t', '{}', i, 'c', 1), cfp_delete('t', i, 'c') FROM unnest(ARRAY['a', 'b', 'e', 'f']) i});
sql('SELECT cfp_fold()');
sql(q{SELECT cfp_store('t', '{}', 'b', 'c', 2), cfp_delete('t', 'b', 'c')});
sql(q{SELECT cfp_store('t', '{}', 'e', 'c', 2)});
sql('SELECT cfp_flush()');
prune_ok("keep_versions => 1, key => 't'", 4, 'keep_versions leaves tombstones');
prune_ok("'$then', key => 't'", 0, 'tombstones too young');
prune_ok("'infinity', keep_versions => 2, key => 't', collection_name => 'c'", 2, 'tombstones with nothing else left');
is(sql(q{SELECT string_agg(item_name || version, ' ' ORDER BY item_name, version) FROM storage_latest WHERE key = 't'}),
	'b2 e2', 'the row of latest goes along; what is not folded stays');
is(versions('b') . '|' . versions('e'), '2 3 4|2 3', 'with all that is not');
sql('SELECT cfp_fold()');
latest_ok($node, 'all is as if nothing had been pruned');
is(sql(q{SELECT cfp_store('t', '{}', 'a', 'c', 3)}), '3', 'a pruned item can be stored again, above its tombstone');
seen_ok($node, 'all agree about it');
sql(q{SELECT cfp_evict('t', 'c')});
is(sql(q{SELECT cfp_store('t', '{}', 'f', 'c', 3)}), '3', 'also when it is not cached');

# Many: more than a chunk of items, more than a chunk of versions, both.
sql(q{SELECT cfp_store('m', '{}', 'i' || i, 'c', v) FROM generate_series(1, 2500) i, generate_series(1, 3) v});
sql(q{SELECT cfp_store('m', '{}', 'i42', 'c', v) FROM generate_series(1, 25000) v});
sql(q{SELECT cfp_delete('m', 'i' || i, 'c') FROM generate_series(41, 45) i});
sql('SELECT cfp_fold()');
is(sql(q{SELECT cfp_prune_history(keep_versions => 2, dry_run => true, key => 'm')}), 2500 + 25000 + 5, 'many');
prune_ok("'infinity', keep_versions => 1, key => 'm'", 5000 + 25000 + 5 + 5, 'many, with tombstones');

# Old snapshots see what they saw; a store to what they see as deleted fails.
sql(q{SELECT cfp_store('s', '{}', 'x', 'c', v) FROM generate_series(1, 5) v; SELECT cfp_store('s', '{}', 'y', 'c', 1)});
sql(q{SELECT cfp_delete('s', 'y', 'c')});
sql('SELECT cfp_fold()');
sql(q{SELECT cfp_evict('s', 'c')});
my $old = connect_node($node);
$old->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
my $count = q{SELECT count(*) FROM cfp_history('s', 'x', 'c')};
is($old->selectrow_array($count), '5', 'an old snapshot');
is(sql(q{SELECT cfp_prune_history('infinity', key => 's')}), '6', 'prune beside it');
sql(q{SELECT cfp_get_collection('s', 'c')});
is($old->selectrow_array($count), '5', 'it sees what it saw');
is($old->selectrow_array(q{SELECT cfp_get_value('s', 'x', 'c')}), '5', 'and the value');
ok(!eval { $old->do(q{SELECT cfp_store('s', '{}', 'y', 'c', 2)}); 1 }, 'it cannot store what it sees as deleted');
is($old->state, '40001', 'as if another had changed it');
$old->do('ROLLBACK');
is($old->selectrow_array(q{SELECT cfp_store('s', '{}', 'y', 'c', 2)}), '3', 'a new transaction can');

# A delete waits for the stores in flight; so no older version comes after a
# tombstone that was pruned.
my ($early, $pruner, $deleter) = map { connect_node($node) } 1 .. 3;
$early->do('BEGIN');
$early->do(q{SELECT cfp_store('f', '{}', 'x', 'c', 1)});
$deleter->do(q{SELECT cfp_delete('f', 'x', 'c')}, { pg_async => PG_ASYNC });
usleep(200_000);
ok(!$deleter->pg_ready, 'a delete waits for a store in flight');
$early->do('COMMIT');
ok(succeeded($deleter), 'and goes on after it');
sql('SELECT cfp_fold()');
$early->do('BEGIN');
$early->do(q{SELECT cfp_store('f', '{}', 'x', 'c', 1)});
is(sql(q{SELECT cfp_prune_history('infinity', key => 'f')}), '2', 'a tombstone goes while the item is stored again');
is($early->selectrow_array(q{SELECT cfp_get_value('f', 'x', 'c')}), '1', 'who stores sees it');
$early->do('COMMIT');
is(sql(q{SELECT cfp_get_value('f', 'x', 'c')}), '1', 'and all do after the commit');
sql('SELECT cfp_fold()');
latest_ok($node, 'it is folded');

# Not flushed: a record that committed late, below what latest has.
sql(q{ALTER SYSTEM SET cfp.batch_size = 1000000; ALTER SYSTEM SET cfp.flush_interval = '1h'});
$node->reload;
wait_worker($node);
$early->do('BEGIN');
$early->do(q{SELECT cfp_store('n', '{}', 'x', 'c', 1)});
sql(q{SELECT cfp_store('n', '{}', 'x', 'c', 2); SELECT cfp_fold()});
$node->safe_psql('postgres', q{ALTER DATABASE postgres SET cfp.debug_waitpoint = 'prune_chunk'});
$pruner = connect_node($node);
$pruner->do(q{SELECT cfp_prune_history(keep_versions => 1, key => 'n')}, { pg_async => PG_ASYNC });
$node->poll_query_until('postgres',
	q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'cfp job worker' AND wait_event_type = 'Extension'});
my $worker = sql('SELECT worker_pid FROM cfp_stat');
kill 'STOP', $worker;
$early->do('COMMIT');
sql(q{SET cfp.debug_release = 'prune_chunk'; ALTER DATABASE postgres RESET cfp.debug_waitpoint});
foreach (1 .. 100)
{
	last if $pruner->pg_ready;
	usleep(50_000);
	sql(q{SET cfp.debug_release = 'prune_chunk'});
}
ok(succeeded($pruner), 'the pruning ends');
is(sql(q{SELECT count(*) FROM storage_history WHERE key = 'n'}), '2', 'a record that is not flushed is kept');
kill 'CONT', $worker;
sql('SELECT cfp_fold()');
is(sql(q{SELECT count(*) FROM storage_dirty}), '0', 'it is flushed');
prune_ok("keep_versions => 1, key => 'n'", 1, 'then it may go');

# Stores that go on meanwhile: nothing is lost, no version twice.
sql(q{ALTER SYSTEM RESET cfp.batch_size; ALTER SYSTEM SET cfp.flush_interval = '100ms'});
$node->reload;
wait_worker($node);
my @tails = map {
	my $pid = fork // die;
	if ($pid == 0)
	{
		my $dbh = connect_node($node);
		my $failed = 0;
		for my $n (1 .. 300)
		{
			my $item = 'i' . ($n * 7 + $$) % 5;
			eval {
				$dbh->do(($n + $$) % 3 == 0
					? "SELECT cfp_delete('r', '$item', 'c')"
					: "SELECT cfp_store('r', '{}', '$item', 'c', $n)");
				$dbh->do("SELECT cfp_evict('r', 'c')") if $n % 10 == 0;
				1;
			} or $failed++;
		}
		$dbh->disconnect;
		require POSIX;
		POSIX::_exit($failed > 0);
	}
	$pid
} 1 .. 3;
my $removed = 0;
foreach (1 .. 15)
{
	sql('SELECT cfp_fold()');
	$removed += sql(q{SELECT cfp_prune_history('infinity', key => 'r')});
}
my $bad = 0;
foreach my $pid (@tails) { waitpid $pid, 0; $bad++ if $?; }
is($bad, 0, 'stores beside pruning do not fail');
cmp_ok($removed, '>', 0, 'some of their records were pruned');
sql('SELECT cfp_fold()');
history_ok($node, 'no version twice');
latest_ok($node, 'latest is the newest of each');
seen_ok($node, 'all agree');

# Changes by hand are waited for; a killed job worker leaves whole chunks.
my $hand = connect_node($node);
$hand->do('BEGIN');
$hand->do(q{DELETE FROM storage_history WHERE key = 'o'});
state_is($node, 'postgres', q{SELECT cfp_prune_history(keep_versions => 1)}, '55006', qr/changing the storage tables by hand/, 'beside a change by hand');
$hand->do('ROLLBACK');

state_is($node, 'postgres', 'SELECT cfp_prune_history()', '22023', qr/older_than or keep_versions must be given/, 'nothing given');
state_is($node, 'postgres', 'SELECT cfp_prune_history(keep_versions => -1)', '22023', qr/must not be negative/, 'a negative number');
state_is($node, 'postgres', q{SELECT cfp_prune_history(keep_versions => 1, key => repeat('x', 2001))}, '54000', qr/names are too long/, 'a long key');
sql('CREATE ROLE nobody LOGIN; GRANT USAGE ON SCHEMA cfp TO nobody');
state_is($node, 'postgres', 'SET ROLE nobody; SELECT cfp_prune_history(keep_versions => 1)', '42501', qr/permission denied/, 'without EXECUTE');
state_is($node, 'postgres', 'SET ROLE nobody; SELECT cfp_close_day()', '42501', qr/permission denied/, 'cfp_close_day without EXECUTE');

$node->stop;
log_ok($node, qr/ERROR:  [^\n]*failed: |could not serialize|deadlock|must be given|must not be (?:NULL|negative)|names are too long|permission denied|canceling statement|the item has been changed|40001|concurrent/);
done_testing();
