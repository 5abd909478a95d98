# Backups: what is in them, verifying, damage of each kind, restoring, backups
# of a day's records, crashes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use DBD::Pg qw(:async);
use Digest::SHA qw(sha256_hex);
use File::Copy qw(copy move);
use File::Path qw(remove_tree);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = cfp_node('main', 'restart_after_crash = on', 'cfp.min_free_space = 0', 'cfp.retain_days = 0');
cfp_install($node);
my $zstd = $ENV{ZSTD} // 'zstd';

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

sub setting
{
	my ($name, $value) = @_;
	sql("ALTER DATABASE postgres " . (defined $value ? "SET $name = '$value'" : "RESET $name"));
	return;
}

# Backups are made by the close of day, which goes on where the row of the
# date says: behind the fold.
sub begin_backup
{
	my ($date) = @_;
	sql("INSERT INTO cfp.storage_days (date, started, items_folded) VALUES ('$date', now(), 0)");
	sql('SELECT pg_reload_conf()');
	return;
}

sub end_backup
{
	my ($date) = @_;
	wait_true($node, "SELECT finished IS NOT NULL FROM cfp.storage_days WHERE date = '$date'");
	return;
}

sub backup
{
	my ($date) = @_;
	begin_backup($date);
	end_backup($date);
	return;
}

sub path
{
	my ($date, $file) = @_;
	my ($dir) = glob $node->data_dir . "/cfp/*_postgres/$date";
	return defined $dir ? "$dir/$file" : undef;
}

sub manifest
{
	my ($date, $member) = @_;
	my $text = slurp_file(path($date, 'manifest.json'));
	return sql("SELECT \$m\$$text\$m\$::json ->> '$member'");
}

# Everything but txid, floats bit for bit.
my $columns = q{key, collection_name, item_name, data, data::text, value_int, float8send(value_float),
	value_string, timestamp, status, status_int, username, updated_at, version, operation};

# Keep the tables as they are now, under a name.
sub keep
{
	my ($name) = @_;
	sql("DROP TABLE IF EXISTS public.${name}_history, public.${name}_latest;
		CREATE TABLE public.${name}_history AS TABLE storage_history;
		CREATE TABLE public.${name}_latest AS TABLE storage_latest");
	return;
}

sub same_table
{
	my ($a, $b, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(
		sql("SELECT 'missing', * FROM (SELECT $columns FROM $a EXCEPT ALL SELECT $columns FROM $b) x
			UNION ALL SELECT 'too many', * FROM (SELECT $columns FROM $b EXCEPT ALL SELECT $columns FROM $a) y LIMIT 10"),
		'', $what);
}

# The tables are as they were kept; all readers agree with them.
sub restored_ok
{
	my ($name, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	same_table("public.${name}_history", 'storage_history', "$what: the history is as it was");
	same_table("public.${name}_latest", 'storage_latest', "$what: latest is as it was");
	seen_ok($node, "$what: all agree");
	is(sql('SET enable_seqscan = off; SELECT count(*) FROM storage_history WHERE key >= $$$$'),
		sql('SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;
			SELECT count(*) FROM storage_history WHERE key >= $$$$'),
		"$what: the primary key has every row");
	return;
}

# Wait until the job worker stands somewhere.
sub job_waits
{
	my ($type) = @_;
	wait_true($node, "SELECT count(*) = 1 FROM pg_stat_activity
		WHERE backend_type = 'cfp job worker' AND wait_event_type = '$type'");
	return sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'cfp job worker'");
}

#
# Values of every type, hostile names, several versions, tombstones.
#
my $long = 'é' x 900;
sql(q{
SELECT cfp_store('v', '{}', 'int', 'c', i) FROM unnest(ARRAY[0, -1, 9223372036854775807, -9223372036854775808, 9007199254740993]) i;
SELECT cfp_store('v', '{}', 'float' || f, 'c', f) FROM unnest(ARRAY[0.1, 1.0, 1e308, -5e-324, 1/3.0::float8, 9007199254740993::float8]) f;
SELECT cfp_store('v', '{}', 'string', 'c', s) FROM unnest(ARRAY['', 'a', E'quo"te \\\\ \n\t\r', E'\u00e9\u20ac\U0001F600', E'\x01\x7f']) s;
SELECT cfp_store('v', '{}', 'bool', 'c', true), cfp_store('v', '{}', 'none', 'c');
SELECT cfp_store('v', '{}', 'ts', 'c', 1, t) FROM unnest(ARRAY['infinity', '-infinity', '0044-03-15 12:00 BC', '9999-12-31 23:59:59.999999+00']::timestamptz[]) t;
SELECT cfp_store('v', '{"status": "held \"x\"", "status_int": -2147483648, "username": "anna", "timestamp": "2024-02-29T23:59:59.123456+14:00"}', 'special', 'c', 1);
SELECT cfp_store('v', ('{"n": 1e-300, "big": ' || repeat('9', 400) || ', "deep": ' || repeat('[', 500) || repeat(']', 500) ||
	', "nul": null, "t": true, "e": {}, "u": "\u0001\u001f\u2028é😀"}')::jsonb, 'data', 'c');
SELECT cfp_store('v', jsonb_build_object('x', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 100000) i)), 'toasted', 'c',
	(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 10000) i));
SELECT cfp_store('v', jsonb_build_object('x', repeat('compressible ', 10000)), 'compressed', 'c');
SELECT cfp_store('t', '{}', 'gone', 'c', 1), cfp_delete('t', 'gone', 'c'), cfp_store('t', '{}', 'back', 'c', 1), cfp_delete('t', 'back', 'c'), cfp_store('t', '{}', 'back', 'c', 2);
SELECT cfp_store(n, '{}', n, n, n) FROM unnest(ARRAY['', 'quo''te"', E'new\nline', 'a:b/c\d', '../..', '%41%', E'\\\\.', E'\u00e9\u20ac\U0001F600', ' ', E'\t', 'NULL', E'\x01']) n;
SELECT count(cfp_store('k' || i % 7, jsonb_build_object('i', i), 'i' || i % 1000, 'c' || i % 3, i)) FROM generate_series(1, 3000) i;});
sql("SELECT cfp_store('$long', '{}', 'long', '', 'long')");
sql('SELECT cfp_fold()');
keep('first');
my $rows = sql('SELECT (SELECT count(*) FROM storage_history) + (SELECT count(*) FROM storage_latest)');

backup('2020-02-29');
is(sql(q{SELECT error IS NULL FROM storage_days WHERE date = '2020-02-29'}), 't', 'the backup has no error');
is(sql(q{SELECT backup_bytes FROM storage_days WHERE date = '2020-02-29'}),
	(-s path('2020-02-29', 'storage_history.backup')) + (-s path('2020-02-29', 'storage_latest.backup')),
	'backup_bytes are those of the files');
is(sql('SELECT count(*) FROM pg_ls_dir($$' . path('2020-02-29', '') . '$$)'), '3', 'two files and the manifest');
is(manifest('2020-02-29', 'history'), 'full', 'a small history is backed up whole');
is(manifest('2020-02-29', 'date'), '2020-02-29', 'its manifest has the date');
is(sql(q{SELECT cfp_verify_backup('2020-02-29')}), $rows, 'it is right, and has all rows');

# By hand.
my $compressed = manifest('2020-02-29', 'compression') eq 'zstd';
my @read = $compressed ? ($zstd, '-dcq') : ('cat');
SKIP:
{
	skip 'no program zstd', 2 if $compressed && system("$zstd --version >/dev/null 2>&1") != 0;
	foreach my $table ('history', 'latest')
	{
		sql("CREATE TABLE public.by_hand_$table (LIKE storage_$table)");
		my $file = path('2020-02-29', "storage_$table.backup");
		my $connection = $node->connstr('postgres');
		system("@read '$file' | psql -XqAt -d \"$connection\" -c 'COPY public.by_hand_$table FROM STDIN (FORMAT binary)'");
		same_table("public.by_hand_$table", "public.first_$table", "$table by hand");
	}
}

#
# Damage.
#
sub damage
{
	my ($file, $how) = @_;
	my $path = path('2020-02-29', $file);
	copy($path, "$path.good");
	$how->($path);
	return;
}

sub repair
{
	my ($file) = @_;
	my $path = path('2020-02-29', $file);
	move("$path.good", $path);
	return;
}

sub rewrite
{
	my ($path, $how) = @_;
	my $text = slurp_file($path);
	$text = $how->($text);
	open my $fh, '>:raw', $path or die $!;
	print $fh $text;
	close $fh;
	return;
}

foreach my $file ('storage_history.backup', 'storage_latest.backup')
{
	my $size = -s path('2020-02-29', $file);
	my %kinds = (
		'a byte at the beginning' => [ 'XX001', sub { substr($_[0], 0, 1) ^= "\x01"; $_[0] } ],
		'a byte in the middle' => [ 'XX001', sub { substr($_[0], $size / 2, 1) ^= "\x10"; $_[0] } ],
		'the last byte' => [ 'XX001', sub { substr($_[0], -1, 1) ^= "\x80"; $_[0] } ],
		'cut in the middle' => [ 'XX001', sub { substr($_[0], 0, $size / 2) } ],
		'cut by a byte' => [ 'XX001', sub { substr($_[0], 0, $size - 1) } ],
		'empty' => [ 'XX001', sub { '' } ],
		'longer by a byte' => [ 'XX001', sub { $_[0] . "\0" } ],
		'twice itself' => [ 'XX001', sub { $_[0] . $_[0] } ]);
	foreach my $kind (sort keys %kinds)
	{
		my ($state, $how) = @{ $kinds{$kind} };
		damage($file, sub { rewrite($_[0], $how) });
		foreach my $call (q{cfp_verify_backup('2020-02-29')}, q{cfp_restore_backup('2020-02-29', true)})
		{
			state_is($node, 'postgres', "SELECT $call", $state, qr/ERROR:.*\Q$file\E/s, "$file, $kind: $call");
		}
		repair($file);
	}
	damage($file, sub { unlink $_[0] });
	state_is($node, 'postgres', q{SELECT cfp_verify_backup('2020-02-29')}, '58P01', qr/\Q$file\E/, "$file missing");
	repair($file);
}

# A manifest with the checksum of what it says.
sub sealed
{
	my ($text) = @_;
	$text =~ s/^  "checksum": .*//ms;
	return $text . sprintf qq(  "checksum": "%s"\n}\n), sha256_hex($text);
}

is(sealed(slurp_file(path('2020-02-29', 'manifest.json'))), slurp_file(path('2020-02-29', 'manifest.json')),
	'the last member of a manifest is the SHA-256 of the lines before it');

damage('manifest.json', sub { unlink $_[0] });
state_is($node, 'postgres', q{SELECT cfp_verify_backup('2020-02-29')}, '58P01', qr/no complete backup of 2020-02-29/, 'no manifest');
repair('manifest.json');
state_is($node, 'postgres', q{SELECT cfp_restore_backup('2020-02-28')}, '58P01', qr/There are backups of: 2020-02-29/, 'no such date');
my %manifests = (
	'cut' => [ sub { substr($_[0], 0, length($_[0]) / 2) }, qr/cut or not JSON/ ],
	'empty' => [ sub { '' }, qr/cut or not JSON/ ],
	'an array' => [ sub { '[]' }, qr/format/ ],
	'not UTF-8' => [ sub { sealed($_[0] =~ s/"database": "[^"]*/$&\xff/r) }, qr/cut or not JSON/ ],
	'with a byte changed' => [ sub { $_[0] =~ s/"compression": "./"compression": "Z/r }, qr/checksum/ ],
	'with a blank more' => [ sub { "$_[0] " }, qr/checksum/ ],
	'without a checksum' => [ sub { $_[0] =~ s/,\n  "checksum".*/\n}\n/sr }, qr/checksum/ ],
	'of another format' => [ sub { sealed($_[0] =~ s/"format": 2/"format": 3/r) }, qr/format/ ],
	'of another server' => [ sub { sealed($_[0] =~ s/"system_identifier": "\d/"system_identifier": "1/r =~ s/"database": "postgres"/"database": "\xc3\xb6ther"/r =~ s/"database_oid": \d+/"database_oid": 99/r) }, qr/database "\xc3\xb6ther" \(oid 99\)/ ],
	'of no server' => [ sub { sealed($_[0] =~ s/"system_identifier": "\d/"system_identifier": "x/r) }, qr/missing in it/ ],
	'of another date' => [ sub { sealed($_[0] =~ s/"date": "2020-02-29"/"date": "2020-02-28"/r) }, qr/not of this date/ ],
	'without a file' => [ sub { sealed($_[0] =~ s/storage_latest/storage_nothing/r) }, qr/missing in it/ ],
	'without a sum' => [ sub { sealed($_[0] =~ s/"sha256"/"md5"/r) }, qr/missing in it/ ],
	'with a sum that is none' => [ sub { sealed($_[0] =~ s/"sha256": "./"sha256": "x/r) }, qr/missing in it/ ],
	'with very many rows' => [ sub { sealed($_[0] =~ s/"rows": \d+/"rows": 9223372036854775807/r) }, qr/missing in it/ ]);
foreach my $kind (sort keys %manifests)
{
	my ($how, $pattern) = @{ $manifests{$kind} };
	damage('manifest.json', sub { rewrite($_[0], $how) });
	foreach my $call (q{cfp_verify_backup('2020-02-29')}, q{cfp_restore_backup('2020-02-29', true)})
	{
		state_is($node, 'postgres', "SELECT $call", 'XX001', qr/manifest\.json.*$pattern/s, "manifest $kind: $call");
	}
	repair('manifest.json');
}
damage('manifest.json', sub { rewrite($_[0], $manifests{'of another server'}[0]) });
state_is($node, 'postgres', q{SET client_encoding = LATIN1; SELECT cfp_verify_backup('2020-02-29')}, 'XX001', qr/database "\xf6ther"/,
	'the name of another database is in the encoding of the client');
repair('manifest.json');
damage('manifest.json', sub { rewrite($_[0], sub { sealed($_[0] =~ s/"rows": (\d+)/'"rows": ' . ($1 + 1)/er) }) });
state_is($node, 'postgres', q{SELECT cfp_verify_backup('2020-02-29')}, 'XX001', qr/rows/, 'another number of rows');
repair('manifest.json');
is(sql(q{SELECT cfp_verify_backup('2020-02-29')}), $rows, 'repaired, it is right');
restored_ok('first', 'after failed restores');

#
# Restoring.
#
is(sql(q{SELECT cfp_restore_backup('2020-02-29')}), $rows, 'restored over itself: it returns the rows');
restored_ok('first', 'restored over itself');
is(sql(q{SELECT count(*) FROM storage_history WHERE txid <> '2'}), '0', 'what was restored is not new');

my %losses = (
	'both emptied' => 'TRUNCATE storage_history, storage_latest',
	'the history emptied' => 'TRUNCATE storage_history',
	'latest emptied' => 'TRUNCATE storage_latest',
	'rows deleted' => q{DELETE FROM storage_history WHERE key = 'v'; DELETE FROM storage_latest WHERE key = 'v'},
	'rows changed' => q{UPDATE storage_history SET data = '{"by": "hand"}' WHERE key = 'v' AND collection_name = 'c'});
foreach my $loss (sort keys %losses)
{
	# the file's encoding is the database's
	setting('client_encoding', $loss =~ /history/ ? 'LATIN1' : undef);
	sql($losses{$loss});
	is(sql(q{SELECT cfp_restore_backup('2020-02-29')}), $rows, "$loss: restored");
	restored_ok('first', $loss);
}

# Newer records are lost only when told so; a session with a cache sees it.
my $session = connect_node($node);
$session->do(q{SELECT cfp_store('v', '{}', 'int', 'c', 4711)});
is($session->selectrow_array(q{SELECT cfp_get_value('v', 'int', 'c')}), '4711', 'an item is stored anew');
state_is($node, 'postgres', q{SELECT cfp_restore_backup('2020-02-29')}, '55000', qr/newer records of 1 item\b.*discard_newer/s, 'a newer record');
$session->do(q{SELECT cfp_store('new', '{}', 'item', 'c', 1)});
state_is($node, 'postgres', q{SELECT cfp_restore_backup('2020-02-29')}, '55000', qr/newer records of 2 items/, 'and a new item');
$session->do(q{SELECT cfp_fold()});
state_is($node, 'postgres', q{SELECT cfp_restore_backup('2020-02-29')}, '55000', qr/newer records of 2 items/, 'both folded');
$session->do(q{DELETE FROM storage_history WHERE key = 'new'});
state_is($node, 'postgres', q{SELECT cfp_restore_backup('2020-02-29')}, '55000', qr/newer records of 2 items/, 'one in latest only');
is($session->selectrow_array(q{SELECT cfp_get_value('v', 'int', 'c')}), '4711', 'a refused restore changes nothing');
$session->do(q{SELECT cfp_store('new', '{}', 'not flushed', 'c', 2)});
is(sql(q{SELECT cfp_restore_backup('2020-02-29', discard_newer => true)}), $rows, 'told so, it restores');
is(sql(q{SELECT count(*) FROM cfp_wal_files f, cfp_read_wal(f.date) r WHERE r.item_name = 'not flushed'}), '1',
	'what is discarded stands in the day files, also if it was just committed');
is($session->selectrow_array(q{SELECT cfp_get_value('v', 'int', 'c')}), '9007199254740993', 'an open session sees the restored value');
is($session->selectrow_array(q{SELECT cfp_get('new', 'item', 'c')}), undef, 'and not the discarded item');
restored_ok('first', 'newer discarded');
is($session->selectrow_array(q{SELECT cfp_store('v', '{}', 'int', 'c', 1, expected_version => 5)}), '7', 'versions go on from what was discarded');

# Stores in flight are waited for, later ones wait.
my $before = connect_node($node);
my $restorer = connect_node($node);
my $after = connect_node($node);
$before->do('BEGIN');
$before->do(q{SELECT cfp_store('v', '{}', 'int', 'c', 2)});
$restorer->do(q{SELECT cfp_restore_backup('2020-02-29', true)}, { pg_async => PG_ASYNC });
job_waits('Lock');
is(sql('SELECT done * 2 = total FROM cfp_stat_progress WHERE done > 0'), 't', 'it has verified, and shows it');
$after->do(q{SELECT cfp_store('v', '{}', 'int', 'c', 3)}, { pg_async => PG_ASYNC });
$node->poll_query_until('postgres', "SELECT cardinality(pg_blocking_pids($after->{pg_pid})) > 0")
  or fail('a later store waits for the restore');
$before->do('COMMIT');
ok(succeeded($restorer), 'the restore goes on after the store');
ok(succeeded($after), 'the later store goes on after the restore');
is(sql(q{SELECT version || ':' || value_int FROM cfp_item('v', 'int', 'c')}), '9:3', 'its version follows those that were discarded');
is(sql(q{SELECT count(*) FROM storage_history WHERE key = 'v' AND item_name = 'int'}), '6', 'the earlier one was discarded');
seen_ok($node, 'after a restore among stores: all agree');

# Who calls it may not block it.
$before->do('BEGIN');
$before->do(q{SELECT cfp_store('v', '{}', 'int', 'c', 2)});
ok(!eval { $before->do(q{SELECT cfp_restore_backup('2020-02-29', true)}); 1 }, 'a restore behind the own store fails');
is($before->state, '40P01', 'it is a deadlock');
$before->do('ROLLBACK');

# Nor wait behind a job that waits for it.
$before->do('BEGIN');
$before->do(q{SELECT cfp_store('v', '{}', 'int', 'c', 2)});
$restorer->do(q{SELECT cfp_restore_backup('2020-02-29', true)}, { pg_async => PG_ASYNC });
job_waits('Lock');
$before->do('SET LOCAL statement_timeout = 60000');
ok(!eval { $before->do(q{SELECT cfp_verify_backup('2020-02-29')}); 1 }, 'a job behind one that waits for the caller fails');
is($before->state, '40P01', 'it is a deadlock, too');
$before->do('ROLLBACK');
ok(succeeded($restorer), 'then the first one goes on');
is(sql(q{SELECT cfp_store('v', '{}', 'int', 'c', 3)}), '10', 'and has restored');

# Cancelled, it changes nothing.
$before->do('BEGIN');
$before->do('LOCK storage_latest IN ACCESS SHARE MODE');
$restorer->do(q{SELECT cfp_restore_backup('2020-02-29', true)}, { pg_async => PG_ASYNC });
my $job = job_waits('Lock');
$restorer->pg_cancel;
wait_true($node, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $job)");
$before->do('COMMIT');
is(sql(q{SELECT value_int FROM cfp_item('v', 'int', 'c')}), '3', 'a cancelled restore changes nothing');
is(sql(q{SELECT cfp_restore_backup('2020-02-29', true)}), $rows, 'the next one works');
restored_ok('first', 'after a cancelled restore');
$_->disconnect foreach ($before, $restorer, $after);

#
# One snapshot: pairs of items that are always stored together.
#
sql(q{SELECT cfp_store('pair', '{}', 'a', 'c', 0), cfp_store('pair', '{}', 'b', 'c', 0); SELECT cfp_fold()});

# A process that stores two items in each transaction, until it is ended.
my @writers;
END { kill 'KILL', @writers }

sub start_writer
{
	my ($key, $pause) = @_;
	my $pid = fork;

	if ($pid == 0)
	{
		eval {
			my $child = connect_node($node);
			for (my $i = 1;; $i++)
			{
				$child->do('BEGIN');
				$child->do("SELECT cfp_store('$key', '{}', 'a', 'c', $i)");
				usleep(rand $pause);
				$child->do("SELECT cfp_store('$key', '{}', 'b', 'c', $i)");
				$child->do('COMMIT');
				usleep(rand $pause);
			}
		};
		require POSIX;
		POSIX::_exit(0);
	}
	push @writers, $pid;
	return;
}

sub end_writers
{
	kill 'TERM', @writers;
	waitpid $_, 0 foreach @writers;
	@writers = ();
	return;
}

start_writer('pair', 0);
backup('2020-03-01');
end_writers();
sql('SELECT cfp_flush()');
keep('busy');
like(sql(q{SELECT cfp_verify_backup('2020-03-01')}), qr/^\d+$/, 'a backup among stores is right');
sql(q{SELECT cfp_restore_backup('2020-03-01', true)});
is(sql(q{SELECT count(DISTINCT v) FROM (SELECT max(version) v FROM storage_history WHERE key = 'pair' GROUP BY item_name) x}), '1',
	'it has whole transactions');
is(sql(q{SELECT count(*) FROM storage_latest l WHERE NOT EXISTS (SELECT FROM storage_history h
	WHERE (h.key, h.collection_name, h.item_name, h.version, h.updated_at) = (l.key, l.collection_name, l.item_name, l.version, l.updated_at))}),
	'0', 'both of its files are of one moment');
is(sql("SELECT count(*) FROM (SELECT $columns FROM storage_history EXCEPT ALL SELECT $columns FROM busy_history) x"), '0', 'and nothing else');

#
# Backups of a day's records.
#
sub store_day
{
	my ($n) = @_;
	sql("SELECT cfp_store('day', '{}', 'item$n', 'c', $n), cfp_store('day', '{}', 'every', 'c', $n); SELECT cfp_fold()");
	return;
}

setting('cfp.backup_history', 'day');
sql(q{SELECT cfp_fold()});
wait_true($node, q{SELECT NOT EXISTS (SELECT FROM cfp.cfp_state WHERE name = 'reconcile')});
backup('2020-04-01');
is(manifest('2020-04-01', 'history'), 'full', 'after a change by hand the backup is full');

# A transaction that began before a backup and ends after it.
my $open = connect_node($node);
$open->do('BEGIN');
$open->do(q{SELECT cfp_store('day', '{}', 'open', 'c', 0)});
store_day(2);
backup('2020-04-02');
is(manifest('2020-04-02', 'history'), 'day', 'the next has that day\'s records');
is(manifest('2020-04-02', 'builds_on'), '2020-04-01', 'and says what it builds on');
$open->do('COMMIT');
store_day(3);
backup('2020-04-03');
is(manifest('2020-04-03', 'builds_on'), '2020-04-02', 'so does the next');
keep('chain');
is(sql(q{SELECT cfp_restore_backup('2020-04-03')}), sql('SELECT (SELECT count(*) FROM storage_history) + (SELECT count(*) FROM storage_latest)'),
	'restored from the whole chain');
restored_ok('chain', 'chain');
sql('TRUNCATE storage_history, storage_latest');
sql(q{SELECT cfp_restore_backup('2020-04-03')});
restored_ok('chain', 'chain, after a loss');
sql('SELECT cfp_fold()');
wait_true($node, q{SELECT NOT EXISTS (SELECT FROM cfp.cfp_state WHERE name = 'reconcile')});
store_day(4);
backup('2020-04-04');
is(manifest('2020-04-04', 'history'), 'full', 'after a restore the backup is full');
store_day(5);
backup('2020-04-05');
is(manifest('2020-04-05', 'history'), 'day', 'then it is of the day again');

# A change by hand while a backup is written counts for the next.
setting('cfp.debug_waitpoint', 'backup_written');
store_day(6);
begin_backup('2020-04-06');
job_waits('Extension');
setting('cfp.debug_waitpoint');
sql(q{DELETE FROM storage_history WHERE key = 'day' AND item_name = 'item5'; DELETE FROM storage_latest WHERE key = 'day' AND item_name = 'item5'; SELECT cfp_fold()});
wait_true($node, q{SELECT NOT EXISTS (SELECT FROM cfp.cfp_state WHERE name = 'reconcile')});
sql(q{SET cfp.debug_release = 'backup_written'});
end_backup('2020-04-06');
is(manifest('2020-04-06', 'history'), 'day', 'a change by hand during a backup is not in it');
store_day(7);
backup('2020-04-07');
is(manifest('2020-04-07', 'history'), 'full', 'the backup after it is full');
setting('cfp.backup_history', 'auto');
store_day(8);
backup('2020-04-08');
is(manifest('2020-04-08', 'history'), 'full', 'auto: a small history is backed up whole');

# A broken chain.
setting('cfp.backup_history', 'day');
foreach my $day (9 .. 11)
{
	store_day($day);
	backup(sprintf '2020-04-%02d', $day);
}
is(manifest('2020-04-11', 'builds_on'), '2020-04-10', 'a chain again');
keep('broken');
remove_tree(path('2020-04-08', ''));
like((sqlstate($node, 'postgres', q{SELECT cfp_verify_backup('2020-04-11')}))[1], qr/WARNING:.*builds on that of 2020-04-08, which is missing or damaged.*records of 2020-04-09/,
	'verify tells of a broken chain');
sql(q{DELETE FROM storage_history WHERE key = 'day' AND item_name IN ('item10', 'item11');
UPDATE storage_history SET value_int = -1 WHERE key = 'day' AND item_name = 'item9';
TRUNCATE storage_latest});
like((sqlstate($node, 'postgres', q{SELECT cfp_restore_backup('2020-04-11')}))[1], qr/WARNING:.*of earlier ones the table keeps what it has/,
	'so does restore');
restored_ok('broken', 'broken chain');
sql(q{SELECT cfp_store('day', '{}', 'item4', 'c', 99), cfp_store('day', '{}', 'item11', 'c', 99), cfp_store('day', '{}', 'item99', 'c', 99)});
state_is($node, 'postgres', q{SELECT cfp_restore_backup('2020-04-11')}, '55000', qr/newer records of 3 items/, 'broken chain: newer records');
sql(q{SELECT cfp_restore_backup('2020-04-11', true)});
restored_ok('broken', 'broken chain, newer discarded');

# Another backup of the date it builds on, or another date.
wait_true($node, q{SELECT NOT EXISTS (SELECT FROM cfp.cfp_state WHERE name = 'reconcile')});
foreach my $day (25 .. 27)
{
	store_day($day);
	backup("2020-03-$day");
}
is(manifest('2020-03-27', 'builds_on_sha256'), sql(q{SELECT m -> 'files' -> 0 ->> 'sha256' FROM (SELECT $m$}
	. slurp_file(path('2020-03-26', 'manifest.json')) . q{$m$::jsonb) x(m)}), 'a manifest knows the file it builds on');
my $kept = slurp_file(path('2020-03-27', 'manifest.json'));
rewrite(path('2020-03-27', 'manifest.json'), sub { sealed($_[0] =~ s/"builds_on": "2020-03-26"/"builds_on": "2020-03-25"/r) });
like((sqlstate($node, 'postgres', q{SELECT cfp_verify_backup('2020-03-27')}))[1], qr/WARNING:.*builds on that of 2020-03-25/,
	'what it builds on must be what it built on');
rewrite(path('2020-03-27', 'manifest.json'), sub { $kept });
unlike((sqlstate($node, 'postgres', q{SELECT cfp_verify_backup('2020-03-27')}))[1], qr/WARNING/, 'and is, when put back');

# A link of which only the manifest is there; a full backup two links back.
keep('links');
my $full = path('2020-03-25', 'storage_history.backup');
my $broken = qr/WARNING:.*builds on that of 2020-03-25, which is missing or damaged.*records of 2020-03-26/;
my $offset = -s $node->logfile;
copy($full, "$full.good");
rewrite($full, sub { substr($_[0], 0, -1) });
like((sqlstate($node, 'postgres', q{SELECT cfp_verify_backup('2020-03-27')}))[1], $broken, 'a file of the chain is cut');
unlink $full;
like((sqlstate($node, 'postgres', q{SELECT cfp_verify_backup('2020-03-27')}))[1], $broken, 'a file of the chain is missing');
backup('2020-03-28');
is(manifest('2020-03-28', 'history'), 'full', 'then the next backup is full');
like(slurp_file($node->logfile, $offset), qr/LOG:  cfp: the backup of 2020-03-28 has all of storage_history.*\n.*DETAIL:  It would need the backup of 2020-03-25/,
	'and the log says why');
like((sqlstate($node, 'postgres', q{SELECT cfp_restore_backup('2020-03-27')}))[1], qr/WARNING:.*2020-03-25, which is missing/,
	'a restore goes as far as the chain');
restored_ok('links', 'a file of the chain is missing');
move("$full.good", $full);
wait_true($node, q{SELECT NOT EXISTS (SELECT FROM cfp.cfp_state WHERE name = 'reconcile')});

# A backup that cannot build on the last one: that one is gone.
wait_true($node, q{SELECT NOT EXISTS (SELECT FROM cfp.cfp_state WHERE name = 'reconcile')});
backup('2020-04-12');
remove_tree(path('2020-04-12', ''));
backup('2020-04-13');
is(manifest('2020-04-13', 'history'), 'full', 'nothing to build on: full');

setting('cfp.backup_history', 'off');
store_day(14);
backup('2020-04-14');
keep('off');
is(manifest('2020-04-14', 'history'), 'off', 'off: no history');
ok(!-e path('2020-04-14', 'storage_history.backup'), 'off: only one file');
is(sql(q{SELECT cfp_verify_backup('2020-04-14')}), sql('SELECT count(*) FROM storage_latest'), 'off: verified');
sql('TRUNCATE storage_latest');
like((sqlstate($node, 'postgres', q{SELECT cfp_restore_backup('2020-04-14')}))[1], qr/WARNING:.*no storage_history/, 'off: restore says so');
restored_ok('off', 'off');

# One day's records after the other's among transactions of all lengths: no
# record is in none of the backups, or in two.
setting('cfp.backup_history', 'day');
sql(q{SELECT cfp_fold()});
wait_true($node, q{SELECT NOT EXISTS (SELECT FROM cfp.cfp_state WHERE name = 'reconcile')});
start_writer("chain$_", 4**$_ * 1000) foreach (0 .. 4);
foreach my $day (15 .. 24)
{
	usleep(300_000);
	backup("2020-04-$day");
	is(manifest("2020-04-$day", 'history'), $day == 15 ? 'full' : 'day', "chain of ten: backup $day");
}
end_writers();
sql(q{SELECT cfp_restore_backup('2020-04-24', true)});
is(sql(q{SELECT key, item_name, count(*), max(version) FROM storage_history WHERE key LIKE 'chain%'
	GROUP BY 1, 2 HAVING count(*) <> max(version) - min(version) + 1}), '', 'chain of ten: no version is missing');
is(sql(q{SELECT key FROM storage_history WHERE key LIKE 'chain%' GROUP BY 1
	HAVING max(version) FILTER (WHERE item_name = 'a') IS DISTINCT FROM max(version) FILTER (WHERE item_name = 'b')}), '',
	'chain of ten: transactions are whole');
is(sql(q{SELECT count(DISTINCT key) FROM storage_history WHERE key LIKE 'chain%'}), '5', 'chain of ten: all writers are in it');
seen_ok($node, 'chain of ten: all agree');
setting('cfp.backup_history');

#
# What goes wrong while writing.
#
sub no_backup
{
	my ($date, $what) = @_;
	my @files = grep { -e $_ } map { path($date, $_) } ('manifest.json', 'storage_history.backup', 'storage_latest.backup');
	is("@files", '', "$what: no file has its name");
	return;
}

# The directory of the date cannot be written.
my $dir = path('2020-04-14', '') =~ s/2020-04-14.*/2020-05-01/r;
mkdir $dir;
chmod 0500, $dir;
begin_backup('2020-05-01');
wait_true($node, q{SELECT error IS NOT NULL FROM cfp.storage_days WHERE date = '2020-05-01'});
like(sql(q{SELECT error FROM storage_days WHERE date = '2020-05-01'}), qr/could not .*Permission denied/, 'a directory that cannot be written');
no_backup('2020-05-01', 'a directory that cannot be written');
sql(q{SELECT cfp_store('k', '{}', 'meanwhile', 'c')});
seen_ok($node, 'meanwhile all agree');
chmod 0700, $dir;
end_backup('2020-05-01');
is(sql(q{SELECT error IS NULL FROM storage_days WHERE date = '2020-05-01'}), 't', 'when it can be written again the backup is made');
like(sql(q{SELECT cfp_verify_backup('2020-05-01')}), qr/^\d+$/, 'and is right');

# Too little space.
setting('cfp.min_free_space', '1000TB');
begin_backup('2020-05-02');
wait_true($node, q{SELECT error IS NOT NULL FROM cfp.storage_days WHERE date = '2020-05-02'});
like(sql(q{SELECT error FROM storage_days WHERE date = '2020-05-02'}), qr/less than cfp.min_free_space/, 'too little space');
no_backup('2020-05-02', 'too little space');
is(join(' ', glob path('2020-05-02', '*.tmp')), '', 'too little space: nor is anything left of the try');
setting('cfp.min_free_space');
sql('SELECT pg_reload_conf()');
end_backup('2020-05-02');
like(sql(q{SELECT cfp_verify_backup('2020-05-02')}), qr/^\d+$/, 'with space it is made');

# A backup of another database is in its place.
mkdir path('2020-05-02', '') =~ s/05-02/05-20/r;
copy(path('2020-05-02', 'manifest.json'), path('2020-05-20', 'manifest.json'));
rewrite(path('2020-05-20', 'manifest.json'), $manifests{'of another server'}[0]);
begin_backup('2020-05-20');
wait_true($node, q{SELECT error IS NOT NULL FROM cfp.storage_days WHERE date = '2020-05-20'});
like(sql(q{SELECT error FROM storage_days WHERE date = '2020-05-20'}), qr/has a backup of another database/, "another database's backup stays");
move(path('2020-05-20', ''), path('2020-05-02', '') =~ s/2020-05-02.*/elsewhere/r);
end_backup('2020-05-20');
like(sql(q{SELECT cfp_verify_backup('2020-05-20')}), qr/^\d+$/, 'when it is moved away the backup is made');

# Pipes in the place of its files.
mkdir path('2020-05-02', '') =~ s/05-02/05-21/r;
require POSIX;
POSIX::mkfifo(path('2020-05-21', $_), 0600) or die $! foreach ('manifest.json', 'storage_history.backup', 'storage_latest.backup.tmp');
backup('2020-05-21');
like(sql(q{SELECT cfp_verify_backup('2020-05-21')}), qr/^\d+$/, 'a backup takes the place of pipes');
damage('storage_latest.backup', sub { unlink $_[0]; POSIX::mkfifo($_[0], 0600) or die $! });
state_is($node, 'postgres', q{SET statement_timeout = '20s'; SELECT cfp_verify_backup('2020-02-29')}, 'XX001', qr/ends too early/, 'a pipe is no backup');
repair('storage_latest.backup');

# Killed.
my $day = 3;
foreach my $point ('backup_written', 'backup_renamed')
{
	foreach my $who ('job worker', 'server')
	{
		my $date = sprintf '2020-05-%02d', $day++;
		setting('cfp.debug_waitpoint', $point);
		begin_backup($date);
		my $pid = job_waits('Extension');
		ok(!-e path($date, 'manifest.json'), "$who at $point: not complete");
		setting('cfp.debug_waitpoint');
		if ($who eq 'server')
		{
			$node->kill9;
			until ($node->start(fail_ok => 1))
			{
				# its last processes may still be there
				usleep(100_000);
				$node->stop('fast', fail_ok => 1);
			}
		}
		else
		{
			my $witness = connect_node($node);
			kill 'KILL', $pid;
			usleep(10_000) while eval { $witness->do('SELECT 1'); 1 };
			wait_true($node, 'SELECT true');
		}
		end_backup($date);
		keep('killed');
		is(sql("SELECT cfp_verify_backup('$date')"), sql('SELECT (SELECT count(*) FROM storage_history) + (SELECT count(*) FROM storage_latest)'),
			"$who at $point: then it is complete");
		is(sql('SELECT count(*) FROM pg_ls_dir($$' . path($date, '') . '$$)'), '3', "$who at $point: nothing else is left");
	}
}

# A backup of a past that was undone: the data directory is put back from a
# copy, and cfp's files, as on another disk, are not.
my $data = $node->data_dir;
sql(q{SELECT cfp_flush()});
$node->stop;
system('cp', '-a', $data, "$data.copy");
$node->start;
wait_worker($node);
sql(q{SELECT cfp_store('past', '{}', value => 'given up')});
backup('2020-05-07');
$node->stop;
remove_tree("$data.copy/cfp");
move("$data/cfp", "$data.copy/cfp");
remove_tree($data);
move("$data.copy", $data);
$node->start;
wait_worker($node);
sql(q{SELECT cfp_store('past', '{}', value => 'kept')});
backup('2020-05-07');
sql(q{SELECT cfp_restore_backup('2020-05-07', true)});
is(sql(q{SELECT cfp_get_text('past')}), 'kept', 'a date closed anew is backed up anew');

# The manifest is of another past than the row: of one that was tried between.
sql('SELECT cfp_fold()');
wait_true($node, q{SELECT NOT EXISTS (SELECT FROM cfp.cfp_state WHERE name = 'reconcile')});
setting('cfp.backup_history', 'day');
backup('2020-05-09');
sql(q{UPDATE cfp_state SET at = at + '1 us' WHERE name = 'backup'});
backup('2020-05-10');
is(manifest('2020-05-10', 'history'), 'full', 'nothing builds on the backup of another past');
backup('2020-05-11');
is(manifest('2020-05-11', 'builds_on'), '2020-05-10', 'but on that of its own');
sql(q{UPDATE cfp_state SET at = at + '1 us' WHERE name = 'backup'});
my $other = slurp_file(path('2020-05-11', 'manifest.json'));
sql(q{UPDATE storage_days SET finished = NULL, backup_bytes = NULL WHERE date = '2020-05-11'; SELECT pg_reload_conf()});
end_backup('2020-05-11');
isnt(slurp_file(path('2020-05-11', 'manifest.json')), $other, 'a date that has one of another past is backed up anew');
$other = slurp_file(path('2020-05-11', 'manifest.json'));
sql(q{UPDATE storage_days SET finished = NULL, backup_bytes = NULL WHERE date = '2020-05-11'; SELECT pg_reload_conf()});
end_backup('2020-05-11');
is(slurp_file(path('2020-05-11', 'manifest.json')), $other, 'one that has its own is not');
setting('cfp.backup_history');

# What a backup has, a crash cannot take back.  Nobody else writes WAL through.
setting('cfp.debug_waitpoint', 'backup_written');
my $walwriter = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'});
my $committer = connect_node($node);
$committer->do('SET synchronous_commit = off');
$committer->do(q{SELECT cfp_flush()});
kill 'STOP', $walwriter;
$committer->do(q{INSERT INTO storage_days (date, started, items_folded) VALUES ('2020-05-08', now(), 0)});
$committer->do(q{SELECT cfp_store('async', '{}')});
my ($lsn) = $committer->selectrow_array('SELECT pg_current_wal_insert_lsn()');
$committer->do('SELECT pg_reload_conf()');
job_waits('Extension');
is($committer->selectrow_array('SELECT pg_current_wal_flush_lsn() >= ?::pg_lsn', undef, $lsn), '1',
	'what a backup has is on the disk before its manifest');
kill 'CONT', $walwriter;
setting('cfp.debug_waitpoint');
sql(q{SET cfp.debug_release = 'backup_written'});
end_backup('2020-05-08');
$committer->disconnect;

# A name that is not valid in the encoding of the database it names.
$node->safe_psql('postgres', q{CREATE DATABASE latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'});
$node->safe_psql('latin1', qq{SET client_encoding = LATIN1; CREATE DATABASE "caf\xe9" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'});
$node->safe_psql("caf\xe9", 'CREATE SCHEMA cfp; CREATE EXTENSION cfp SCHEMA cfp');
wait_worker($node, "caf\xe9");
$node->safe_psql("caf\xe9", q{SELECT cfp.cfp_store('k', '{}'), cfp.cfp_flush()});
$node->safe_psql("caf\xe9", q{SELECT cfp.cfp_flush()});
is((sqlstate($node, "caf\xe9", q{SELECT cfp.cfp_rebuild_history_from_wal(max(date)) FROM cfp.cfp_wal_files}))[1], '',
	'a day file of a database with a strange name has no bad line');
$node->safe_psql("caf\xe9", q{INSERT INTO cfp.storage_days (date, started, items_folded) VALUES ('2020-05-09', now(), 0); SELECT pg_reload_conf()});
$node->poll_query_until("caf\xe9", q{SELECT finished IS NOT NULL FROM cfp.storage_days WHERE date = '2020-05-09'});
is($node->safe_psql("caf\xe9", q{SELECT cfp.cfp_verify_backup('2020-05-09')}), '1', 'nor is its backup damaged');
$node->safe_psql('latin1', qq{SET client_encoding = LATIN1; DROP DATABASE "caf\xe9"});

#
# A heap file that is really damaged.
#
keep('heap');
backup('2020-06-01');
foreach my $table ('storage_history', 'storage_latest')
{
	my $file = sql("SELECT pg_relation_filepath('$table')");
	sql('CHECKPOINT');
	$node->stop;
	open my $fh, '+<:raw', $node->data_dir . "/$file" or die $!;
	print $fh "\xaa" x 8192;
	close $fh;
	# else the index alone might answer what is newer
	unlink $node->data_dir . "/${file}_vm";
	$node->start;
	wait_worker($node);
	state_is($node, 'postgres', "SELECT count(data) FROM $table", 'XX001', qr/invalid page/, "$table is damaged");
	state_is($node, 'postgres', q{SELECT cfp_restore_backup('2020-06-01')}, 'XX001', qr/invalid page.*HINT:.*discard_newer/s,
		"$table is damaged: newer records cannot be looked for");
	like(sql(q{SELECT cfp_restore_backup('2020-06-01', true)}), qr/^\d+$/, "$table is damaged: restored without looking");
	restored_ok('heap', "$table was damaged");
}

#
# Privileges.
#
sql('CREATE ROLE nobody LOGIN; GRANT USAGE ON SCHEMA cfp TO nobody; CREATE ROLE keeper LOGIN; GRANT USAGE ON SCHEMA cfp TO keeper;
GRANT EXECUTE ON FUNCTION cfp_verify_backup(date), cfp_restore_backup(date, boolean) TO keeper');
foreach my $call (q{cfp_verify_backup('2020-06-01')}, q{cfp_restore_backup('2020-06-01', true)})
{
	state_is($node, 'postgres', "SELECT $call", '42501', undef, "nobody: $call", extra_params => [ '-U', 'nobody' ]);
	state_is($node, 'postgres', "SELECT $call", '00000', undef, "keeper: $call", extra_params => [ '-U', 'keeper' ]);
}
state_is($node, 'postgres', 'SELECT cfp_verify_backup(NULL)', '22004', qr/date must not be null/, 'no date');
state_is($node, 'postgres', q{SELECT cfp_restore_backup('infinity')}, '22023', qr/date must be finite/, 'no end of days');
latest_ok($node, 'latest is right in the end') if sql('SELECT cfp_fold() IS NOT NULL');

$session->disconnect;
$node->stop;
log_ok(
	$node,
	qr/ERROR:  cfp_(?:verify|restore)_backup\(\) failed/,
	qr/ERROR:  cfp_restore_backup\(\).*/,
	qr/ERROR:  deadlock|ERROR:  canceling statement due to user request/,
	qr/ERROR:  permission denied for function/,
	qr/ERROR:  the date must/,
	qr/WARNING:  cfp: day files are not written: less than cfp.min_free_space/,
	qr/FATAL:  lock file "postmaster.pid" already exists/,
	qr/WARNING:  the backup (?:builds on|has no)/,
	qr/WARNING:  cfp: close of day failed: could not back up 2020-05-(?:01|02|20)/,
	qr/(?:ERROR|WARNING):  .*(?:invalid page|page verification)/,
	qr/terminating connection because of crash of another server process/,
	qr/FATAL:  the database system is (?:in recovery mode|starting up|not yet accepting connections)/,
	qr/FATAL:  connection to client lost/,
	qr/not properly shut down/);
done_testing();
