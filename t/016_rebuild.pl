# Looking at day files and rebuilding from them: every kind of value and name
# through the files and back, bad lines, the cache in a session that stays,
# stores meanwhile, cancelling, latest from history, permissions, and a storage
# table whose file is really damaged.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use CfpTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = cfp_node('rebuild', 'autovacuum = off', 'restart_after_crash = on', 'cfp.min_free_space = 0');
cfp_install($node);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# The date whose files are being written, and its directory.
sql(q{SELECT cfp_store('first', '{}'); SELECT cfp_flush()});
my $date = sql('SELECT max(date) FROM cfp_wal_files');
my ($dir) = glob($node->data_dir . "/cfp/*_postgres/$date");

# ---- records of all kinds

sql(<<'SQL');
SELECT cfp_store('value', '{}', n, 'types', v) FROM (VALUES
	('one', 1), ('zero', 0), ('minus', -1), ('max', 9223372036854775807),
	('min', -9223372036854775808), ('2^53+1', 9007199254740993)) t(n, v);
SELECT cfp_store('value', '{}', n, 'floats', v::float8) FROM (VALUES
	('one', '1.0'), ('tenth', '0.1'), ('minus zero', '-0'), ('big', '1e300'),
	('1e22', '1e22'), ('smallest', '5e-324'), ('largest', '1.7976931348623157e308'),
	('third', '0.333333333333333333'), ('2^53', '9007199254740992')) t(n, v);
SELECT cfp_store('value', '{}', n, 'strings', v::text) FROM (VALUES
	('empty', ''), ('number', '1'), ('null', 'null'), ('NaN', 'NaN'),
	('quotes', '"''\'), ('lines', E'a\r\nb\tc'), ('umlaut', 'aé€😀z'),
	('controls', (SELECT string_agg(chr(i), '') FROM generate_series(1, 31) i) || chr(127)),
	('long', repeat('long ', 100000))) t(n, v);
SELECT cfp_store('value', '{"a": null}', 'none', 'strings');
SELECT cfp_store('data', d::jsonb, i::text) FROM (VALUES
	(1, '{"a": {"b": [1, [2, {"c": {}}], []]}, "": ""}'),
	(2, '{"n": [123456789012345678901234567890, 1e400, 0.1, 9007199254740993, 0, -0.0, 1.0, 1, 1.10, 1E-30]}'),
	(3, '{"u": "\u00e9 \ud83d\ude00 \\ \" / \b\f\n\r\t", "k\"\\\n{}[],:": true}'),
	(4, '{"status": "s{\"", "status_int": -7, "username": "u", "timestamp": "2024-02-29T23:59:59.999999+14"}'),
	(5, '{"x": false, "y": null}')) t(i, d);
SELECT cfp_store('data', jsonb_build_object('deep', repeat('[', 500)::text, 'l', repeat('x', 300000)), 'long');
SELECT cfp_store('data', (repeat('{"d":', 500) || '1' || repeat('}', 500))::jsonb, 'deep');
SELECT cfp_store('time', '{}', n, ts => v::timestamptz) FROM (VALUES
	('1', 'infinity'), ('2', '-infinity'), ('3', '0044-03-15 BC'), ('4', '20000-01-01'),
	('5', '1999-12-31 23:59:59.999999+00'), ('6', '0001-01-01 00:00+00'),
	('7', '4714-11-24 00:00+00 BC'), ('8', '9999-12-31 23:59:59.999999+00')) t(n, v);
SELECT cfp_store(k, '{}', i, c, 1) FROM (VALUES
	('', '', ''), ('quote"''\', 'new' || chr(10) || 'line', 'a:b::c'), (chr(1) || chr(31), chr(127), chr(9)),
	('é', '€', '😀'), (repeat('k', 2000), '', ''), ('', repeat('😀', 500), ''), ('', '', repeat('€', 666)),
	(repeat('k', 700), repeat('c', 700), repeat('i', 600)), (' ', '  ', '   '),
	('{"key":"x"}', 'null', '\u0041')) t(k, c, i);
SELECT cfp_store('versions', '{}', 'x', 'c', i) FROM generate_series(1, 500) i;
SELECT cfp_delete('versions', 'x', 'c');
SELECT cfp_delete('value', 'one', 'types');
SELECT cfp_flush();
SQL

# Rows that are in one and not in the other, seen bit by bit.
my $columns = q{key, collection_name, item_name, data::text, value_int,
	encode(float8send(value_float), 'hex'), value_string, timestamp, status,
	status_int, username, updated_at, version, operation};

sub same_rows
{
	my ($a, $b, $txid, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(
		sql(qq{SELECT count(*) FROM (
			(SELECT $columns $txid FROM $a EXCEPT ALL SELECT $columns $txid FROM $b) UNION ALL
			(SELECT $columns $txid FROM $b EXCEPT ALL SELECT $columns $txid FROM $a)) d}),
		'0', $what);
}

my $records = sql('SELECT count(*) FROM storage_history');
same_rows('storage_history', "cfp_read_wal('$date')", ', txid', 'cfp_read_wal gives back every record');
is(sql("SELECT sum(records), bool_and(bytes > 0) FROM cfp_wal_files WHERE date = '$date'"),
	"$records|t", 'cfp_wal_files counts them');
is(sql(q{SELECT count(*) FROM cfp_read_wal('1999-01-01')}), '0', 'a date without files has none');
is(sql(q{SELECT count(*) FROM cfp_read_wal(NULL)}), '0', 'nor has no date');

# ---- history

my $session = connect_node($node);
my ($before) = $session->selectrow_array(q{SELECT cfp_get_key('value')::text});
sql('CREATE TABLE kept AS TABLE storage_history; SELECT cfp_fold(); CREATE TABLE kept_latest AS TABLE storage_latest');
sql('TRUNCATE storage_history');
is(sql('SELECT count(*) FROM storage_latest') > 0, 1, 'latest is there');
sql('TRUNCATE storage_latest');
is(($session->selectrow_array(q{SELECT cfp_get_key('value')::text}))[0], '{}', 'all is gone');
is(sql("SELECT cfp_rebuild_history_from_wal('$date')"), $records, 'every record comes back');
is(($session->selectrow_array(q{SELECT cfp_get_key('value')::text}))[0], $before,
	'the session sees it without a restart');
same_rows('storage_history', 'kept', '', 'they are the same');
is(sql(q{SELECT count(*) FROM storage_history WHERE txid <> '2'}), '0', 'their txid is the frozen one');
is(sql('SELECT count(*) FROM storage_latest'), '0', 'latest is not touched');
is(sql('SELECT count(*) = (SELECT count(*) FROM kept_latest) FROM storage_dirty'), 't', 'the items are dirty');
is(sql("SELECT cfp_rebuild_history_from_wal('$date')"), '0', 'a second time adds none');
is(sql("SELECT cfp_rebuild_history_from_wal('1999-01-01', '$date')"), '0', 'nor does a range');
is(sql("SELECT count(*) FROM cfp_read_wal('$date')"), $records, 'what came back goes into no file again');
seen_ok($node, 'cache and tables agree');

# some are missing, some differ: only the missing come
sql(q{DELETE FROM storage_history WHERE version % 2 = 0;
	UPDATE storage_history SET status = 'by hand' WHERE key = 'versions' AND version = 1});
my $missing = sql('SELECT count(*) FROM kept WHERE version % 2 = 0');
is(sql("SELECT cfp_rebuild_history_from_wal('$date')"), $missing, 'only the missing ones are added');
is(sql(q{SELECT status FROM storage_history WHERE key = 'versions' AND version = 1}),
	'by hand', 'what is there is not changed');
sql(q{UPDATE storage_history SET status = NULL WHERE status = 'by hand'});
same_rows('storage_history', 'kept', '', 'and all are there');

# small batches
sql('ALTER SYSTEM SET maintenance_work_mem = 1024; SELECT pg_reload_conf()');
sql('TRUNCATE storage_history');
is(sql("SELECT cfp_rebuild_history_from_wal('$date')"), $records, 'in several batches');
same_rows('storage_history', 'kept', '', 'they are the same');
sql('ALTER SYSTEM RESET maintenance_work_mem; SELECT pg_reload_conf()');

# ---- latest

is(sql('SELECT cfp_rebuild_latest_from_history() = (SELECT count(*) FROM kept_latest)'), 't', 'latest is rebuilt');
same_rows('storage_latest', 'kept_latest', '', 'it is the same');
is(sql('SELECT cfp_rebuild_latest_from_history()'), '0', 'a second time changes nothing');
sql(q{DELETE FROM storage_history WHERE key = 'versions' AND version > 100;
	UPDATE storage_latest SET version = 1 WHERE key = 'data' AND item_name = '1';
	UPDATE storage_latest SET username = 'by hand' WHERE key = 'data' AND item_name = '2';
	DELETE FROM storage_latest WHERE key = 'data' AND item_name = '3';
	INSERT INTO storage_latest SELECT 'only', '', '', data, value_int, value_float, value_string, timestamp,
		status, status_int, username, updated_at, version, operation FROM storage_latest WHERE key = 'data' AND item_name = '4'});
is(sql('SELECT cfp_rebuild_latest_from_history()'), '2', 'what is old or differs is changed');
is(sql(q{SELECT version FROM storage_latest WHERE key = 'versions'}), '501', 'nothing is lowered');
is(sql(q{SELECT count(*) FROM storage_latest WHERE key = 'only'}), '1', 'nothing is removed');
sql(q{DELETE FROM storage_latest WHERE key = 'only'});
is(sql("SELECT cfp_rebuild_history_from_wal('$date')"), '401', 'the versions come back');
seen_ok($node, 'cache and tables agree');

# more items than a chunk
sql(q{SELECT count(cfp_store('many', '{}', i::text, 'c', i)) FROM generate_series(1, 3000) i});
sql(q{SELECT cfp_flush(); SELECT cfp_fold(); TRUNCATE storage_latest});
is(sql('SELECT cfp_rebuild_latest_from_history() = (SELECT count(DISTINCT (key, collection_name, item_name)) FROM storage_history)'),
	't', 'all chunks');
sql('SELECT cfp_fold()');
latest_ok($node, 'latest is what the history says');

# ---- bad lines

my $offset = -s $node->logfile;
my $bad = "$dir/wal_900001.jsonl";
my $stamp = '"updated_at":"2026-01-01T00:00:00.000000Z"';
my @lines = (
	'{"cfp":1,"server_version":"15"}',
	qq({"key":"bad","collection_name":"","item_name":"good 1","data":{},"value":1,$stamp,"version":1,"txid":5}),
	'{"key":"bad","collection_na',
	'not JSON',
	'[]',
	'',
	"\x00\x01\xff\xfe garbage",
	qq({"key":"bad","collection_name":"","item_name":"latin \xe9","data":{},$stamp,"version":1}),
	qq({"key":1,"collection_name":"","item_name":"","data":{},$stamp,"version":1}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":[1],$stamp,"version":1}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},"value":{},$stamp,"version":1}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},"value":true,$stamp,"version":1}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},"value":1e400,$stamp,"version":1}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},"value":9223372036854775808,$stamp,"version":1}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},$stamp,"version":"1"}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},$stamp,"version":1.0}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},$stamp,"version":0}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},$stamp}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},"version":1}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},"updated_at":"soon","version":1}),
	qq({"key":"bad","collection_name":"","data":{},$stamp,"version":1}),
	qq({"key":"bad","collection_name":"","item_name":null,"data":{},$stamp,"version":1}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{"x":},$stamp,"version":1}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{"x":"\\u0000"},$stamp,"version":1}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},$stamp,"version":1,"txid":-1}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},$stamp,"version":1,"operation":"upsert"}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},$stamp,"version":1,"operation":"delete"}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":null,$stamp,"version":1,"operation":"create"}),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},$stamp,"version":1} x),
	qq({"key":"bad","collection_name":"","item_name":"a","data":{},$stamp,"version":1,}),
	qq({"key":"bad","key":"twice","collection_name":"","item_name":"a","data":{},$stamp,"version":1}),
	qq({"key":"bad","collection_name":"","item_name":"@{['a' x 2000]}","data":{},$stamp,"version":1}),
	'{"a":' x 100000,
	qq({"version":1,"other":{"a":[1,"}"]},"item_name":"good 2", $stamp, "key":"bad","collection_name":""}\r),
	qq({"key":"bad","collection_name":"","item_name":"good 1","data":{},"value":2,$stamp,"version":1}),
	qq({"key":"bad","collection_name":"","item_name":"torn","data":{},$stamp,"ver));
open(my $file, '>:raw', $bad) or die "$bad: $!";
print $file join("\n", @lines);
close $file;
my $nbad = @lines - 5;

my ($result, $out, $err) = $node->psql('postgres', "SELECT cfp_rebuild_history_from_wal('$date')");
is($out, '2', 'the good lines are used');
like($err, qr/WARNING:  $nbad lines of the day files could not be used; the server log names them/, 'the rest is counted');
my $log = slurp_file($node->logfile, $offset);
foreach my $n (3 .. 33)
{
	like($log, qr/WARNING:  line $n of day file "[^"]*wal_900001\.jsonl" is not used/, "line $n is reported");
}
unlike($log, qr/line (?:1|2|34|35|36) of day file "[^"]*" is not used/, 'good lines and the torn one are not');
like($log, qr/WARNING:  line 35 of day file "[^"]*" has another record of the name and version/, 'the one that counts of two is');
is(sql(q{SELECT string_agg(item_name || coalesce(value_int::text, '-') || ' ' || txid, ', ' ORDER BY item_name)
	FROM storage_history WHERE key = 'bad'}),
	'good 12 2, good 2- 2', 'the later of two counts');
unlink $bad;

# another server's file: it is read, and the caller is told
open($file, '>:raw', $bad) or die "$bad: $!";
print $file (split /^/, slurp_file("$dir/wal_000001.jsonl"))[0] =~ s/"system_identifier":"\d/"system_identifier":"1/r =~ s/,"crc":"[0-9a-f]{8}"//r;
print $file qq({"key":"other","collection_name":"","item_name":"",$stamp,"version":1}\n);
close $file;
$offset = -s $node->logfile;
($result, $out, $err) = $node->psql('postgres', "SELECT cfp_rebuild_history_from_wal('$date')");
is($out, '1', "another server's file is read");
like($err, qr/WARNING:  1 day files were not made by this server for this database/, 'the caller is told');
like(slurp_file($node->logfile, $offset), qr/WARNING:  day file "[^"]*wal_900001\.jsonl" was not made by this server/, 'and the log names it');
sql(q{DELETE FROM storage_history WHERE key = 'other'});
unlink $bad;
($result, $out, $err) = $node->psql('postgres', "SELECT cfp_rebuild_history_from_wal('$date')");
is($err, '', 'without it there is nothing to tell');

# more bad lines than are named; the binary kind, long and without an end
open($file, '>:raw', $bad) or die "$bad: $!";
print $file "x\n" x 150, "\xff" x 3_000_000;
close $file;
$offset = -s $node->logfile;
($result, $out, $err) = $node->psql('postgres', "SELECT cfp_rebuild_history_from_wal('$date')");
like($err, qr/WARNING:  150 lines .* the first 100/, 'very many bad lines are counted');
is(() = slurp_file($node->logfile, $offset) =~ /is not used/g, 100, 'and the first of them named');
unlink $bad;

# ---- while others store; cancelling

sql(q{CREATE TABLE before_stores AS TABLE storage_history; TRUNCATE storage_history});
my $storer = connect_node($node);
$storer->begin_work;
$storer->do(q{SELECT cfp_store('meanwhile', '{}', '0')});
my $asker = connect_node($node);
$asker->do("SELECT cfp_rebuild_history_from_wal('$date')", { pg_async => DBD::Pg::PG_ASYNC() });
$node->poll_query_until('postgres',
	q{SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'cfp.cfp_gate'::regclass})
  or BAIL_OUT('the rebuild does not wait for the store');
ok($asker->pg_cancel, 'a rebuild that waits for a store can be cancelled');
$storer->do(q{SELECT cfp_store('meanwhile', '{}', '0')});
$storer->commit;
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'cfp job worker'})
  or BAIL_OUT('the job worker stays');

my $script = PostgreSQL::Test::Utils::tempdir() . '/store.sql';
append_to_file($script, "SELECT cfp_store('meanwhile', '{}', (random() * 50)::int::text, 'c', 1);\n");
my $pgbench = IPC::Run::start(
	[ 'pgbench', '-n', '-c', '4', '-t', '300', '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
	'>', \my $bench_out, '2>', \my $bench_err);
# what was stored since the TRUNCATE makes it look like a new start
sql("SELECT cfp_rebuild_history_from_wal('$date', '$date', include_forgotten => true)");
$pgbench->finish;
is($pgbench->result(0), 0, 'stores go on during a rebuild') or diag($bench_err);
sql("SELECT cfp_flush(); SELECT cfp_rebuild_history_from_wal('$date')");
is(sql(qq{SELECT count(*) FROM (SELECT $columns FROM before_stores WHERE key <> 'bad'
	EXCEPT ALL SELECT $columns FROM storage_history) d}), '0', 'all that was is there');
is(sql(q{SELECT sum(1) FROM storage_history WHERE key = 'meanwhile' AND collection_name = 'c'}), '1200', 'so is what was stored');
history_ok($node, 'no version twice');
seen_ok($node, 'cache and tables agree');

# The history is lost, and a rebuild of it stops behind the first of its batches.
sub park_behind_a_batch
{
	sql('ALTER SYSTEM SET maintenance_work_mem = 1024');
	sql('SELECT pg_reload_conf(); TRUNCATE storage_history');
	sql(q{ALTER DATABASE postgres SET cfp.debug_waitpoint = 'batch_rebuilt'});
	$asker->disconnect;
	$asker = connect_node($node);
	$asker->do("SELECT cfp_rebuild_history_from_wal('$date')", { pg_async => DBD::Pg::PG_ASYNC() });
	$node->poll_query_until('postgres',
		q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'cfp job worker' AND wait_event_type = 'Extension'})
	  or BAIL_OUT('the job worker does not stop behind a batch');
	return;
}

# what is removed by hand meanwhile must not come back
sql('CREATE TABLE before_removal AS TABLE storage_history');
park_behind_a_batch();
sql(q{CREATE TABLE removed AS SELECT * FROM storage_history WHERE key <> 'bad' AND version = 1; DELETE FROM storage_history WHERE key <> 'bad' AND version = 1;
	SELECT cfp_store('after', '{}', 'removal')});
is(sql('SELECT count(*) > 0 FROM removed'), 't', 'removed while a rebuild runs');
sql(q{ALTER DATABASE postgres RESET cfp.debug_waitpoint; SET cfp.debug_release = 'batch_rebuilt'});
is(eval { $asker->pg_result; 1 }, undef, 'the rebuild ends');
is($asker->state, '55006', 'SQLSTATE');
like($asker->errstr, qr/records were removed by hand .*HINT:  Call it again/s, 'and says what to do');
sql("SELECT cfp_rebuild_history_from_wal('$date')");
is(sql('SELECT count(*) FROM removed JOIN storage_history USING (key, collection_name, item_name, version)'), '0', 'what was removed stays away');
history_ok($node, 'no version twice');
sql("SELECT cfp_rebuild_history_from_wal('$date', '$date', include_forgotten => true)");
is(sql(qq{SELECT count(*) FROM (SELECT $columns FROM before_removal WHERE key <> 'bad'
	EXCEPT ALL SELECT $columns FROM storage_history) d}), '0', 'all comes back when it is wanted');
sql('ALTER SYSTEM RESET maintenance_work_mem');
sql('SELECT pg_reload_conf(); DROP TABLE before_removal, removed');

# a job worker that is killed takes the server down; what it did stays
sql('CREATE TABLE before_kill AS TABLE storage_history');
park_behind_a_batch();
is(sql('SELECT count(*) > 0 AND count(*) < (SELECT count(*) FROM before_kill) FROM storage_history'), 't', 'one batch is there');
my $job_worker = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'cfp job worker'});
sql('ALTER DATABASE postgres RESET cfp.debug_waitpoint');
kill 'KILL', $job_worker;
wait_true($node, qq{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $job_worker)});
wait_true($node, "SELECT cfp.cfp_rebuild_history_from_wal('$date') >= 0");
is(sql(qq{SELECT count(*) FROM (SELECT $columns FROM before_kill WHERE key <> 'bad'
	EXCEPT ALL SELECT $columns FROM storage_history) d}), '0', 'after a kill another rebuild adds the rest');
history_ok($node, 'no version twice');
seen_ok($node, 'cache and tables agree');
sql('ALTER SYSTEM RESET maintenance_work_mem');
sql('SELECT pg_reload_conf(); DROP TABLE before_kill');

# ---- a directory that cannot be read

SKIP:
{
	skip 'permissions do not bind this user', 2 if $> == 0;
	chmod 0, $dir;
	state_is($node, 'postgres', "SELECT cfp_rebuild_history_from_wal('$date')", '42501', qr/could not .*$date/, 'a directory without permission');
	chmod 0700, $dir;
}

# ---- what is no file

require POSIX;
POSIX::mkfifo("$dir/wal_900001.jsonl", 0600) or die $!;
mkdir "$dir/wal_900002.jsonl" or die $!;
symlink 'nowhere', "$dir/wal_900003.jsonl" or die $!;
is(sql("SET statement_timeout = '20s'; SELECT cfp_rebuild_history_from_wal('$date')"), '0', 'a pipe, a directory and a link are not read');
is(sql(q{SELECT count(*) FROM cfp_wal_files WHERE file LIKE 'wal_9%'}), '0', 'nor shown');
# The worker looks at the files before it writes for the first time.
sql('SELECT pg_reload_conf()');
sql(q{SELECT cfp_store('pipe', '{}'); SET statement_timeout = '20s'; SELECT cfp_flush()});
is(sql("SELECT count(*) FROM cfp_read_wal('$date') WHERE key = 'pipe'"), '1', 'nor does the worker wait for them');
unlink "$dir/wal_900001.jsonl", "$dir/wal_900003.jsonl";
rmdir "$dir/wal_900002.jsonl";
sql("DELETE FROM storage_history WHERE key = 'pipe'");
is(sql("SELECT cfp_rebuild_history_from_wal('$date')"), '1', 'what was written is read');

# ---- other encodings

foreach my $test ([ 'latin1', 'LATIN1', q{chr(233) || 'x'}, '\u00e9' ],
	[ 'euc_jp', 'EUC_JP', q{convert_from('\xe697a5e69cac', 'UTF8')}, '\u65e5' ],
	[ 'ascii', 'SQL_ASCII', q{E'\351\303\251'}, 'a' ])
{
	my ($db, $encoding, $text, $escape) = @$test;

	$node->safe_psql('postgres',
		"CREATE DATABASE $db TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	cfp_install($node, $db);
	$node->safe_psql($db, qq{SELECT cfp_store('k' || t, jsonb_build_object('d', t, t, 1), t, t, t, username => t) FROM (SELECT $text) s(t)});
	$node->safe_psql($db, qq{SELECT cfp_store('k', '{"e": "$escape"}')});
	$node->safe_psql($db, 'SELECT cfp_flush()');
	is($node->safe_psql($db, q{SELECT count(*) FROM cfp_wal_files f,
			LATERAL (SELECT * FROM cfp_read_wal(f.date) EXCEPT ALL TABLE storage_history) d}),
		'0', "$encoding: the records are read back");
	$node->safe_psql($db, 'CREATE TABLE kept AS TABLE storage_history');
	$node->safe_psql($db, 'TRUNCATE storage_history, storage_latest');
	is($node->safe_psql($db, q{SELECT cfp_rebuild_history_from_wal(max(date)) FROM cfp_wal_files}), '2', "$encoding: rebuilt");
	$node->safe_psql($db, q{UPDATE kept SET txid = '2'});
	is($node->safe_psql($db, q{SELECT count(*) FROM (TABLE kept EXCEPT ALL TABLE storage_history) d}),
		'0', "$encoding: the same");
}
{
	# The file is UTF-8; a character that the database cannot have is a bad line.
	my ($latin) = glob($node->data_dir . '/cfp/*_latin1/*/wal_000001.jsonl');
	my $text = slurp_file($latin);
	my $other = $latin =~ s/000001/900001/r;

	like($text, qr/"k\xc3\xa9x"/, 'the file is in UTF-8');
	open($file, '>:raw', $other) or die "$other: $!";
	print $file qq({"key":"\xe2\x82\xac","collection_name":"","item_name":"",$stamp,"version":1}\n);
	close $file;
	($result, $out, $err) = $node->psql('latin1', 'SELECT cfp_rebuild_history_from_wal(max(date)) FROM cfp_wal_files');
	is($out, '0', 'what the database cannot hold is not added');
	like($err, qr/1 lines of the day files/, 'and is counted');
	unlink $other;
}

{
	# What UTF-8 has no place for: the character is lost, not the record.
	$node->safe_psql('euc_jp', q{SELECT cfp_store('lost', jsonb_build_object('d', 'a' || E'\xf5\xa1' || 'b'), value => E'\xe5\xae\xf5\xa1')});
	$node->safe_psql('euc_jp', 'SELECT cfp_flush(); TRUNCATE storage_history, storage_latest');
	$node->safe_psql('euc_jp', q{SELECT cfp_rebuild_history_from_wal(max(date)) FROM cfp_wal_files});
	is($node->safe_psql('euc_jp', q{SELECT data ->> 'd', value_string = E'\xe5\xae?' FROM storage_history WHERE key = 'lost'}),
		'a?b|t', 'a character without a place in UTF-8 becomes a question mark');
}
{
	# There is no \u beyond ASCII for this encoding.
	my ($ascii) = glob($node->data_dir . '/cfp/*_ascii/*/wal_000001.jsonl');
	my $other = $ascii =~ s/000001/900001/r;

	open($file, '>:raw', $other) or die "$other: $!";
	print $file qq({"key":"\\u00e9","collection_name":"","item_name":"","data":{"a":"\\u00e9"},$stamp,"version":1}\n);
	print $file qq({"key":"after","collection_name":"","item_name":"",$stamp,"version":1}\n);
	close $file;
	($result, $out, $err) = $node->psql('ascii', 'SELECT cfp_rebuild_history_from_wal(max(date)) FROM cfp_wal_files');
	is($out, '1', 'SQL_ASCII: a line with an escape does not keep others from being read');
	like($err, qr/1 lines of the day files/, 'and is counted');
	unlink $other;
}

# ---- arguments and permissions

my $may = q{permission denied for function cfp_};
state_is($node, 'postgres', q{SELECT cfp_rebuild_history_from_wal('1999-01-01')}, '58P01',
	qr/no directory of 1999-01-01.*$date/s, 'a date that is not there');
state_is($node, 'postgres', q{SELECT cfp_rebuild_history_from_wal('1999-01-01', '1999-02-01')}, '58P01',
	qr/from 1999-01-01 to 1999-02-01/, 'dates that are not there');
state_is($node, 'postgres', 'SELECT cfp_rebuild_history_from_wal(NULL)', '22004', undef, 'no date');
state_is($node, 'postgres', q{SELECT cfp_rebuild_history_from_wal('infinity')}, '22023', undef, 'no real date');
state_is($node, 'postgres', q{SELECT cfp_rebuild_history_from_wal('2000-01-02', '2000-01-01')}, '22023', undef, 'dates the wrong way');
sql('CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA cfp TO reader');
my @calls = ("cfp_rebuild_history_from_wal('$date')", "cfp_rebuild_history_from_wal('$date', '$date')",
	'cfp_rebuild_latest_from_history()', "cfp_read_wal('$date')");
my @functions = ('cfp_rebuild_history_from_wal(date)', 'cfp_rebuild_history_from_wal(date, date, boolean)',
	'cfp_rebuild_latest_from_history()', 'cfp_read_wal(date)');
foreach my $i (0 .. $#calls)
{
	my $call = "SET ROLE reader; SELECT count(*) FROM $calls[$i]";

	state_is($node, 'postgres', $call, '42501', qr/$may/, "$functions[$i] without EXECUTE");
	sql("GRANT EXECUTE ON FUNCTION cfp.$functions[$i] TO reader");
	state_is($node, 'postgres', $call, '00000', undef, "$functions[$i] with EXECUTE");
}
state_is($node, 'postgres', 'SET ROLE reader; TABLE cfp_wal_files', '42501', undef, 'cfp_wal_files is not for everybody');

# ---- a damaged file

my $lost = sql('SELECT count(*) FROM storage_history');
sql('DROP TABLE kept, kept_latest, before_stores; SELECT cfp_fold(); CHECKPOINT');
sql(q{CREATE TABLE kept AS TABLE storage_history});
foreach my $table ('storage_latest', 'storage_history')
{
	my $path = $node->data_dir . '/' . sql("SELECT pg_relation_filepath('$table')");

	$node->stop;
	open($file, '+<:raw', $path) or die "$path: $!";
	print $file join('', map { chr(($_ * 7 + 13) % 256) } 1 .. 2 * 8192);
	close $file;
	$offset = -s $node->logfile;
	$node->start;
	$node->wait_for_log(qr/WARNING: .*failed to read table cfp\.$table, it may be corrupted/, $offset);
	$log = slurp_file($node->logfile, $offset);
	like($log, qr/HINT:  To recover: 1\. use point-in-time recovery if there is one, else go on; 2\./, "$table: steps are reported");

	# Follow them.
	my ($steps) = $log =~ /HINT:  (To recover: .*)/;
	if ($table eq 'storage_latest')
	{
		like($steps, qr/TRUNCATE cfp\.storage_latest; 3\. SELECT cfp\.cfp_rebuild_latest_from_history\(\)/, 'those of latest');
		unlike($steps, qr/_wal/, 'the history is not concerned');
	}
	else
	{
		like($steps, qr/TRUNCATE cfp\.storage_history; 3\. SELECT cfp\.cfp_rebuild_history_from_wal\('$date', '[-0-9]+'\); 4\. SELECT cfp\.cfp_rebuild_latest_from_history\(\)/,
			'those of the history');
	}
	wait_worker($node);
	foreach my $statement ($steps =~ /((?:TRUNCATE|SELECT) cfp\.[^;]*?)(?:;|\.$)/g)
	{
		sql($statement);
	}
	sql('SELECT cfp_fold()');
	seen_ok($node, "$table: cache and tables agree again");
	latest_ok($node, "$table: latest is whole");
}
is(sql(qq{SELECT count(*) FROM (SELECT $columns FROM kept WHERE key <> 'bad' EXCEPT ALL SELECT $columns FROM storage_history) d}),
	'0', 'nothing that was in the files is lost');

# an index; a table whose file has gone; one that was altered
my $index = $node->data_dir . '/' . sql(q{SELECT pg_relation_filepath('storage_history_pkey')});
$node->stop;
open($file, '+<:raw', $index) or die "$index: $!";
print $file "\xaa" x 8192;
close $file;
$offset = -s $node->logfile;
$node->start;
$node->wait_for_log(qr/HINT:  To recover: 1\. REINDEX INDEX cfp\.storage_history_pkey, which is enough/, $offset);
sql('REINDEX INDEX storage_history_pkey; SELECT cfp_fold()');
seen_ok($node, 'index: cache and tables agree again');

$offset = -s $node->logfile;
sql(q{ALTER TABLE storage_latest RENAME COLUMN status TO state});
$node->wait_for_log(qr/WARNING: .*cfp cannot use table "?cfp\.storage_latest.*\n.*HINT:  To recover: 1\. undo the change/, $offset);
sql(q{ALTER TABLE storage_latest RENAME COLUMN state TO status});
wait_true($node, q{SELECT cfp.cfp_fold() >= 0});

$session->disconnect;
$storer->disconnect;
$asker->disconnect;
$node->stop;
log_ok($node,
	qr/is not used/, qr/ERROR:  cfp_rebuild_history_from_wal\(\) failed/, qr/ERROR:  the .*date.* must /,
	qr/ERROR:  permission denied/, qr/ERROR:  canceling statement/, qr/it may be corrupted/,
	qr/WARNING:  \d+ (?:lines|records|day files)/, qr/has another record of the name and version/, qr/WARNING:  day file "[^"]*wal_900001\.jsonl" was not made/,
	qr/WARNING:  terminating connection because of crash/, qr/terminated by signal 9/, qr/day files are not written: .*Permission denied/, qr/cfp cannot use table/, qr/invalid page in block/);

done_testing();
