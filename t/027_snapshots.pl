# Snapshots that are older than a TRUNCATE, a restore, a DROP and CREATE: on a
# standby, imported, of readers that wait, of the worker.  (specs/rewritten.spec has the
# isolation levels and the ways to read.)

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use DBD::Pg qw(:async);
use File::Path qw(remove_tree);
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', join("\n", "shared_preload_libraries = 'cfp'", 'jit = off',
	'cfp.min_free_space = 0', 'cfp.retain_days = 0', "cfp.backup_history = 'day'", 'autovacuum = off'));
$node->start;
cfp_install($node);

sub sql { return $node->safe_psql('postgres', $_[0]) }

# All readers, each alone; what they give, or the SQLSTATE.
my %reader = (
	cfp_get => q{SELECT cfp_get_value('k', 'a', 'c')},
	cfp_get_values => q{SELECT cfp_get_values('k', 'c')},
	cfp_get_collection_json => q{SELECT cfp_get_collection_json('k', 'c') -> 'items' -> 'a' ->> 'value'},
	cfp_items => q{SELECT count(*) FROM cfp_items('k', 'c')},
	cfp_get_key => q{SELECT cfp_get_key('k') -> 'c' -> 'a' -> 'value'},
	storage_current => q{SELECT count(*) || ':' || max(value_int) FROM storage_current});
my %before = (cfp_get => 1, cfp_get_values => '{"a": 1, "b": 1}', cfp_get_collection_json => 1, cfp_items => 2, cfp_get_key => 1, storage_current => '2:1');
my %too_old = map { $_ => '40001' } keys %reader;

sub reads
{
	my ($dbh, $sql) = @_;

	$dbh->do('SAVEPOINT s');
	my $result = eval { $dbh->selectrow_array($sql) };
	$result = $dbh->state if $@;
	$dbh->do('ROLLBACK TO s');
	return $result;
}

sub reads_ok
{
	my ($dbh, $wanted, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_deeply({ map { $_ => reads($dbh, $reader{$_}) } keys %reader }, $wanted, $what);
	return;
}

# A transaction that has its snapshot, and has locked nothing.
sub old_snapshot
{
	my ($where) = @_;
	my $dbh = connect_node($where);

	$dbh->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$dbh->do('SELECT 1');
	return $dbh;
}

# The same two folded items again, whatever was before.
sub begin_anew
{
	sql(q{TRUNCATE storage_history, storage_latest});
	sql(q{INSERT INTO storage_history (key, collection_name, item_name, data, value_int, updated_at, version)
		VALUES ('k', 'c', 'a', '{}', 1, now(), 1), ('k', 'c', 'b', '{}', 1, now(), 1)});
	sql('SELECT cfp_fold()');
	return;
}

# --- a standby ---------------------------------------------------------------

begin_anew();
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nmax_standby_streaming_delay = -1");
$standby->start;
sub catch_up { $node->wait_for_catchup($standby, 'replay', $node->lsn('insert')); return }

catch_up();
my @old = map { old_snapshot($standby) } 1 .. 3;
sql('TRUNCATE storage_latest');
catch_up();
reads_ok(shift @old, \%before, 'standby: latest emptied');
sql(q{SELECT cfp_fold(); SELECT cfp_store('k', '{}', 'a', 'c', 2); SELECT cfp_fold()});
catch_up();
reads_ok(shift @old, \%before, 'standby: latest emptied, filled again, and newer records');
reads_ok(old_snapshot($standby), { %before, cfp_get => 2, cfp_get_values => '{"a": 2, "b": 1}', cfp_get_collection_json => 2,
	cfp_get_key => 2, storage_current => '2:2' }, 'standby: a new snapshot');
sql('TRUNCATE storage_history, storage_latest');
catch_up();
reads_ok(shift @old, \%too_old, 'standby: the history emptied');
$standby->stop;

# --- an imported snapshot ----------------------------------------------------

begin_anew();
my $exporter = old_snapshot($node);
my $snapshot = $exporter->selectrow_array('SELECT pg_export_snapshot()');
sql('TRUNCATE storage_latest');
sql('SELECT cfp_fold()');
my $importer = connect_node($node);
$importer->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
$importer->do("SET TRANSACTION SNAPSHOT '$snapshot'");
reads_ok($importer, \%before, 'imported');
$_->disconnect foreach $exporter, $importer;

# --- triggers off ------------------------------------------------------------

begin_anew();
sql('ALTER TABLE cfp.storage_latest DISABLE TRIGGER ALL');
my $old = old_snapshot($node);
sql('TRUNCATE storage_latest');
reads_ok($old, \%before, 'latest emptied while its triggers are off');
$old->disconnect;
sql('ALTER TABLE cfp.storage_latest ENABLE ALWAYS TRIGGER cfp_gate, ENABLE ALWAYS TRIGGER cfp_gate_truncate, ENABLE ALWAYS TRIGGER cfp_stamp');

# --- a restore ---------------------------------------------------------------

sub backup
{
	my ($date) = @_;

	sql("INSERT INTO cfp.storage_days (date, started, items_folded) VALUES ('$date', now(), 0)");
	sql('SELECT pg_reload_conf()');
	wait_true($node, "SELECT finished IS NOT NULL FROM cfp.storage_days WHERE date = '$date'");
	return;
}

begin_anew();
backup('2020-01-01');
$old = old_snapshot($node);
is(sql(q{SELECT cfp_restore_backup('2020-01-01')}), 4, 'restored');
reads_ok($old, \%too_old, 'a restore leaves nothing for older snapshots');
$old->disconnect;
reads_ok(old_snapshot($node), \%before, 'all is there for new ones');

# A reader that waits while the restore has the tables says so, too, and reads
# when asked again; a store just waits.
sql(q{SELECT cfp_evict('k', 'c')});
my $blocker = connect_node($node);
$blocker->do('BEGIN');
$blocker->do('LOCK TABLE cfp.cfp_gate IN SHARE ROW EXCLUSIVE MODE');
my $restorer = connect_node($node);
my $restore = $restorer->prepare(q{SELECT cfp_restore_backup('2020-01-01')}, { pg_async => PG_ASYNC });
$restore->execute;
wait_true($node, q{SELECT count(*) = 1 FROM pg_locks WHERE relation = 'cfp.cfp_gate'::regclass AND NOT granted});
my @waiting = map { my $dbh = connect_node($node); my $sth = $dbh->prepare($_, { pg_async => PG_ASYNC }); $sth->execute; [ $dbh, $sth ] }
  $reader{cfp_get}, $reader{cfp_get_values}, q{SELECT cfp_store('k', '{}', 'n', 'c', 1)};
wait_true($node, q{SELECT count(*) = 3 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND backend_type = 'client backend'});
$blocker->do('COMMIT');
ok(succeeded($restore), 'restored beside readers') or diag($restorer->errstr);
is_deeply([ map { succeeded($_->[1]) ? 'ok' : $_->[1]->state } @waiting ], [ '40001', '40001', 'ok' ],
	'readers that waited for the restore are told, the store goes on');
is($waiting[0][0]->selectrow_array($reader{cfp_get}), 1, 'asked again, it reads');
$_->disconnect foreach $blocker, $restorer, map { $_->[0] } @waiting;

# Where the chain of backups is broken only latest is emptied.
begin_anew();
sql(q{SELECT cfp_store('k', '{}', 'a', 'c', 1); SELECT cfp_fold()});
backup('2020-01-02');
sql(q{SELECT cfp_store('k', '{}', 'b', 'c', 1); SELECT cfp_fold()});
backup('2020-01-03');
remove_tree(glob $node->data_dir . '/cfp/*_postgres/2020-01-02');
$old = old_snapshot($node);
is((sqlstate($node, 'postgres', q{SELECT cfp_restore_backup('2020-01-03')}))[0], '00000', 'restored, the chain broken');
reads_ok($old, \%before, 'the history is there for older snapshots');
$old->disconnect;

# --- a load while the history changes its file -------------------------------

# Not a change by hand, so the cache is used meanwhile.
sql(q{SELECT cfp_evict('k', 'c')});
my $alter = connect_node($node);
$alter->do('BEGIN');
$alter->do('ALTER TABLE storage_history ADD COLUMN extra double precision DEFAULT random()');
my $warm = connect_node($node);
my $warming = $warm->prepare(q{SELECT cfp_warm('k', 'c')}, { pg_async => PG_ASYNC });
$warming->execute;
wait_true($node, q{SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid)
	WHERE relation = 'cfp.storage_history'::regclass AND NOT granted AND backend_type = 'client backend'});
$alter->do('COMMIT');
ok(succeeded($warming), 'a load that waited for an ALTER TABLE');
is(($warming->fetchrow_array)[0], 2, 'loads what is there');
sql('ALTER TABLE storage_history DROP COLUMN extra');
seen_ok($node, 'all agree');
$_->disconnect foreach $alter, $warm;

# --- a flush while the history changes its file --------------------------------

# What a flush does not find it does not look for again, once its cursor is old
# enough to be saved without new records.
sql(q{DO $$ BEGIN FOR i IN 1 .. 10001 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$});
my $writer = connect_node($node);
$writer->do('BEGIN');
my $version = $writer->selectrow_array(q{SELECT cfp_store('k', '{}', 'a', 'c', 5)});
$blocker = connect_node($node);
$blocker->do('BEGIN');
$blocker->do('LOCK TABLE cfp_state');
$writer->do('COMMIT');
wait_true($node, q{SELECT count(*) > 0 FROM pg_locks WHERE relation = 'cfp.cfp_state'::regclass AND NOT granted});
$alter = connect_node($node);
my $altering = $alter->prepare('ALTER TABLE storage_history ADD COLUMN extra double precision DEFAULT random()', { pg_async => PG_ASYNC });
$altering->execute;
wait_true($node, sprintf(q{SELECT state = 'idle' OR wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %d}, $alter->{pg_pid}));
$blocker->do('COMMIT');
ok(succeeded($altering), 'an ALTER TABLE beside a flush');
sql('SELECT cfp_fold()');
is(sql(q{SELECT version FROM storage_latest WHERE item_name = 'a'}), $version, 'what was stored before it is folded');
sql('ALTER TABLE storage_history DROP COLUMN extra');
seen_ok($node, 'all agree after it');
$_->disconnect foreach $writer, $blocker, $alter;

# --- dropped and created -----------------------------------------------------

$old = old_snapshot($node);
sql('DROP EXTENSION cfp; CREATE EXTENSION cfp SCHEMA cfp');
reads_ok($old, \%too_old, 'dropped and created again');
$old->disconnect;

$node->safe_psql('postgres', 'CREATE DATABASE other');
$old = connect_node($node, 'other');
$old->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
$old->do('SELECT 1');
cfp_install($node, 'other');
$node->safe_psql('other', q{SELECT cfp_store('k', '{}', 'a', 'c', 1)});
$old->do('SET LOCAL search_path = cfp');
is_deeply({ map { $_ => reads($old, $reader{$_}) } keys %reader },
	{ cfp_get => undef, cfp_get_values => '{}', cfp_get_collection_json => undef, cfp_items => 0, cfp_get_key => undef, storage_current => undef },
	'created after the snapshot: there was nothing');
$old->disconnect;

$node->stop;
log_ok(
	$node,
	qr/ERROR:  could not read storage_history/,
	qr/WARNING:  the backup builds on/);
log_ok($standby, qr/ERROR:  could not read storage_history/, qr/FATAL:  terminating (?:walreceiver|connection)/);
done_testing();
