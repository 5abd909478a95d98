# A clock that is set: back, and ahead and back again.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# The server's clock goes as many seconds ahead as the file says.
my $dir = PostgreSQL::Test::Utils::tempdir;
my $offset = "$dir/offset";
append_to_file("$dir/clock.c", <<'END');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long offset(void)
{
	const char *name = getenv("CLOCK_OFFSET");
	FILE *file = name ? fopen(name, "r") : NULL;
	long seconds = 0;

	if (file != NULL)
	{
		if (fscanf(file, "%ld", &seconds) != 1)
			seconds = 0;
		fclose(file);
	}
	return seconds;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	tv->tv_sec = now.tv_sec + offset();
	tv->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *t)
{
	struct timeval tv;

	gettimeofday(&tv, NULL);
	if (t != NULL)
		*t = tv.tv_sec;
	return tv.tv_sec;
}
END
plan skip_all => 'no C compiler'
  if system("cc -shared -fPIC -o $dir/clock.so $dir/clock.c >/dev/null 2>&1") != 0;

sub set_clock
{
	my ($seconds) = @_;

	open my $file, '>', "$offset.tmp" or die $!;
	print $file "$seconds\n";
	close $file;
	rename "$offset.tmp", $offset or die $!;
	return;
}

set_clock(0);
my $node;
{
	local $ENV{LD_PRELOAD} = "$dir/clock.so";
	local $ENV{CLOCK_OFFSET} = $offset;
	$node = cfp_node('main', "cfp.timezone = 'UTC'", "cfp.end_of_day = '00:00'", 'cfp.flush_interval = 5s');
}
cfp_install($node);
my $base = $node->data_dir . '/cfp/' . $node->safe_psql('postgres',
	"SELECT oid || '_' || datname FROM pg_database WHERE datname = current_database()");

sub sql
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

sub wait_for
{
	my ($query, $what) = @_;

	return ok($node->poll_query_until('postgres', $query), $what);
}

is(sql(q{SELECT cfp_store('k', '{}', 'a', 'c', 1); SELECT cfp_flush()}), "1\n1", 'a flush');

#
# Back: what waits for a time does not wait for the clock to come there again
#
my $back = 0;
sub step_back
{
	set_clock($back -= 18000);
	return;
}

sql(q{ALTER TABLE storage_dirty ADD CONSTRAINT no_b CHECK (item_name <> 'b'); SELECT cfp_store('k', '{}', 'b', 'c', 1)});
wait_for(q{SELECT worker_state = 'retrying' AND last_error LIKE '%no_b%' FROM cfp_stat}, 'a flush fails');
step_back();
sql('ALTER TABLE storage_dirty DROP CONSTRAINT no_b');
wait_for(q{SELECT unflushed_records = 0 FROM cfp_stat}, 'it is tried again after the clock was set back');

my ($file) = glob("$base/*/wal_000001.jsonl");
chmod 0000, $file or die $!;
sql(q{SELECT cfp_store('k', '{}', 'c', 'c', 1)});
wait_for('SELECT wal_behind = 1 AND wal_error IS NOT NULL FROM cfp_stat', 'day files cannot be written');
step_back();
chmod 0600, $file or die $!;
wait_for('SELECT wal_behind = 0 FROM cfp_stat', 'they are tried again, too');

sql(q{DELETE FROM storage_history WHERE item_name = 'a'});
wait_for(q{SELECT count(*) = 1 FROM cfp_state WHERE name = 'reconcile'}, 'the database is marked');
usleep(500_000);
step_back();
wait_for(q{SELECT count(*) = 0 FROM cfp_state WHERE name = 'reconcile'}, 'it is reconciled');

# While stores come all the time.
my $client = connect_node($node);
$client->do(q{SELECT cfp_store('k', '{}', 'd', 'c', 1)});
step_back();
my $flushed = 0;
foreach my $try (1 .. 200)
{
	$client->do(q{SELECT cfp_store('k', '{}', 'e', 'c', 1)});
	usleep(50_000);
	$flushed = $client->selectrow_array('SELECT unflushed_records < 10 FROM cfp_stat') if $try > 50;
	last if $flushed;
}
ok($flushed, 'what waits longest is flushed');
$client->disconnect;

#
# Ahead and back again.  (With more than 24 days an assertion of the server's
# own fails.)
#
set_clock(0);
my $open = sql(q{SELECT date + 1 FROM cfp_state WHERE name = 'day'});
set_clock(1_728_000);
$node->reload;
wait_for(q{SELECT count(*) > 15 AND bool_and(finished IS NOT NULL) FROM storage_days}, 'dates are skipped');
sql(q{SELECT cfp_store('k', '{}', 'ahead', 'c', 1); SELECT cfp_flush()});
unlike(slurp_file($node->logfile), qr/far ahead/, 'no warning while the clock is ahead');
set_clock(0);
sql(q{SELECT cfp_store('k', '{}', 'back', 'c', 1); SELECT cfp_flush(); SELECT cfp_flush()});
my $far = sql(q{SELECT date FROM cfp_state WHERE name = 'files'});
my @warnings = slurp_file($node->logfile) =~ /WARNING:  cfp: the open business date is (\S+), far ahead/g;
is("@warnings", $far, 'one when it is back');

my ($last, $next) = split /\|/, sql(q{
SELECT max(date), max(date) + 1 FROM storage_days
WHERE date <= current_date AND (error IS NULL OR error NOT LIKE 'skipped: %')});
is($last, $open, 'the last date that was not skipped');
my $worker = wait_worker($node);
sql(qq{
BEGIN;
LOCK TABLE cfp.cfp_state;
DELETE FROM cfp.storage_days WHERE date > '$last';
UPDATE cfp.cfp_state SET date = '$last' WHERE name = 'day';
UPDATE cfp.cfp_state SET date = '$next' WHERE name = 'files';
\\! mv $base/$far $base/$next
COMMIT;
SELECT pg_terminate_backend(worker_pid) FROM cfp.cfp_stat});
wait_for("SELECT worker_pid <> $worker AND worker_state <> 'starting' FROM cfp_stat", 'taken back');
state_is($node, 'postgres', 'SELECT cfp_close_day()', '00000', qr/The next one is $next/, 'the next date is the one after it');
sql(q{SELECT cfp_store('k', '{}', 'right', 'c', 1); SELECT cfp_flush()});
is(sql(qq{SELECT string_agg(item_name, ' ' ORDER BY item_name) FROM cfp_read_wal('$next')}), 'ahead back right',
	'the files go on there');
ok(!-e "$base/$far", 'and nowhere else');
is(sql(q{SELECT wal_behind, wal_error FROM cfp_stat}), '0|', 'they are complete');
is(sql(qq{SELECT cfp_verify_backup('$last') > 0}), 't', 'the backup is good');
$node->restart;
wait_worker($node);
is(sql(qq{SELECT cfp_flush(), count(*) FROM cfp_read_wal('$next')}), '0|3', 'so it is after a restart');

seen_ok($node, 'all agree');

$node->stop;
log_ok($node, qr/far ahead of the clock/, qr/flush failed: .*no_b/, qr/day files are not written/);
done_testing();
