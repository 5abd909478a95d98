# The close of day killed at each of its steps: afterwards each record is once
# in the history and once in the files, each date closed once, its backup good.
# Then: dates that were skipped, closes that were asked for, backups that fail,
# flushing meanwhile, settings changed meanwhile.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use DBD::Pg qw(:async);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = cfp_node('main', 'restart_after_crash = on', 'max_worker_processes = 30',
	'cfp.min_free_space = 0', "cfp.timezone = 'UTC'", "cfp.end_of_day = '00:00'");
my $databases = 0;

# A database whose days ended `days` days ago, with stores that are flushed to
# the files of the date that is open then.
sub behind
{
	my ($days) = @_;
	my $db = 'd' . ++$databases;

	$node->safe_psql('postgres', "CREATE DATABASE $db");
	cfp_install($node, $db);
	wait_for($db, q{SELECT count(*) = 2 FROM cfp_state WHERE name IN ('day', 'files')});
	$node->safe_psql($db, qq{
BEGIN;
UPDATE cfp_state SET date = date - $days WHERE name IN ('day', 'files');
SELECT cfp_store('k', '{}', 'i' || i % 10, 'c', i) FROM generate_series(1, 50) i;
SELECT cfp_delete('k', 'i1', 'c');
COMMIT});
	$node->safe_psql($db, 'SELECT cfp_flush()');
	return $db;
}

sub wait_for
{
	my ($db, $query) = @_;

	$node->poll_query_until($db, $query) or BAIL_OUT("timed out: $query");
	return;
}

# The worker looks at the dates again.
sub reload
{
	$node->reload;
	return;
}

my $closed = q{
SELECT coalesce(bool_and(finished IS NOT NULL), false)
	AND max(date) = (now() AT TIME ZONE 'UTC')::date - 1 FROM storage_days};

sub wait_closed
{
	my ($db) = @_;

	wait_for($db, $closed);
	return;
}

# After everything: records once in history and files, dates once, all agree.
sub right_ok
{
	my ($db, $days, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is( $node->safe_psql($db, q{
SELECT count(*), count(DISTINCT date), bool_and(finished >= started),
	count(*) FILTER (WHERE error LIKE 'skipped: %' AND records = 0),
	count(*) FILTER (WHERE error IS NULL AND items_folded IS NOT NULL AND backup_bytes > 0)
FROM storage_days}),
		"$days|$days|t|" . ($days - 1) . '|1', "$what: each date is closed once");
	is($node->safe_psql($db, 'SELECT records FROM storage_days WHERE error IS NULL'),
		'51', "$what: its row counts the records");
	$node->safe_psql($db, 'SELECT cfp_fold()');
	history_ok($node, "$what: each record once in the history", $db);
	latest_ok($node, "$what: latest is the newest of each", $db);
	seen_ok($node, "$what: all agree", $db);
	is( $node->safe_psql($db, q{
WITH files AS (SELECT r.* FROM (SELECT DISTINCT date FROM cfp_wal_files) d, cfp_read_wal(d.date) r)
SELECT 'missing', * FROM (TABLE storage_history EXCEPT ALL TABLE files) m
UNION ALL
SELECT 'too many', * FROM (TABLE files EXCEPT ALL TABLE storage_history) t}),
		'', "$what: each record once in the files");
	is( $node->safe_psql($db, q{
SELECT count(*) FROM storage_days d, cfp_read_wal(d.date) WHERE d.error IS NULL}),
		'51', "$what: the records of the date are in its files");
	is( $node->safe_psql($db, q{
SELECT cfp_verify_backup(date) > 0 FROM storage_days WHERE error IS NULL}),
		't', "$what: the backup is good");
	is( $node->safe_psql($db, q{
SELECT count(*) FROM storage_days d, pg_stat_file((SELECT current_setting('cfp.base_dir') || '/' || oid || '_' || datname
	FROM pg_database WHERE datname = current_database()) || '/' || (d.date + 1), true) f
WHERE d.date = (SELECT max(date) FROM storage_days) AND f.isdir}),
		'1', "$what: the next date has its directory");
	return;
}

#
# Killed at every step
#
my %arrived = (
	day_switched => q{SELECT count(*) > 0 FROM storage_days WHERE items_folded IS NULL AND finished IS NULL},
	day_folded => q{SELECT count(*) > 0 FROM storage_days WHERE items_folded IS NOT NULL AND finished IS NULL},
	backup_written => q{SELECT wait_event_type = 'Extension' FROM pg_stat_activity
		WHERE backend_type = 'cfp job worker' AND datname = current_database()},
	backup_renamed => q{SELECT wait_event_type = 'Extension' FROM pg_stat_activity
		WHERE backend_type = 'cfp job worker' AND datname = current_database()},
	day_backed_up => q{SELECT count(*) > 0 FROM storage_days WHERE backup_bytes IS NOT NULL AND finished IS NULL},
	day_retained => q{SELECT count(*) > 0 FROM storage_days WHERE backup_bytes IS NOT NULL AND finished IS NULL});

# A database whose close stands at the waitpoint.
sub park
{
	my ($point) = @_;
	my $db = behind(2);

	$node->safe_psql('postgres', "ALTER DATABASE $db SET cfp.debug_waitpoint = '$point'");
	reload();
	wait_for($db, $arrived{$point});
	# Step aside for the moment between what was looked for and the waitpoint.
	usleep(100_000);
	is($node->safe_psql($db, "SELECT cfp_store('k', '{}', 'late', 'c', 1)"), '1', "at $point: stores go on");
	seen_ok($node, "at $point: all agree", $db);
	return $db;
}

# Take the waitpoint away.  A worker that still has it may come to it later
# than any one release.
sub go_on
{
	my ($db, $point, $until) = @_;

	$node->safe_psql('postgres', "ALTER DATABASE $db RESET cfp.debug_waitpoint");
	reload();
	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$node->safe_psql('postgres', "SET cfp.debug_release = '$point'");
		return if $node->safe_psql($db, $until // $closed) eq 't';
		usleep(100_000);
	}
	BAIL_OUT("timed out: $point");
}

foreach my $point ('day_switched', 'day_folded', 'backup_written', 'backup_renamed', 'day_backed_up', 'day_retained')
{
	my $db = park($point);
	go_on($db, $point);
	right_ok($db, 2, "$point, reload");

	$db = park($point);
	my $victim = $point =~ /^backup/
	  ? $node->safe_psql($db, q{SELECT pid FROM pg_stat_activity
		WHERE backend_type = 'cfp job worker' AND datname = current_database()})
	  : $node->safe_psql($db, 'SELECT worker_pid FROM cfp_stat');
	my $witness = connect_node($node);
	kill 'KILL', $victim;
	usleep(10_000) while eval { $witness->do('SELECT 1'); 1 };
	wait_true($node, 'SELECT true');
	go_on($db, $point);
	right_ok($db, 2, "$point, worker killed");

	$db = park($point);
	$node->stop('immediate');
	$node->start;
	go_on($db, $point);
	right_ok($db, 2, "$point, server killed");

	$db = park($point);
	$node->stop('fast');
	$node->start;
	go_on($db, $point);
	right_ok($db, 2, "$point, server stopped");
	$node->safe_psql('postgres', "DROP DATABASE d$_ WITH (FORCE)") foreach $databases - 3 .. $databases;
}

#
# The worker goes on while the backup runs
#
my $db = park('backup_written');
$node->safe_psql($db, q{SELECT cfp_store('k', '{}', 'meanwhile', 'c', 1)});
cmp_ok($node->safe_psql($db, 'SELECT cfp_flush()'), '>=', 0, 'cfp_flush is served during the backup');
cmp_ok($node->safe_psql($db, 'SELECT cfp_fold()'), '>=', 1, 'so is cfp_fold');
my $asker = connect_node($node, $db);
$asker->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($asker->selectrow_array('SELECT count(*) FROM storage_days WHERE finished IS NOT NULL'), '1', 'an old snapshot');
my $statement = $asker->prepare(q{SELECT date, error, finished IS NOT NULL FROM cfp_close_day()}, { pg_async => PG_ASYNC });
$statement->execute;
usleep(300_000);
ok(!$asker->pg_ready, 'cfp_close_day waits for the backup');
reload();
wait_worker($node, $db);
usleep(300_000);
ok(!$asker->pg_ready, 'also over a restart of the worker');
go_on($db, 'backup_written');
ok(succeeded($statement), 'it ends then');
is_deeply([ map { $_->[2] } @{ $statement->fetchall_arrayref } ], [ 1, 1 ],
	'it returns the dates closed, whatever its snapshot: also one that was skipped before');
$asker->do('COMMIT');
right_ok($db, 2, 'flushed, folded and asked meanwhile');

#
# Asked for
#
my ($state, $err) = sqlstate($node, $db, 'SELECT * FROM cfp_close_day()');
is($state, '00000', 'cfp_close_day with nothing due');
my ($next, $today) = split /\|/, $node->safe_psql($db,
	q{SET timezone = 'UTC'; SELECT to_char(next_end_of_day, 'YYYY-MM-DD HH24:MI:SS'), (next_end_of_day - interval '1 day')::date FROM cfp_stat});
like($err, qr/NOTICE:  00000: no business date is due.*DETAIL:  The next one is $today, at \Q$next\E.*HINT: .*cfp_fold\(\)/s,
	'says which date is next and when');

#
# A backup that fails: retried, shown, answered; given up when the next date is due
#
$db = behind(1);
my $dir = $node->data_dir . '/cfp/' . $node->safe_psql($db,
	"SELECT oid || '_' || datname FROM pg_database WHERE datname = '$db'");
my $date = $node->safe_psql($db, q{SELECT date + 1 FROM cfp_state WHERE name = 'day'});
mkdir "$dir/$date/storage_latest.backup.tmp" or BAIL_OUT("mkdir: $!");
chmod 0755, "$dir/$date/storage_latest.backup.tmp";
reload();
wait_for($db, 'SELECT error IS NOT NULL FROM storage_days');
is($node->safe_psql($db, q{SELECT items_folded > 0, backup_bytes, finished, error LIKE 'could not back up%' FROM storage_days}),
	't|||t', 'a backup that fails is shown in the row');
state_is($node, $db, 'SELECT * FROM cfp_close_day()', '42809', qr/cfp_close_day\(\) failed: could not back up/, 'who asks is told');
is($node->safe_psql($db, q{SELECT cfp_store('k', '{}', 'late', 'c', 1)}), '1', 'stores go on');
$node->safe_psql($db, 'SELECT cfp_flush()');
rmdir "$dir/$date/storage_latest.backup.tmp";
is($node->safe_psql($db, 'SELECT finished IS NOT NULL, error FROM cfp_close_day()'), 't|', 'it is tried again');
right_ok($db, 1, 'a backup that failed');

$db = behind(1);
$dir = $node->data_dir . '/cfp/' . $node->safe_psql($db,
	"SELECT oid || '_' || datname FROM pg_database WHERE datname = '$db'");
mkdir "$dir/$date/storage_latest.backup.tmp" or BAIL_OUT("mkdir: $!");
reload();
wait_for($db, 'SELECT error IS NOT NULL FROM storage_days');
# The close is now one of the day before that.
$node->stop;
$node->start;
wait_worker($node, $db);
$node->safe_psql($db, q{
BEGIN;
UPDATE storage_days SET date = date - 1;
UPDATE cfp_state SET date = date - 1 WHERE name = 'day';
COMMIT});
rename "$dir/$date", "$dir/x" or BAIL_OUT("rename: $!");
rename "$dir/x", "$dir/" . $node->safe_psql($db, "SELECT '$date'::date - 1");
reload();
wait_closed($db);
is($node->safe_psql($db, q{SELECT error LIKE 'could not back up%', backup_bytes IS NULL FROM storage_days ORDER BY date}),
	"t|t\n|f", 'a date is given up when the next one is due')
  or diag($node->safe_psql($db, 'TABLE storage_days'));

#
# The slot of the job comes free again: the extension is dropped during a
# backup; the worker is replaced during a backup that failed before, when the
# next date is due
#
$db = park('backup_written');
$node->safe_psql($db, 'DROP EXTENSION cfp; CREATE EXTENSION cfp SCHEMA cfp');
wait_worker($node, $db);
state_is($node, $db, q{SET statement_timeout = '60s'; SELECT cfp_rebuild_latest_from_history()}, '00000', undef,
	'a job after the extension was dropped during a backup');
$node->safe_psql('postgres', "ALTER DATABASE $db RESET cfp.debug_waitpoint");

# Late in the afternoon, see t/003.
my $zone = sprintf('<TEST>%+d', (gmtime)[2] - 17);
$db = behind(1);
$node->safe_psql('postgres', "ALTER DATABASE $db SET cfp.debug_waitpoint = 'backup_written'");
$dir = $node->data_dir . '/cfp/' . $node->safe_psql($db,
	"SELECT oid || '_' || datname FROM pg_database WHERE datname = '$db'") . "/$date";
chmod 0555, $dir or BAIL_OUT("chmod: $!");
reload();
wait_for($db, 'SELECT error IS NOT NULL FROM storage_days');
chmod 0755, $dir or BAIL_OUT("chmod: $!");
wait_for($db, $arrived{backup_written});
$node->safe_psql('postgres', qq{
ALTER DATABASE $db SET cfp.timezone = '$zone';
ALTER DATABASE $db SET cfp.end_of_day = '12:00'});
my $before = wait_worker($node, $db);
reload();
wait_for($db, "SELECT worker_pid <> $before AND worker_state NOT IN ('starting', 'flushing') FROM cfp_stat");
usleep(300_000);
go_on($db, 'backup_written', q{SELECT count(*) = 2 AND bool_and(finished IS NOT NULL) FROM storage_days});
is($node->safe_psql($db, q{SELECT backup_bytes > 0, error FROM storage_days ORDER BY date}), "t|\nt|",
	'a backup that runs when the next date is due is waited for, and the next one is made');

#
# A close while the day files cannot be written: what is written afterwards
# belongs to the open date
#
$db = behind(1);
my ($file) = glob($node->data_dir . '/cfp/' . $node->safe_psql($db,
	"SELECT oid || '_' || datname FROM pg_database WHERE datname = '$db'") . '/*/wal_000001.jsonl');
chmod 0000, $file or BAIL_OUT("chmod: $!");
$node->safe_psql($db, q{SELECT cfp_store('k', '{}', 'trouble', 'c', 1); SELECT cfp_flush()});
is($node->safe_psql($db, 'SELECT wal_behind, wal_error IS NOT NULL FROM cfp_stat'), '1|t', 'day files cannot be written');
reload();
wait_closed($db);
chmod 0600, $file or BAIL_OUT("chmod: $!");
$node->safe_psql($db, q{SELECT cfp_flush(); SELECT cfp_store('k', '{}', 'after', 'c', 1); SELECT cfp_flush()});
is($node->safe_psql($db, q{
SELECT string_agg(f.item_name, ' ' ORDER BY f.item_name) FROM storage_days d, cfp_read_wal(d.date + 1) f}),
	'after trouble', 'after a close meanwhile they are those of the open date');
is($node->safe_psql($db, q{SELECT count(*) FROM storage_days d, cfp_read_wal(d.date)}), '51', 'the closed date has what it had');
is($node->safe_psql($db, q{SELECT date - (SELECT max(date) FROM storage_days), file, counter FROM cfp_state WHERE name = 'files'}),
	'1|1|2', 'their end is saved so');

#
# Settings changed meanwhile: no date twice, none backwards
#
$db = behind(1);
reload();
wait_closed($db);
my $days = 'SELECT count(*), count(DISTINCT date), max(date) FROM storage_days';
$before = $node->safe_psql($db, $days);
foreach my $setting ("cfp.timezone = 'Pacific/Pago_Pago'", "cfp.timezone = 'Etc/GMT+12'", "cfp.timezone = 'UTC'")
{
	$node->safe_psql('postgres', "ALTER DATABASE $db SET $setting");
	reload();
	wait_worker($node, $db);
	$node->safe_psql($db, 'SELECT cfp_flush()');
	$node->safe_psql($db, 'SELECT * FROM cfp_close_day()');
	is($node->safe_psql($db, $days), $before, "$setting: no date goes back");
}
foreach my $end ('00:01', '23:59:59', '12:00', '11:59', '00:00')
{
	$node->safe_psql('postgres', "ALTER DATABASE $db SET cfp.end_of_day = '$end'");
	reload();
	wait_worker($node, $db);
	$node->safe_psql($db, 'SELECT * FROM cfp_close_day()');
	is($node->safe_psql($db, 'SELECT count(*) = count(DISTINCT date), count(*) FILTER (WHERE finished IS NULL) FROM storage_days'),
		't|0', "end of day at $end: each date once");
	is( $node->safe_psql($db, q{SELECT cfp_next_end_of_day() > now()}), 't', "end of day at $end: the next is ahead");
}

#
# Years of dates: ends of months, leap days, changes of the clock, a date that
# the zone skipped; an end of day before noon, after it, and at such a change
#
foreach my $case ([ 'Pacific/Apia', '00:00', '2011-12-30' ], [ 'Pacific/Apia', '17:30', '2011-12-30' ],
	[ 'Europe/Berlin', '02:30', '' ], [ 'America/New_York', '12:00', '' ])
{
	my ($zone, $end, $never) = @$case;

	$db = behind(1);
	$node->safe_psql('postgres', qq{
ALTER DATABASE $db SET cfp.timezone = '$zone';
ALTER DATABASE $db SET cfp.end_of_day = '$end'});
	$node->safe_psql($db, q{
UPDATE cfp_state SET date = '2011-12-28' WHERE name = 'day';
UPDATE cfp_state SET date = '2011-12-29' WHERE name = 'files'});
	reload();
	wait_for($db, q{SELECT bool_and(finished IS NOT NULL) FROM storage_days});
	is( $node->safe_psql($db, q{
SELECT string_agg(d::date::text, ' ') FROM generate_series('2011-12-29', (SELECT max(date) FROM storage_days), interval '1 day') d
WHERE NOT EXISTS (SELECT FROM storage_days WHERE date = d)}),
		$never, "$zone, $end: every date there was");
	is( $node->safe_psql($db, qq{
SELECT (next_end_of_day AT TIME ZONE '$zone')::date - CASE WHEN '$end' < '12:00' THEN 1 ELSE 0 END - max(date) FROM cfp_stat, storage_days
GROUP BY next_end_of_day}), '1', "$zone, $end: up to the last that ended");
	is($node->safe_psql($db, q{SELECT string_agg(date::text, ' ') FROM storage_days WHERE error IS NULL}),
		'2011-12-29', "$zone, $end: one of them has the records");
}

#
# Retention off and the files off
#
$node->safe_psql('postgres', "ALTER SYSTEM SET cfp.wal_files = off");
reload();
$db = behind(3);
reload();
wait_closed($db);
is($node->safe_psql($db, 'SELECT count(*) FROM cfp_wal_files'), '0', 'no day files');
is($node->safe_psql($db, q{SELECT cfp_verify_backup(date) > 0 FROM storage_days WHERE error IS NULL}), 't', 'a backup all the same');

$node->stop;
log_ok($node, qr/day files are not written: could not open file|could not open directory "base|some useless files|could not back up|could not (?:open|write|create|remove) .*storage_latest|terminating connection because of crash|ERROR:  cfp_close_day\(\) failed|because of crash of another server process/);
done_testing();
