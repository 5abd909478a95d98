# Indexes that are built, rebuilt, left invalid or moved while the worker looks
# at the storage tables' files: it changes nothing for others, and cries only
# about what is damaged.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use DBD::Pg qw(:async);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = cfp_node('main', 'max_parallel_maintenance_workers = 0', 'maintenance_work_mem = 256MB',
	'checkpoint_timeout = 1h', 'max_wal_size = 4GB', 'autovacuum = off');
cfp_install($node);

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# Two flushes: the second is asked for when the look that follows the first
# has been taken.
my $stores = 0;

sub store_and_look
{
	$stores++;
	sql("SELECT cfp_store('look', '{}', 'i', 'c', $stores)");
	sql('SELECT cfp_flush(); SELECT cfp_flush()');
	return;
}

# Stops a process where it holds nothing that a commit needs.
sub stand_still
{
	my ($pid, $other) = @_;

	foreach my $try (1 .. 200)
	{
		my $ready;

		kill 'STOP', $pid;
		$other->do("SELECT cfp.cfp_store('still', '{}', 'i', 'c', $try)", { pg_async => PG_ASYNC });
		foreach my $wait (1 .. 50)
		{
			last if $ready = $other->pg_ready;
			usleep(10_000);
		}
		kill 'CONT', $pid unless $ready;
		succeeded($other) or BAIL_OUT('a store fails beside the build');
		return if $ready;
	}
	BAIL_OUT('no commit passes the builder');
}

# Runs a command, stops its backend when the file of the index it builds has a
# first page, has the worker look, and lets it go on.  True when it stood
# within the build, and has succeeded.
sub look_while_building
{
	my ($command, $index) = @_;
	my $builder = connect_node($node);
	my $watch = connect_node($node);
	my $pid = $builder->{pg_pid};
	my $path;
	my $stood = 0;

	$builder->do($command, { pg_async => PG_ASYNC });
	foreach my $try (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$path = $watch->selectrow_array('SELECT pg_relation_filepath(oid) FROM pg_class WHERE relname = ?', {}, $index);
		last if defined $path;
		usleep(1000);
	}
	defined $path or BAIL_OUT("$command makes no index $index");
	$path = $node->data_dir . "/$path";
	foreach my $try (1 .. 10000 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last if -s $path;
		usleep(100);
	}
	stand_still($pid, $watch);
	$stood = !$watch->selectrow_array('SELECT indisready FROM pg_index WHERE indexrelid = ?::regclass', {}, "cfp.$index");
	store_and_look();
	kill 'CONT', $pid;
	return succeeded($builder) && $stood;
}

# Nobody has reason to complain.
sub all_well
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is((sqlstate($node, 'postgres', q{SELECT cfp_store('well', '{}', 'i', 'c', 1)}))[0], '00000', "$what: stores go on");
	is((sqlstate($node, 'postgres', 'SELECT cfp_fold()'))[0], '00000', "$what: so does the fold");
	store_and_look();
	is(sql('SELECT last_error FROM cfp_stat'), '', "$what: the worker finds no fault");
	return;
}

sql(q{
INSERT INTO cfp.storage_history (key, collection_name, item_name, data, value_int, username, updated_at, version)
SELECT 'bulk', 'c', 'i' || n, '{}', n, 'user ' || n, now(), 1 FROM generate_series(1, 300000) n;
SELECT cfp_fold()});

# ---- a build that stands still within its file

ok(look_while_building('CREATE INDEX CONCURRENTLY by_user ON cfp.storage_history (username)', 'by_user'),
	'CREATE INDEX CONCURRENTLY on the history');
all_well('after CREATE INDEX CONCURRENTLY');
is(sql(q{SET enable_seqscan = off; SELECT value_int FROM cfp.storage_history WHERE username = 'user 4711'}), '4711', 'the index is read');
foreach my $index ('by_user', 'storage_history_pkey', 'storage_history_txid')
{
	ok(look_while_building("REINDEX INDEX CONCURRENTLY cfp.$index", "${index}_ccnew"), "REINDEX CONCURRENTLY of $index");
	all_well("after REINDEX CONCURRENTLY of $index");
}
ok(look_while_building('CREATE UNIQUE INDEX CONCURRENTLY by_value ON cfp.storage_latest (value_int) WHERE key = \'bulk\'', 'by_value'),
	'CREATE UNIQUE INDEX CONCURRENTLY on latest');
all_well('after CREATE UNIQUE INDEX CONCURRENTLY');
is(sql(q{SET enable_seqscan = off; SELECT item_name FROM cfp.storage_latest WHERE key = 'bulk' AND value_int = 4711}), 'i4711', 'that index is read');
sql(q{SELECT cfp_store('bulk', '{}', 'i1', 'c', 300001); SELECT cfp_fold()});
is(sql(q{SET enable_seqscan = off; SELECT item_name FROM cfp.storage_latest WHERE key = 'bulk' AND value_int = 300001}), 'i1', 'and written');
ok(look_while_building('REINDEX INDEX CONCURRENTLY cfp.storage_latest_pkey', 'storage_latest_pkey_ccnew'), 'REINDEX CONCURRENTLY of the primary key of latest');
all_well('after REINDEX CONCURRENTLY of the primary key of latest');
sql('DROP INDEX cfp.by_value');

# ---- one that has no page yet, and one that never gets any

my $writer = connect_node($node);
$writer->do('BEGIN');
$writer->do(q{SELECT cfp_store('writer', '{}', 'i', 'c', 1)});
my $builder = connect_node($node);
$builder->do('CREATE INDEX CONCURRENTLY by_status ON cfp.storage_history (status)', { pg_async => PG_ASYNC });
wait_true($node, q{SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'by_status')});
store_and_look();
is(sql('SELECT last_error FROM cfp_stat'), '', 'a build that waits for a writer is no damage');
$writer->do('COMMIT');
ok(succeeded($builder), 'and ends well');
all_well('after a build that waited');

state_is($node, 'postgres', 'CREATE UNIQUE INDEX CONCURRENTLY never ON cfp.storage_history (status) NULLS NOT DISTINCT', '23505', undef, 'a unique build fails');
is(sql(q{SELECT indisvalid FROM pg_index WHERE indexrelid = 'cfp.never'::regclass}), 'f', 'and leaves an invalid index');
store_and_look();
is(sql('SELECT last_error FROM cfp_stat'), '', 'which is no damage');
is(sql(q{SELECT pg_relation_size('cfp.never')}), '0', 'though it has no page');
sql('DROP INDEX cfp.never');

# ---- the toast table's index, and what locks or moves a table or an index

my $toast = sql(q{SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'cfp.storage_history'::regclass});
sql(q{SELECT cfp_store('toast', '{}', 'i' || n, 'c', (SELECT string_agg(md5(n || ' ' || m), '') FROM generate_series(1, 500) m)) FROM generate_series(1, 300) n});
sql("REINDEX TABLE CONCURRENTLY $toast");
all_well('after REINDEX CONCURRENTLY of the toast table');
foreach my $lock ('LOCK TABLE cfp.storage_latest IN ACCESS EXCLUSIVE MODE',
	'REINDEX INDEX cfp.by_user', 'ALTER INDEX cfp.by_user SET TABLESPACE pg_default', "REINDEX INDEX ${toast}_index")
{
	my $holder = connect_node($node);

	store_and_look();
	$holder->do('BEGIN');
	$holder->do($lock);
	# A worker that starts looks at the files, also when nothing is to be flushed.
	sql('SELECT pg_terminate_backend(worker_pid) FROM cfp_stat');
	usleep(100_000);
	wait_worker($node);
	is(sql(q{SELECT last_error FROM cfp_stat}), '', "no fault is found beside $lock");
	$holder->do('COMMIT');
	all_well("after $lock");
}
my $space = $node->basedir . '/space';
mkdir $space;
sql("CREATE TABLESPACE elsewhere LOCATION '$space'");
foreach my $command ('VACUUM FULL cfp.storage_history', 'CLUSTER cfp.storage_latest USING storage_latest_pkey', "VACUUM FULL $toast",
	'ALTER TABLE cfp.storage_latest SET TABLESPACE elsewhere', 'ALTER TABLE cfp.storage_latest SET TABLESPACE pg_default',
	'REINDEX TABLE CONCURRENTLY cfp.storage_latest', 'TRUNCATE cfp.storage_latest')
{
	my $mover = connect_node($node);

	$mover->do($command, { pg_async => PG_ASYNC });
	store_and_look();
	ok(succeeded($mover), $command);
	all_well("after $command");
}
sql('SELECT cfp_rebuild_latest_from_history()');
latest_ok($node, 'latest is whole');
seen_ok($node, 'all agree');

# ---- steps that lose data are for what is certain

# What the log tells about a damaged file, when it tells what to do.
sub told_of
{
	my ($relation) = @_;
	my $path = $node->data_dir . '/' . sql("SELECT pg_relation_filepath('$relation')");

	sql('CHECKPOINT');
	$node->stop;
	open(my $file, '+<:raw', $path) or die "$path: $!";
	sysread($file, my $page, 8192);
	sysseek($file, 0, 0);
	syswrite($file, "\xaa" x 8192);
	my $offset = -s $node->logfile;
	$node->start;
	$node->wait_for_log(qr/HINT:  To recover: /, $offset);
	my $log = slurp_file($node->logfile, $offset);
	my @first = $log =~ /WARNING: .*check of the storage tables failed: (.*)/;

	$node->stop;
	sysseek($file, 0, 0);
	syswrite($file, $page);
	close $file;
	$node->start;
	wait_worker($node);
	return ($first[0], $log =~ /HINT:  (To recover: .*)/);
}

my ($first, $steps) = told_of('cfp.by_user');
like($first, qr/index|block 0/, 'a damaged index is reported');
like($steps, qr/^To recover: 1\. REINDEX INDEX cfp\.by_user/, 'its remedy is to be built anew');
unlike($steps, qr/TRUNCATE|discard_newer/, 'nothing is lost by that');
($first, $steps) = told_of('cfp.storage_history');
unlike($first, qr/may be corrupted/, 'a damaged table is looked at twice');
like($steps, qr/TRUNCATE|discard_newer/, 'before the steps are told that lose data');

my $offset = -s $node->logfile;
sql('ALTER TABLE cfp.storage_history RENAME COLUMN status TO state');
$node->wait_for_log(qr/cfp cannot use table .*\n.*HINT:  (?:To recover: 1\. u|U)ndo the change/, $offset);
unlike(slurp_file($node->logfile, $offset), qr/TRUNCATE|discard_newer/, 'nor does a table that is there, but altered, make anybody lose data');
sql('ALTER TABLE cfp.storage_history RENAME COLUMN state TO status');
wait_true($node, q{SELECT cfp.cfp_fold() >= 0});

$node->stop;
log_ok($node, qr/ERROR:  could not create unique index/, qr/invalid page in block 0/, qr/cfp cannot use table/);
done_testing();
