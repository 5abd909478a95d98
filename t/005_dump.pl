# pg_dump and pg_restore, in every form, into a fresh cluster.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = cfp_node('source', 'cfp.flush_interval = 1s');
my $target = cfp_node('target', 'cfp.flush_interval = 1s', 'max_worker_processes = 20');
my $dir = PostgreSQL::Test::Utils::tempdir;

# Folded, then flushed, then neither; tombstones; every value type; names
# that need quoting everywhere.
cfp_install($source);
$source->safe_psql('postgres', q{
SELECT cfp_store('k' || k, jsonb_build_object('n', n), 'item' || n, 'c' || c, n)
FROM generate_series(1, 3) k, generate_series(1, 10) c, generate_series(1, 100) n;
SELECT cfp_store('types', '{}', 'float', 'c', 0.1::float8), cfp_store('types', '{}', 'int', 'c', 9007199254740993),
	cfp_store('types', '{}', 'text', 'c', E'tab\t line\n back\\slash \\N'), cfp_store('types', '{"status": "x", "status_int": 3}', 'none', 'c');
SELECT cfp_store(E'k"''\\\n:', '{}', E'i"''\\\n\t;', E'c{},"''', E'v\u00e9\U0001F600');
SELECT cfp_delete('k1', 'item5', 'c1');
SELECT cfp_store('gone', '{}', 'pruned', 'c'), cfp_store('gone', '{}', 'there', 'c'), cfp_delete('gone', 'pruned', 'c');
SELECT cfp_fold();
SELECT cfp_prune_history('infinity', key => 'gone');
SELECT cfp_store('k1', '{"late": 1}', 'item' || n, 'c1', n + 0.5) FROM generate_series(1, 20, 3) n;
SELECT cfp_delete('k2', 'item7', 'c2');
SELECT cfp_flush();
SELECT cfp_store('k3', '{"later": 1}', 'item' || n, 'c3', 'text ' || n) FROM generate_series(1, 20, 3) n;
SELECT cfp_store('k9', '{}', 'new', 'c9', true);
SELECT cfp_delete('k3', 'item2', 'c3');
CREATE ROLE tenant;
GRANT USAGE ON FOREIGN SERVER cfp TO tenant;
CREATE FOREIGN TABLE "typed Table" (item text OPTIONS (field 'item_name') COLLATE "C", late int, n bigint NOT NULL CHECK (n > 0), v jsonb OPTIONS (field 'value'), x text OPTIONS (member 'it''s "x"', null 'keep'))
	SERVER cfp OPTIONS (key 'k1', collection 'c1');
COMMENT ON FOREIGN TABLE "typed Table" IS 'of a user';
GRANT SELECT ON "typed Table" TO tenant});
$target->safe_psql('postgres', 'CREATE ROLE tenant');

# Counts and checksums; txid is the only column that is not the same.
my $current = q{
SET timezone = 'UTC'; SET extra_float_digits = 1;
SELECT count(*), md5(string_agg((to_jsonb(c) - 'txid')::text, E'\n'
	ORDER BY key, collection_name, item_name)) FROM storage_current c};
my $history = q{
SET timezone = 'UTC'; SET extra_float_digits = 1;
SELECT count(*), md5(string_agg((to_jsonb(h) - 'txid')::text, E'\n'
	ORDER BY key, collection_name, item_name, version)) FROM storage_history h};
my $wanted = $source->safe_psql('postgres', $current);
my $wanted_history = $source->safe_psql('postgres', $history);

my $typed = q{SELECT string_agg(t::text, E'\n') FROM "typed Table" t WHERE item NOT IN ('item1', 'item5')};
my $wanted_typed = $source->safe_psql('postgres', $typed);

# A typed table is as it was, where it came along.
sub typed_ok
{
	my ($database, $how) = @_;

	is($target->safe_psql($database, $typed), $wanted_typed, "$how: a typed table shows what it showed");
	is($target->safe_psql($database, q{
		SELECT relacl::text ~ 'tenant=r/', (SELECT srvacl::text ~ 'tenant=U/' FROM pg_foreign_server), obj_description(oid)
		FROM pg_class WHERE relname = 'typed Table'}), 't|t|of a user', "$how: its privileges");
	is($target->safe_psql($database, q{UPDATE "typed Table" SET n = n + 1 WHERE item = 'item2' RETURNING n}), '3', "$how: and can be changed");
	return;
}

# What a restored database must be.
sub restored_ok
{
	my ($database, $how) = @_;

	is($target->safe_psql($database, $current), $wanted, "$how: storage_current equals the source");
	is($target->safe_psql($database, $history), $wanted_history, "$how: storage_history equals the source");
	seen_ok($target, "$how: all agree at once", $database);

	wait_worker($target, $database);
	# Where an item was pruned whole, what comes by hand may be of it, and goes
	# on above what was pruned.
	like($target->safe_psql($database, q{
		SELECT cfp_store('k1', '{}', 'item1', 'c1', 'goes on'), cfp_store('k1', '{}', 'item5', 'c1', 'goes on'),
			cfp_store('k3', '{}', 'item1', 'c3', 'goes on'), cfp_store('k9', '{}', 'newer', 'c9'),
			cfp_store('gone', '{}', 'pruned', 'c'), cfp_store('gone', '{}', 'there', 'c')}),
		qr/\A3\|3\|3\|1\|3\|[23]\z/, "$how: versions go on");
	seen_ok($target, "$how: all agree after stores", $database);

	$target->poll_query_until($database, q{
		SELECT cfp_fold() IS NOT NULL AND NOT EXISTS (
			SELECT FROM (
				SELECT DISTINCT ON (key, collection_name, item_name) key, collection_name, item_name, version
				FROM storage_history
				ORDER BY key, collection_name, item_name, version DESC) h
			FULL JOIN storage_latest l USING (key, collection_name, item_name, version)
			WHERE h.version IS NULL OR l.updated_at IS NULL)});
	# With triggers off the txid of the dump comes along, and is kept or frozen
	# as it is of the past or the future when the worker gets to that table.
	latest_ok($target, "$how: the fold makes storage_latest right", $database, txid => 0);
	seen_ok($target, "$how: all agree after the fold", $database);
	return;
}

my @from = ('-h', $source->host, '-p', $source->port);
my @to = ('-h', $target->host, '-p', $target->port);

# Plain.
command_ok([ 'pg_dump', @from, '-f', "$dir/plain.sql", 'postgres' ], 'pg_dump, plain');
$target->safe_psql('postgres', 'CREATE DATABASE plain');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', @to, '-f', "$dir/plain.sql", 'plain' ],
	'restore of a plain dump');
$target->safe_psql('postgres', 'ALTER DATABASE plain SET search_path = public, cfp');
restored_ok('plain', 'plain');
typed_ok('plain', 'plain');

# Custom format, restored by four jobs, while the worker comes up.
command_ok([ 'pg_dump', @from, '-Fc', '-f', "$dir/custom", 'postgres' ], 'pg_dump -Fc');
$target->safe_psql('postgres', 'CREATE DATABASE jobs');
command_ok([ 'pg_restore', @to, '-j', '4', '-e', '-d', 'jobs', "$dir/custom" ], 'pg_restore -j 4');
$target->safe_psql('postgres', 'ALTER DATABASE jobs SET search_path = public, cfp');
restored_ok('jobs', 'pg_restore -j 4');
typed_ok('jobs', 'pg_restore -j 4');

# The rows only, into an extension made before, with and without triggers.
foreach my $form ([ 'data_only', '--data-only' ], [ 'no_triggers', '--data-only', '--disable-triggers' ],
	[ 'jobs_no_triggers', '--data-only', '--disable-triggers', '-j', '4' ],
	[ 'one_transaction', '--data-only', '--single-transaction' ])
{
	my ($database, @options) = @$form;
	my $how = "pg_restore @options";

	$target->safe_psql('postgres', "CREATE DATABASE $database");
	cfp_install($target, $database);
	my $session = connect_node($target, $database);
	$session->selectrow_array(q{SELECT cfp_warm('k1', 'c1'), cfp_get('k2', 'item1', 'c2')});
	command_ok([ 'pg_restore', @to, @options, '-e', '-d', $database, "$dir/custom" ], $how);
	is($session->selectrow_array(q{SELECT cfp_get_value('k1', 'item1', 'c1')}), '1.5',
		"$how: a session that had it cached sees what was restored");
	$session->disconnect;
	restored_ok($database, $how);
}

# The whole cluster.
command_ok([ 'pg_dumpall', @from, '-f', "$dir/all.sql" ], 'pg_dumpall');

# A restored database is dumped again, and is the same.
command_ok([ 'pg_dump', @to, '-Fc', '-f', "$dir/again", 'jobs' ], 'pg_dump of what was restored');
$wanted = $target->safe_psql('jobs', $current);
$wanted_history = $target->safe_psql('jobs', $history);
$target->safe_psql('postgres', 'CREATE DATABASE again');
command_ok([ 'pg_restore', @to, '-e', '-d', 'again', "$dir/again" ], 'restore of it');
$target->safe_psql('postgres', 'ALTER DATABASE again SET search_path = public, cfp');
is($target->safe_psql('again', $current), $wanted, 'dumped twice: storage_current equals the source');
is($target->safe_psql('again', $history), $wanted_history, 'dumped twice: storage_history equals the source');

# Days of the database that was dumped: closed long ago, and one whose close was
# going on.  They close nothing where they are restored, in whatever pieces.
$source->safe_psql('postgres', q{
DELETE FROM storage_days;
INSERT INTO storage_days (date, started, finished, records, items_folded, backup_bytes)
	VALUES (current_date - 331, now() - interval '330 days', now() - interval '330 days', 1, 1, 1);
INSERT INTO storage_days (date, started, records) VALUES (current_date - 330, now() - interval '329 days', 1)});
$wanted = $source->safe_psql('postgres', $current);
$wanted_history = $source->safe_psql('postgres', $history);
command_ok([ 'pg_dump', @from, '-Fc', '-f', "$dir/old", 'postgres' ], 'pg_dump, with days of long ago');
my %pieces = (history => '', latest => '', rest => '');
foreach my $entry (split /^/, (run_command([ 'pg_restore', '-l', "$dir/old" ]))[0])
{
	my ($table) = $entry =~ /TABLE DATA cfp storage_(history|latest)/;
	$pieces{ $table // 'rest' } .= $entry;
}
append_to_file("$dir/$_.list", $pieces{$_}) foreach keys %pieces;

sub restore_piece
{
	my ($database, $piece) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return command_ok([ 'pg_restore', @to, '--single-transaction', '-L', "$dir/$piece.list", '-d', $database, "$dir/old" ],
		"$database: $piece restored");
}

# As they were dumped, but for the one that will never go on.
sub days_ok
{
	my ($database, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$target->safe_psql($database, 'SELECT cfp.cfp_flush(); SELECT cfp.cfp_flush()');
	return is(
		$target->safe_psql($database, q{
SELECT string_agg(concat_ws(' ', current_date - date, backup_bytes, items_folded, error), ', ' ORDER BY date) FROM cfp.storage_days}),
		'331 1 1, 330 restored: its close had begun in the database that was dumped', "$database: $what");
}

foreach my $database ('pieces', 'midway')
{
	$target->safe_psql('postgres', "CREATE DATABASE $database");
	restore_piece($database, 'rest');
	$target->safe_psql('postgres', "ALTER DATABASE $database SET search_path = public, cfp");
	wait_worker($target, $database);
	days_ok($database, 'restored days close nothing');
	is($target->safe_psql($database, q{SELECT next_end_of_day > now(), next_end_of_day < now() + interval '3 days' FROM cfp_stat}),
		't|t', "$database: the days begin today");
}
restore_piece('pieces', 'history');
days_ok('pieces', 'nor does the history');
restore_piece('pieces', 'latest');
days_ok('pieces', 'nor does latest');
is(join(' ', glob($target->data_dir . '/cfp/*_pieces/*/manifest.json')), '', 'no backup was made of it');
restored_ok('pieces', 'in pieces');

# The end of a day comes in the middle of a restore: its close waits.
my $restoring = connect_node($target, 'midway');
$restoring->begin_work;
$restoring->do(q{INSERT INTO storage_history (key, collection_name, item_name, data, updated_at, version) VALUES ('midway', '', '', '{}', now(), 1)});
my $worker = $target->safe_psql('midway', q{
UPDATE cfp_state SET date = date - 1 WHERE name = 'day';
SELECT worker_pid FROM cfp_stat, LATERAL (SELECT pg_terminate_backend(worker_pid)) t});
$target->poll_query_until('midway', "SELECT coalesce(worker_pid, $worker) <> $worker FROM cfp_stat");
wait_worker($target, 'midway');
days_ok('midway', 'it does not begin while the tables are changed by hand');
my ($before) = $restoring->selectrow_array('SELECT clock_timestamp()');
$restoring->commit;
$restoring->disconnect;
$target->poll_query_until('midway', q{SELECT count(*) = 3 AND count(finished) = 3 FROM storage_days})
  or BAIL_OUT('the date is not closed');
is($target->safe_psql('midway', qq{SELECT started > '$before', backup_bytes > 0, error IS NULL FROM storage_days ORDER BY date DESC LIMIT 1}),
	't|t|t', 'midway: it does afterwards');

$source->stop;
$target->stop;
log_ok($source);
log_ok($target);
done_testing();
