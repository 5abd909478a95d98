# Retention: which date directories go after a close, and which never do.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# The oldest dates are made by closing them; the rest by hand.
my $node = cfp_node('main', 'cfp.min_free_space = 0', "cfp.timezone = 'UTC'", "cfp.end_of_day = '00:00'",
	'cfp.retain_days = 0', "cfp.backup_history = 'full'");
cfp_install($node);
my $base = $node->data_dir . '/cfp/' . $node->safe_psql('postgres',
	"SELECT oid || '_' || datname FROM pg_database WHERE datname = 'postgres'");
$node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM cfp.cfp_state WHERE name IN ('day', 'files')});

# Work as if the last date closed was this one: the next close is that of the
# date after it, and of no other.
sub set_day
{
	my ($date) = @_;

	$node->safe_psql('postgres', qq{
BEGIN;
DELETE FROM storage_days WHERE date > '$date';
UPDATE cfp_state SET date = '$date' WHERE name = 'day';
UPDATE cfp_state SET date = date '$date' + 1, file = 0, length = 0 WHERE name = 'files';
COMMIT});
	return;
}

# Close the date, with a few stores before.
sub close_date
{
	my ($date, $stores) = @_;

	set_day($node->safe_psql('postgres', "SELECT date '$date' - 1"));
	$node->safe_psql('postgres',
		"BEGIN; $stores; COMMIT; SELECT cfp_flush()") if defined $stores;
	$node->reload;
	$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM storage_days WHERE date = '$date' AND finished IS NOT NULL")
	  or BAIL_OUT("$date is not closed");
	return;
}

# Begin to close the date, whose backup fails.  The one before it is given up.
sub fail_date
{
	my ($date) = @_;

	set_day($node->safe_psql('postgres', "SELECT date '$date' - 1"));
	$node->reload;
	$node->poll_query_until('postgres', "SELECT error LIKE 'could not back up%' FROM storage_days WHERE date = '$date'")
	  or BAIL_OUT("the backup of $date does not fail");
	return;
}

sub retain
{
	my ($days) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET cfp.retain_days = $days");
	$node->reload;
	wait_worker($node);
	return;
}

sub dirs
{
	opendir(my $dir, $base) or BAIL_OUT("$base: $!");
	my @names = sort grep { /^20(?:2[0-5])/ } readdir $dir;
	closedir $dir;
	return join ' ', map { s/^2025-//r } @names;
}

sub make
{
	my ($path, $content) = @_;

	if ($path =~ m{/$}) { mkdir "$base/$path" or BAIL_OUT("$path: $!"); }
	else { append_to_file("$base/$path", $content // 'x'); }
	return;
}

# Days that were closed, across the end of a month and of February.
close_date("2025-12-$_", "SELECT cfp_store('k', '{}', 'i$_', 'c', $_)") foreach 12 .. 23;
is(dirs(), join(' ', map { "12-$_" } 12 .. 24) =~ s/ 12-24//r, 'retain_days = 0 keeps all');

retain(5);
close_date('2025-12-24', q{SELECT cfp_store('k', '{}', 'i24', 'c', 24)});
is(dirs(), '12-20 12-21 12-22 12-23 12-24', '5 days: closing 12-24 keeps 12-20 and deletes 12-19')
  or diag(slurp_file($node->logfile));
close_date('2025-12-25');
is(dirs(), '12-21 12-22 12-23 12-24 12-25', 'a date without stores has a backup, and counts');

# What cfp did not make.
make('2025-12-01/');
make('2025-12-02/');
make('2025-12-02/notes.txt');
make('2025-12-03/');
make('2025-12-03/wal_1.jsonl');
make('2025-12-04/');
make('2025-12-04/wal_000001.jsonl', qq({"cfp":1,"system_identifier":"1","database":"x","database_oid":5,"date":"2025-12-04"}\n));
make('2025-12-04/wal_000002.jsonl', qq({"cfp":1,"system_identifier":null,"database_oid":5}\n));
make('2025-12-05/');
make('2025-12-05/manifest.json', '{}');
make('2025-12-06/');
make('2025-12-06/manifest.json/');
make('2025-12-07/');
symlink("$base/2025-12-25", "$base/2025-12-07/wal_000001.jsonl") or BAIL_OUT($!);
make('2025-12-08/');
make('2025-12-08/manifest.json.tmp');
make('2025-12-08/storage_latest.backup');
make('2025-12-08/storage_history.backup.tmp');
make('elsewhere/');
symlink("$base/elsewhere", "$base/2025-12-09") or BAIL_OUT($!);
make('2025-12-10', 'a file');
make('2025-2-28/');
make('2025-02-30/');
make('2025-02-29/');
make('2024-02-29/');
make('2025-01-01x/');
make('2025-12-11/');
chmod 0000, "$base/2025-12-11";
close_date('2025-12-26');
is(dirs(), '2024-02-29 01-01x 02-29 02-30 12-02 12-03 12-04 12-05 12-06 12-07 12-09 12-10 12-11 12-22 12-23 12-24 12-25 12-26 2-28'
		=~ s/2024-02-29 //r,
	'what cfp did not make stays; of what it may have made, what is too old goes');
my $log = slurp_file($node->logfile);
like($log, qr/LOG: .*2025-12-02" is kept.*\n.*DETAIL: .*"notes.txt"/, 'the log names the directory and what is in it');
like($log, qr/LOG: .*2025-12-09" is kept/, 'a link is kept');
like($log, qr/LOG: .*2025-12-11" is kept.*\n.*DETAIL: .*could not open directory/, 'so is what cannot be read');
chmod 0755, "$base/2025-12-11";

# Records that the history lacks.
$node->safe_psql('postgres', q{DELETE FROM storage_history WHERE item_name = 'i22'});
close_date('2025-12-27');
like(dirs(), qr/12-22 12-23/, 'a directory whose record was deleted from the history stays');
like(slurp_file($node->logfile), qr/2025-12-22" is kept.*\n.*storage_history lacks.*\n.*HINT: .*cfp_rebuild_history_from_wal\('2025-12-22'\)/,
	'the log says how to get it back');
$node->safe_psql('postgres', q{SELECT cfp_rebuild_history_from_wal('2025-12-22')});
$node->safe_psql('postgres', q{
UPDATE storage_history SET updated_at = updated_at + interval '1 s' WHERE item_name = 'i23'});
close_date('2025-12-28');
unlike(dirs(), qr/12-22/, 'when it is back, the directory goes');
like(dirs(), qr/12-23/, 'another record of the same version is not it');
append_to_file("$base/2025-12-24/wal_000001.jsonl", "{bad}\n");
close_date('2025-12-29');
like(dirs(), qr/12-23 12-24 12-25/, 'a line that cannot be read keeps the directory');

# What was pruned is not missed; what else is missing, is.
close_date('2025-12-30', q{SELECT cfp_store('p', '{}', 'a', 'c', i) FROM generate_series(1, 5) i; SELECT cfp_store('p', '{}', 'b', 'c', 1); SELECT cfp_delete('p', 'b', 'c')});
is($node->safe_psql('postgres', q{SELECT cfp_prune_history(now(), key => 'p')}), '6', 'pruned');
close_date('2025-12-31', q{SELECT cfp_store('p', '{}', 'c', 'c', i) FROM generate_series(1, 5) i});
$node->safe_psql('postgres', q{DELETE FROM storage_history WHERE key = 'p' AND item_name = 'c' AND version = 4});
retain(1);
close_date('2026-01-01');
unlike(dirs(), qr/12-30/, 'pruned records are not missed');
like(dirs(), qr/12-31/, 'a superseded record that was not pruned is');

# The newest complete backup, and what it builds on.
$node->safe_psql('postgres', q{ALTER SYSTEM SET cfp.backup_history = 'full'; INSERT INTO storage_history SELECT * FROM cfp_read_wal('2025-12-31') WHERE version = 4 AND item_name = 'c'});
close_date('2026-01-02', q{SELECT cfp_store('q', '{}', 'a', 'c', 1)});
unlike(dirs(), qr/12-31/, 'when it is back, the directory goes');
$node->safe_psql('postgres', q{ALTER SYSTEM SET cfp.backup_history = 'day'});
close_date('2026-01-03', q{SELECT cfp_store('q', '{}', 'a', 'c', 2)});
close_date('2026-01-04', q{SELECT cfp_store('q', '{}', 'a', 'c', 3)});
is(join(' ', map { -d "$base/2026-01-0$_" ? $_ : () } 1 .. 4), '2 3 4',
	'the full backup and the days that the newest one builds on stay');
is(join(' ', map { glob("$base/2026-01-0$_/wal_*.jsonl") ? $_ : () } 1 .. 4), '4', 'but not their day files');
is($node->safe_psql('postgres', q{SELECT cfp_verify_backup('2026-01-04') > 0}), 't', 'it is good');
unlink "$base/2026-01-03/manifest.json";
make('2026-01-03/manifest.json', '{');
foreach my $day (5, 6)
{
	mkdir "$base/2026-01-0$day";	# or there already
	make("2026-01-0$day/storage_latest.backup.tmp/");
}
fail_date('2026-01-05');
fail_date('2026-01-06');
is(join(' ', map { -d "$base/2026-01-0$_" ? $_ : () } 1 .. 4), '2 3 4',
	'what is behind a manifest that cannot be used stays');
rmdir "$base/2026-01-0$_/storage_latest.backup.tmp" foreach 5, 6;
$node->poll_query_until('postgres', q{SELECT finished IS NOT NULL FROM storage_days WHERE date = '2026-01-06'})
  or BAIL_OUT('2026-01-06 is not closed');
unlink "$base/2026-01-03/manifest.json";
$node->safe_psql('postgres', q{ALTER SYSTEM SET cfp.backup_history = 'full'; DELETE FROM storage_days WHERE error IS NOT NULL});
close_date('2026-01-07');
is(join(' ', map { -d "$base/2026-01-0$_" ? $_ : () } 1 .. 7), '7', 'a later full one needs none of them');

# Large records are looked up in little memory.
SKIP:
{
	skip 'no /proc', 2 unless -r "/proc/$$/status";
	close_date('2026-01-08', q{
SELECT cfp_store('large', (SELECT jsonb_object_agg('name ' || j, j) FROM generate_series(1, 1200) j), 'i' || i, 'c')
FROM generate_series(1, 2000) i});
	# of its own, what it shares not counted
	my $memory = sub {
		my %kb = slurp_file('/proc/' . wait_worker($node) . '/status') =~ /^(\w+):\s+(\d+) kB$/gm;
		return $kb{RssAnon};
	};
	my $most = 0;
	set_day('2026-01-08');
	$node->reload;
	foreach my $try (1 .. 50 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my $now = eval { $memory->() } // 0;
		$most = $now if $now > $most;
		last if !-d "$base/2026-01-08";
		usleep(20_000);
	}
	ok(!-d "$base/2026-01-08", 'a directory with large records goes');
	note("most memory: $most kB");
	cmp_ok($most, '<', 250_000, 'and takes little memory');
}

is($node->safe_psql('postgres', q{SELECT count(*) FROM storage_days WHERE error IS NOT NULL AND error NOT LIKE 'skipped%'}), '0', 'no close failed');

# Retention does not wait for a backup that fails: the next one may need the room.
make("2026-01-$_/"), make("2026-01-$_/storage_latest.backup.tmp/") foreach 11, 12;
make('2026-01-05/');
fail_date('2026-01-11');
fail_date('2026-01-12');
ok(!-d "$base/2026-01-05", 'a date that is given up: what is too old has gone');
ok(-d "$base/2026-01-09", 'but the newest backup');
rmdir "$base/2026-01-$_/storage_latest.backup.tmp" foreach 11, 12;
$node->poll_query_until('postgres', q{SELECT finished IS NOT NULL FROM storage_days WHERE date = '2026-01-12'})
  or BAIL_OUT('2026-01-12 is not closed');
ok(!-d "$base/2026-01-09", 'which goes with the next');

$node->stop;
log_ok($node, qr/day_file|day file|could not back up|could not (?:open|write|create|remove) .*storage_latest/);
done_testing();
