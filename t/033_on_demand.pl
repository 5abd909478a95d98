# A backup on demand: verified, restored and rebuilt from on the first day,
# replaced by the one of the close, never in the chain.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use DBD::Pg qw(:async);
use PostgreSQL::Test::Utils;
use Test::More;

# Where the day begins last: all other zones are in the next one.
my $node = cfp_node('main', "cfp.timezone = 'Etc/GMT+12'", "cfp.end_of_day = '00:00'", 'cfp.retain_days = 0', 'restart_after_crash = on');
cfp_install($node);

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

sub values_are
{
	my ($expected, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql(q{SELECT string_agg(item_name || '=' || value_int, ' ' ORDER BY item_name) FROM storage_current}), $expected, "$what: what is read");
	seen_ok($node, "$what: all agree");
	return;
}

my ($base) = glob($node->data_dir . '/cfp/*_postgres');

sub manifest
{
	my ($date) = @_;
	return slurp_file("$base/$date/manifest.json");
}

# ---- the first day

sql(q{SELECT cfp_store('k', '{}', 'a', 'c', 1), cfp_store('k', '{}', 'b', 'c', 1), cfp_store('k', '{}', 'b', 'c', 2), cfp_store('k', '{}', 'gone', 'c', 1), cfp_delete('k', 'gone', 'c')});
my $date = sql('SELECT cfp_backup()');
is($date, sql(q{SELECT date FROM cfp_state WHERE name = 'files'}), 'it is of the open date');
like(manifest($date), qr/"on_demand": true/, 'its manifest says that it was asked for');
like(manifest($date), qr/"history": "full"/, 'it has all of the history');
is(sql("SELECT cfp_verify_backup('$date')"), '5', 'it is verified: nothing was folded yet');
is(sql(q{SELECT count(*) FROM storage_days}), '0', 'no date was closed');
is(sql(q{SELECT count(*) FROM cfp_state WHERE name = 'backup'}), '0', 'the next backup does not build on it');

sql(q{SELECT cfp_store('k', '{}', 'a', 'c', 3), cfp_store('k', '{}', 'new', 'c', 1), cfp_store('k', '{}', 'gone', 'c', 5)});
values_are('a=3 b=2 gone=5 new=1', 'stored after it');
state_is($node, 'postgres', "SELECT cfp_restore_backup('$date')", '55000', qr/would lose newer records of 3 items/, 'a restore that would lose records');
is(sql("SELECT cfp_restore_backup('$date', discard_newer => true)"), '5', 'gone back to it');
values_are('a=1 b=2', 'gone back to');
is(sql(q{SELECT cfp_fold() IS NOT NULL}), 't', 'folded');
latest_ok($node, 'latest after that');
is(sql("SELECT cfp_rebuild_history_from_wal('$date')"), '3', 'the day files of its date have what came after');
sql('SELECT cfp_rebuild_latest_from_history()');
values_are('a=3 b=2 gone=5 new=1', 'rebuilt');

# ---- again, with other settings

sql(q{ALTER DATABASE postgres SET cfp.backup_history = 'off'});
$node->reload;
is(sql('SELECT cfp_backup()'), $date, 'a second one of the date');
like(manifest($date), qr/"history": "full"/, 'has the history, too, whatever cfp.backup_history is');
is(sql("SELECT cfp_verify_backup('$date')"), sql('SELECT (SELECT count(*) FROM storage_history) + (SELECT count(*) FROM storage_latest)'), 'it takes the place of the first');
sql('ALTER DATABASE postgres RESET cfp.backup_history');
$node->reload;

# One that fails leaves the one there is.
my $before = manifest($date);
sql(q{ALTER DATABASE postgres SET cfp.min_free_space = '1000TB'});
state_is($node, 'postgres', 'SELECT cfp_backup()', '53100', qr/cfp_backup\(\) failed/, 'no room');
sql('ALTER DATABASE postgres RESET cfp.min_free_space');
is(manifest($date), $before, 'the one before stays');
cmp_ok(sql("SELECT cfp_verify_backup('$date')"), '>', 0, 'and is sound');

sql('CREATE ROLE somebody LOGIN; GRANT USAGE ON SCHEMA cfp TO somebody');
state_is($node, 'postgres', 'SET ROLE somebody; SELECT cfp_backup()', '42501', qr/permission denied for function cfp_backup/, 'not for everybody');
is($node->safe_psql('postgres', "BEGIN READ ONLY; SELECT cfp_backup(); COMMIT"), $date, 'in a read-only transaction');

# ---- what the newest backup is said to be

my $file = sql(q{SELECT pg_relation_filepath('storage_history')});
sql('CHECKPOINT');
$node->stop;
my $path = $node->data_dir . "/$file";
open my $table, '+<', $path or die "$path: $!";
print {$table} 'damaged' x 100;
close $table;
my $lines = -s $node->logfile;
$node->start;
wait_worker($node);
sqlstate($node, 'postgres', q{SELECT cfp_store('k', '{}', 'after', 'c', 1)});
ok( $node->wait_for_log(qr/SELECT cfp\.cfp_restore_backup\('$date', discard_newer := true\); \d\. SELECT cfp\.cfp_rebuild_history_from_wal\('$date', '\d+-\d+-\d+'\)/, $lines),
	'the steps of a recovery read the day files of its date');
sql(qq{SELECT cfp_restore_backup('$date', discard_newer => true)});
sql(qq{SELECT cfp_rebuild_history_from_wal('$date')});
sql('SELECT cfp_rebuild_latest_from_history()');
like(sql(q{SELECT string_agg(item_name || '=' || value_int, ' ' ORDER BY item_name) FROM storage_current}), qr/^a=3 (?:after=1 )?b=2 gone=5 new=1$/, 'and bring it back');

# ---- killed between its files and its manifest; the close of the date

$node->safe_psql('postgres', "ALTER DATABASE postgres SET cfp.debug_waitpoint = 'backup_renamed'");
my $asker = connect_node($node);
$asker->do('SELECT cfp_backup()', { pg_async => PG_ASYNC });
wait_true($node, q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'cfp job worker' AND wait_event_type = 'Extension' AND wait_event = 'Extension'}, 'the backup waits');
ok($node->poll_query_until('postgres', sprintf q{SELECT NOT EXISTS (SELECT FROM pg_ls_dir('%s') f WHERE f = 'manifest.json')}, "$base/$date"), 'its files are named, its manifest is not there');
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET cfp.debug_waitpoint');
wait_worker($node);
state_is($node, 'postgres', "SELECT cfp_verify_backup('$date')", '58P01', qr/no complete backup/, 'killed before its manifest: no backup');
is(sql('SELECT cfp_backup()'), $date, 'made anew');

sql(q{ALTER DATABASE postgres SET cfp.timezone = 'Etc/GMT-14'});
$node->reload;
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM storage_days WHERE date = '$date' AND finished IS NOT NULL AND backup_bytes > 0 AND error IS NULL"),
	'the date is closed, with a backup') or diag(sql('TABLE storage_days'));
unlike(manifest($date), qr/on_demand/, 'which has taken its place');
is(sql(q{SELECT date FROM cfp_state WHERE name = 'backup'}), $date, 'and is the one the next builds on');
my $open = sql('SELECT cfp_backup()');
cmp_ok($open, 'gt', $date, 'the next one is of the date that is open now');
like(manifest($open), qr/on_demand/, 'and says so');

# ---- an item that is pruned after the backup, which has it

sql(q{SELECT cfp_store('pruned', '{}', 'i', 'c', n) FROM generate_series(1, 3) n});
$open = sql('SELECT cfp_backup()');
my $deleted = sql(q{SELECT cfp_store('pruned', '{}', 'i', 'c', 4); SELECT cfp_delete('pruned', 'i', 'c')}) =~ s/.*\n//r;
sql(q{SELECT cfp_fold(); SELECT cfp_prune_history('infinity', key => 'pruned')});
is(sql(q{SELECT count(*) FROM cfp_items('pruned', 'c', include_deleted => true)}), '0', 'and pruned');
sql("SELECT cfp_restore_backup('$open', discard_newer => true)");
is(sql(q{SELECT cfp_get_value('pruned', 'i', 'c')}), '3', 'it comes back');
is(sql(q{SELECT cfp_store('pruned', '{}', 'i', 'c', 9)}), $deleted + 1, 'and goes on above what was pruned');

$node->stop;
log_ok($node, qr/ERROR:  cfp_restore_backup\(\) failed|ERROR:  there is no complete backup|no complete backup of|cfp_backup\(\) failed|permission denied for function cfp_backup|invalid page|may be corrupted|page verification failed/);
done_testing();
