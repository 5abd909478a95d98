# What users meet when things go wrong: a message, a SQLSTATE, a hint, and
# nothing lost.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# Not preloaded: installing works, calls say what to set.
my $node = PostgreSQL::Test::Cluster->new('plain');
$node->init;
$node->append_conf('postgresql.conf', "max_prepared_transactions = 5\ncfp.min_free_space = 0");
$node->start;
$node->safe_psql('postgres', q{
CREATE SCHEMA cfp; CREATE EXTENSION cfp SCHEMA cfp;
ALTER DATABASE postgres SET search_path = public, cfp});
foreach my $call (q{cfp_store('k')}, q{cfp_get('k')}, q{cfp_get_collection('k')}, q{cfp_delete('k')}, q{cfp_flush()},
	q{cfp_fold()}, q{cfp_warm('k', '')}, q{cfp_evict('k', '')})
{
	state_is($node, 'postgres', "SELECT $call", '55000', qr/HINT:.*shared_preload_libraries/s, "not preloaded: $call");
}
$node->safe_psql('postgres', 'DROP EXTENSION cfp; CREATE EXTENSION cfp SCHEMA cfp');

# Preloaded, but with no slot for a worker.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cfp'\nmax_worker_processes = 1\nmax_logical_replication_workers = 0");
$node->restart;
$node->safe_psql('postgres', q{SELECT cfp_store('k', '{}', 'i', 'c', 1)});
is($node->safe_psql('postgres', q{SELECT cfp_get_value('k', 'i', 'c')}), '1', 'no worker slot: stores and gets work');
foreach my $call ('cfp_flush()', 'cfp_fold()')
{
	state_is($node, 'postgres', "SELECT $call", '55000', qr/worker.*HINT:.*max_worker_processes/s, "no worker slot: $call");
}
ok( poll_log($node, qr/WARNING:  [^\n]*(?:worker|slot)/), 'no worker slot: a WARNING in the log');
seen_ok($node, 'no worker slot: all agree');

# With slots the worker comes, and does what was left.
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
wait_worker($node);
is($node->safe_psql('postgres', 'SELECT cfp_fold()'), '1', 'with a slot the worker does what was left');

sub poll_log
{
	my ($server, $pattern) = @_;

	foreach my $try (1 .. 1800)
	{
		return 1 if slurp_file($server->logfile) =~ $pattern;
		usleep(100_000);
	}
	return 0;
}

# What is small as jsonb and no longer so as JSON: the day files and backups,
# for which it would be too large, would stop at it.
foreach my $call (
	q{cfp_store('k', jsonb_build_object('a', repeat(E'\x01', 100000000)), 'huge', 'c')},
	q{cfp_store('k', '{}', 'huge', 'c', repeat(E'\x01', 100000000))},
	q{cfp_store('k', (SELECT jsonb_build_object('a', jsonb_agg('1e131071'::jsonb)) FROM generate_series(1, 5000)), 'huge', 'c')},
	q{cfp_store('k', (SELECT jsonb_build_object('a', jsonb_agg('1e-16383'::jsonb)) FROM generate_series(1, 50000)), 'huge', 'c')},
	q{cfp_store_many('k', jsonb_build_object('huge', jsonb_build_object('value', repeat(E'\x01', 100000000))), 'c')})
{
	state_is($node, 'postgres', "SELECT $call", '54000', qr/too large as JSON text.*several items/s, 'too large as JSON: ' . substr($call, 0, 80));
}
is($node->safe_psql('postgres', q{
SELECT cfp_store('many', (SELECT jsonb_build_object('a', jsonb_agg(i - 500000.25)) FROM generate_series(1, 1000000) i), 'i', 'c'),
	cfp_store('many', jsonb_build_object('a', repeat(E'\x01', 10000000)), 'j', 'c'),
	cfp_store('many', (SELECT jsonb_build_object('a', jsonb_agg('-1e1000'::jsonb)) FROM generate_series(1, 20000)), 'l', 'c')}),
	'1|1|1', 'large ones that fit');
$node->safe_psql('postgres', 'SELECT cfp_flush()');
is( $node->safe_psql('postgres', q{
SELECT count(*) FROM cfp_wal_files f, LATERAL (SELECT * FROM cfp_read_wal(f.date) WHERE key = 'many' OFFSET 0) r
WHERE f.file = 'wal_000001.jsonl'}), '3', 'are written to the day files') or diag($node->safe_psql('postgres', 'SELECT wal_error FROM cfp_stat'));
$node->safe_psql('postgres', q{SELECT cfp_delete_collection('many', 'c')});

# PREPARE TRANSACTION with stores pending; read-only transactions.
state_is($node, 'postgres', q{BEGIN; SELECT cfp_store('k', '{}', 'i', 'c', 2); PREPARE TRANSACTION 'p'},
	'0A000', qr/PREPARE|prepare/, 'PREPARE TRANSACTION with stores pending');
is($node->safe_psql('postgres', q{SELECT cfp_get_value('k', 'i', 'c')}), '1', 'nothing of it is seen');
$node->safe_psql('postgres', q{BEGIN; SELECT cfp_get('k', 'i', 'c'); CREATE TABLE t (a int); PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'});
foreach my $call (
	q{cfp_store('k', '{}', 'i', 'c', 3)}, q{cfp_delete('k', 'i', 'c')}, q{cfp_delete_collection('k', 'c')},
	q{cfp_restore_backup('2020-01-01')}, q{cfp_rebuild_history_from_wal('2020-01-01')},
	q{cfp_rebuild_latest_from_history()}, q{cfp_prune_history(keep_versions => 9)})
{
	state_is($node, 'postgres', "BEGIN READ ONLY; SELECT $call", '25006', qr/read-only/, "read-only transaction: $call");
}
is($node->safe_psql('postgres', q{BEGIN READ ONLY; SELECT cfp_get_value('k', 'i', 'c')}), '1', 'reading in a read-only transaction');
is($node->safe_psql('postgres', q{BEGIN READ ONLY; SELECT cfp_prune_history(keep_versions => 9, dry_run => true)}), '0',
	'a dry run in a read-only transaction');

# Settings that make no sense are refused when set.
foreach my $setting (
	[ 'cfp.end_of_day', '25:00' ], [ 'cfp.end_of_day', 'noon' ], [ 'cfp.end_of_day', '' ],
	[ 'cfp.timezone', 'Mars/Olympus' ], [ 'cfp.batch_size', '0' ], [ 'cfp.batch_size', 'many' ],
	[ 'cfp.flush_interval', '-1' ], [ 'cfp.max_wal_size', '0' ], [ 'cfp.retain_days', '-1' ],
	[ 'cfp.wal_files', 'maybe' ], [ 'cfp.min_free_space', '-1' ], [ 'cfp.backup_history', 'sometimes' ])
{
	my ($name, $value) = @$setting;
	state_is($node, 'postgres', "ALTER DATABASE postgres SET $name = '$value'", '22023', qr/$name/, "$name = '$value'");
}
state_is($node, 'postgres', 'SET cfp.cache_size = 1000', '55P02', qr/restart/, 'cfp.cache_size in a session');
$node->safe_psql('postgres', 'CREATE ROLE somebody LOGIN');
state_is($node, 'postgres', q{SET cfp.end_of_day = '01:00'}, '42501', undef, 'cfp.end_of_day by a user', extra_params => [ '-U', 'somebody' ]);
state_is($node, 'postgres', q{SET cfp.username = 'me'}, '00000', undef, 'cfp.username by a user', extra_params => [ '-U', 'somebody' ]);

# Tables dropped or altered: which one, and what to do.
$node->safe_psql('postgres', q{SELECT cfp_store('k', jsonb_build_object('n', n), 'item' || n, 'c', n) FROM generate_series(1, 10) n});
foreach my $table ('storage_history', 'storage_latest', 'storage_dirty', 'cfp_gate', 'storage_current')
{
	my $kind = $table eq 'storage_current' ? 'FOREIGN TABLE' : 'TABLE';
	state_is($node, 'postgres', "DROP $kind $table", '2BP01', qr/extension cfp requires it|other objects depend on it/, "DROP $kind $table");
	state_is($node, 'postgres', "DROP $kind $table CASCADE", '2BP01', qr/extension cfp requires it/, "DROP $kind $table CASCADE");
}
my $session = connect_node($node);
is($session->selectrow_array(q{SELECT cfp_get_value('k', 'item1', 'c')}), '1', 'a session reads before a table is altered');
foreach my $change (
	[ 'storage_history', 'RENAME COLUMN status TO state', 'RENAME COLUMN state TO status', qr/storage_history/ ],
	[ 'storage_latest', 'RENAME COLUMN value_int TO v', 'RENAME COLUMN v TO value_int', qr/storage_latest/ ],
	[ 'storage_history', 'RENAME TO history', undef, qr/storage_history/ ])
{
	my ($table, $alter, $back, $pattern) = @$change;
	my $renamed = $alter =~ /RENAME TO (\w+)/ ? $1 : $table;

	$session->do("ALTER TABLE $table $alter");
	is(eval { $session->do(q{SELECT cfp_get_value('k', 'item1', 'c')}); 1 }, undef, "$table $alter: a get fails");
	is($session->state, '55000', "$table $alter: SQLSTATE");
	like($session->errstr, $pattern, "$table $alter: message");
	is(eval { $session->do(q{SELECT cfp_store('k', '{}', 'item1', 'c')}); 1 }, undef, "$table $alter: a store fails");
	is($session->state, '55000', "$table $alter: SQLSTATE of a store");
	$session->do("ALTER TABLE $renamed " . ($back // "RENAME TO $table"));
	is($session->selectrow_array(q{SELECT cfp_get_value('k', 'item1', 'c')}), '1', "$table $alter: undone, all is well");
}
# A column and an index of the user's own are no harm.
$session->do('CREATE INDEX own ON storage_history (username)');
$session->do(q{SELECT cfp_store('k', '{"username": "u"}', 'item2', 'c', 22)});
$session->do('SET enable_seqscan = off');
is($session->selectrow_array(q{SELECT count(*) FROM storage_history WHERE username = 'u'}), '1', "an index of the user's own is maintained");
$session->do('CREATE UNIQUE INDEX own_unique ON storage_history (key, value_string)');
$session->do(q{SELECT cfp_store('k', '{}', 'item3', 'c', 'once')});
is(eval { $session->do(q{SELECT cfp_store('k', '{}', 'item4', 'c', 'once')}); 1 }, undef, "a unique index of the user's own");
is($session->state, '23505', 'keeps its SQLSTATE');
is($session->selectrow_array(q{SELECT cfp_get_value('k', 'item4', 'c')}), '4', 'and nothing of the store is seen');
$session->do('DROP INDEX own_unique');
$session->do('DROP INDEX own');
seen_ok($node, 'all agree after tables were altered');
$session->disconnect;

# No room on the disk, played by a limit of the file size for one process:
# whatever would grow a file beyond it fails as a full disk does.
SKIP:
{
	skip 'no prlimit program', 8 if system('prlimit --version >/dev/null 2>&1') != 0;

	my $full = PostgreSQL::Test::Cluster->new('full');
	$full->init(extra => ['--wal-segsize=1']);
	$full->append_conf('postgresql.conf', "shared_preload_libraries = 'cfp'\njit = off");
	$full->start;
	cfp_install($full);

	my $limit = sub {
		my ($pid, $bytes) = @_;
		system('prlimit', "--pid=$pid", "--fsize=$bytes:") == 0 or die 'prlimit';
	};
	my $fill = q{SELECT count(cfp_store('disk', jsonb_build_object('t', repeat(md5(n::text), 8)), 'item' || n || repeat('x', 60), 'c', n)) FROM generate_series(1, 20000) n};

	# while storing
	my $client = connect_node($full);
	$limit->($client->{pg_pid}, 2 * 1024 * 1024);
	is(eval { $client->do($fill); 1 }, undef, 'disk full while storing: an error');
	like($client->errstr, qr/could not extend file|could not write/, 'disk full while storing: message');
	is($client->selectrow_array(q{SELECT count(*) FROM cfp_items('disk', 'c')}), '0', 'disk full while storing: nothing of it is seen');
	$limit->($client->{pg_pid}, 'unlimited');
	seen_ok($full, 'disk full while storing: all agree');

	# while flushing: stores and gets go on
	my $worker = wait_worker($full);
	$limit->($worker, 1024 * 1024);
	is($client->selectrow_array($fill), '20000', 'with room again, stores work');
	is(eval { $client->do('SELECT cfp_flush()'); 1 }, undef, 'disk full while flushing: the caller is told');
	like($client->errstr, qr/could not extend file|could not write/, 'disk full while flushing: message');
	is($client->selectrow_array(q{SELECT last_error IS NOT NULL FROM cfp_stat}), '1', 'disk full while flushing: in cfp_stat');
	$client->do(q{SELECT cfp_store('disk', '{}', 'i', 'c2', 77)});
	is($client->selectrow_array(q{SELECT cfp_get_value('disk', 'i', 'c2')}), '77', 'disk full while flushing: stores and gets go on');
	seen_ok($full, 'disk full while flushing: all agree');
	$worker = wait_worker($full);
	$limit->($worker, 'unlimited');
	$full->poll_query_until('postgres', 'SELECT count(*) = 20001 FROM storage_dirty')
	  or fail('disk full while flushing: caught up');

	# while folding
	$worker = wait_worker($full);
	$limit->($worker, 1024 * 1024);
	is(eval { $client->do('SELECT cfp_fold()'); 1 }, undef, 'disk full while folding: the caller is told');
	like($client->errstr, qr/could not extend file|could not write/, 'disk full while folding: message');
	seen_ok($full, 'disk full while folding: all agree');
	$worker = wait_worker($full);
	$limit->($worker, 'unlimited');
	$full->poll_query_until('postgres', 'SELECT cfp_fold() IS NOT NULL AND count(*) = 20001 FROM storage_latest')
	  or fail('disk full while folding: caught up');
	latest_ok($full, 'disk full while folding: the fold is right');
	seen_ok($full, 'with room again, all agree');
	$client->disconnect;
	$full->stop;
	log_ok($full, qr/(?:ERROR|WARNING):  [^\n]*could not (?:extend|write)/);
}

# Cancelled statements leave nothing behind.
my $cancelled = connect_node($node);
foreach my $milliseconds (1, 3, 10, 30, 100, 300)
{
	$cancelled->do("SET statement_timeout = $milliseconds");
	eval { $cancelled->do(q{SELECT cfp_store('cancel', '{}', 'item' || n % 100, 'c', n) FROM generate_series(1, 10000000) n}) };
	is($cancelled->state, '57014', "a store cancelled after $milliseconds ms");
}
$cancelled->do('SET statement_timeout = 0');
is($cancelled->selectrow_array(q{SELECT count(*) FROM cfp_items('cancel', 'c')}), '0', 'cancelled statements leave nothing behind');

# Exception blocks and savepoints in a large loop.
$cancelled->do(q{
DO $$
DECLARE kept int := 0;
BEGIN
	FOR n IN 1 .. 20000 LOOP
		BEGIN
			PERFORM cfp_store('loop', '{}', 'item' || n % 50, 'c', n);
			IF n % 3 = 0 THEN
				RAISE EXCEPTION USING ERRCODE = '22012', MESSAGE = 'undo';
			END IF;
			IF cfp_get_value('loop', 'item' || n % 50, 'c') <> to_jsonb(n) THEN
				RAISE 'own store not seen: %', n;
			END IF;
			kept := kept + 1;
		EXCEPTION WHEN division_by_zero THEN
			IF cfp_get_value('loop', 'item' || n % 50, 'c') = to_jsonb(n) THEN
				RAISE 'undone store seen: %', n;
			END IF;
		END;
	END LOOP;
END $$});
is($cancelled->selectrow_array(q{SELECT count(*) FROM cfp_items('loop', 'c') WHERE value_int % 3 = 0}), '0', 'exception blocks undo their stores');
is($cancelled->selectrow_array(q{SELECT count(*) FROM storage_history WHERE key = 'loop' AND value_int % 3 = 0}), '0', 'also in the history');
is($cancelled->selectrow_array(q{SELECT count(*) FROM storage_history WHERE key = 'loop'}), '13334', 'and keep the others');
$cancelled->disconnect;
seen_ok($node, 'all agree after cancelled statements and exception blocks');

# A worker that is killed comes back.
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->reload;
my $worker = wait_worker($node);
kill 'KILL', $worker;
wait_true($node, "SELECT worker_pid <> $worker FROM cfp_stat");
like($node->safe_psql('postgres', 'SELECT cfp_fold()'), qr/^\d+$/, 'a worker that was killed comes back');
latest_ok($node, 'and folds');

$node->stop;
log_ok(
	$node,
	qr/ERROR:  [^\n]*(?:preload|worker)/,
	qr/WARNING:  [^\n]*(?:worker|slot)/,
	qr/ERROR:  [^\n]*PREPARE/i,
	qr/ERROR:  [^\n]*read-only transaction/,
	qr/ERROR:  record is too large as JSON text/,
	qr/ERROR:  [^\n]*cfp\.\w+/,
	qr/ERROR:  permission denied to set parameter/,
	qr/ERROR:  cannot drop (?:foreign )?table/,
	qr/(?:ERROR|WARNING):  [^\n]*storage_(?:history|latest)/,
	qr/ERROR:  [^\n]*own_unique/,
	qr/ERROR:  canceling statement due to statement timeout/,
	qr/terminating connection because of crash of another server process/,
	qr/FATAL:  the database system is/);
done_testing();
