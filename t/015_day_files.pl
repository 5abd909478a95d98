# The day files: each record that was flushed is in them once, whatever was
# killed, cut, deleted or full meanwhile, and one server at a time writes them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use File::Basename;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $json = JSON::PP->new->utf8;

# The day files of a database, in order.
sub day_files
{
	my ($base, $oid) = @_;

	my @files = sort glob("$base/${oid}_*/????-??-??/wal_??????.jsonl");
	return @files;
}

sub oid_of
{
	my ($node, $database) = @_;

	return $node->safe_psql($database // 'postgres',
		'SELECT oid FROM pg_database WHERE datname = current_database()');
}

# All lines of the day files; the first line of each is checked and left out.
sub records
{
	my ($node, $base, $oid) = @_;
	my @records;

	foreach my $file (day_files($base, $oid))
	{
		my @lines = split /\n/, slurp_file($file);
		my $header = $json->decode(shift @lines);

		die "$file: no header" unless $header->{cfp} == 1 && $header->{database_oid} == $oid;
		die "$file: date $header->{date}" unless $file =~ m{/\Q$header->{date}\E/};
		push @records, grep { !exists $_->{forget} } map { $json->decode($_) } @lines;
	}
	return @records;
}

sub names
{
	return join "\n", sort map {
		join '/', $_->{key}, $_->{collection_name}, $_->{item_name}, $_->{version}
	} @_;
}

# All is flushed, the files have it, and have it once.
sub files_ok
{
	my ($node, $what, %options) = @_;
	my $database = $options{database} // 'postgres';
	my $base = $options{base} // $node->data_dir . '/cfp';
	my $oid = oid_of($node, $database);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_worker($node, $database);
	$node->safe_psql($database, 'SELECT cfp.cfp_flush()');
	$node->poll_query_until($database, 'SELECT wal_behind = 0 AND wal_error IS NULL FROM cfp.cfp_stat')
	  or BAIL_OUT('the files stay behind');
	my $wanted = $node->safe_psql($database,
		q{SELECT concat_ws('/', key, collection_name, item_name, version) FROM cfp.storage_history });
	return is(
		names(grep { !$options{but} || $_->{key} ne $options{but} } records($node, $base, $oid)),
		join("\n", sort grep { !$options{but} || !m{^\Q$options{but}\E/} } split /\n/, $wanted),
		$what);
}

sub wait_log
{
	my ($node, $pattern, $from) = @_;

	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if slurp_file($node->logfile, $from // 0) =~ $pattern;
		usleep(100_000);
	}
	return 0;
}

# Run a server's worker into a waitpoint.  Its name holds for the database, so
# new sessions have it, too; only the worker passes there.
sub set_waitpoint
{
	my ($node, $point) = @_;
	my $old = wait_worker($node);

	$node->safe_psql('postgres',
		$point
		? "ALTER DATABASE postgres SET cfp.debug_waitpoint = '$point'"
		: 'ALTER DATABASE postgres RESET cfp.debug_waitpoint');
	$node->reload;
	# the worker restarts itself, unless it stands at a waitpoint
	if ($point)
	{
		$node->poll_query_until('postgres',
			"SELECT worker_pid <> $old AND worker_state <> 'starting' FROM cfp.cfp_stat")
		  or BAIL_OUT('the worker does not come back');
	}
	return;
}

sub wait_waitpoint
{
	my ($node) = @_;

	wait_true(
		$node, q{
SELECT count(*) > 0 FROM pg_stat_activity
WHERE backend_type = 'cfp worker' AND state = 'active' AND query = 'flush'
	AND wait_event_type = 'Extension' AND now() - state_change > '50ms'});
	return;
}

#
# Normal flushes, types, order, rotation.
#
my $node = cfp_node(
	'main', 'restart_after_crash = on', 'cfp.flush_interval = 500ms',
	'cfp.max_wal_size = 64kB', 'cfp.min_free_space = 0',
	'wal_level = replica', 'max_wal_senders = 4');
my $base = $node->data_dir . '/cfp';

cfp_install($node);
my $oid = oid_of($node);
$node->safe_psql(
	'postgres', q{
SELECT cfp_store('types', '{"a": [1, null, "x/y"]}', 'int', 'c', 1::bigint);
SELECT cfp_store('types', '{}', 'float', 'c', 1.0::float8);
SELECT cfp_store('types', '{}', 'string', 'c', '1'::text);
SELECT cfp_store('types', '{}', 'none', 'c');
SELECT cfp_delete('types', 'none', 'c');
BEGIN;
SELECT cfp_store('types', '{}', 'twice', 'c', 1::bigint);
SELECT cfp_store('types', '{}', 'twice', 'c', 2::bigint);
COMMIT});
files_ok($node, 'each kind of record is in the files');
my ($first) = day_files($base, $oid);
like($first, qr{/cfp/${oid}_postgres/\d{4}-\d\d-\d\d/wal_000001\.jsonl$}, 'the first file');
is( (stat $first)[2] & 0777, 0600, 'a day file is for the server alone');
like(
	(split /\n/, slurp_file($first))[0],
	qr/^\{"cfp":1,"server_version":"1.*,"system_identifier":"\d+","database":"postgres","database_oid":$oid,"incarnation":"[0-9a-f-]{36}","date":"\d{4}-\d\d-\d\d","crc":"[0-9a-f]{8}"\}$/,
	'its first line');
is( $node->safe_psql(
		'postgres',
		q{SELECT date = (SELECT (cfp_next_end_of_day() - interval '1 second')::date), file, counter FROM cfp_state WHERE name = 'files'}),
	't|1|7', 'the open date, the file and the count of its records are saved');

$node->safe_psql('postgres',
	q{SELECT count(cfp_store('rotate', jsonb_build_object('n', n, 'text', repeat('x', 200)), 'i' || n, 'c')) FROM generate_series(1, 2000) n});
files_ok($node, 'after rotations: each record once');
my @files = day_files($base, $oid);
cmp_ok(scalar(@files), '>', 5, 'several files');
is(scalar(grep { -s $_ > 64 * 1024 } @files), 0, 'none is longer than cfp.max_wal_size');
is(scalar(grep { -s $_ < 60 * 1024 } @files[ 0 .. $#files - 1 ]), 0, 'and all but the last are full');
my @updated = map { "$_->{updated_at} $_->{version}" } records($node, $base, $oid);
is(join("\n", @updated), join("\n", sort @updated), 'in the order of updated_at');

# one record longer than a file
$node->safe_psql('postgres',
	q{SELECT cfp_store('long', jsonb_build_object('text', repeat('x', 200000)), 'i', 'c')});
files_ok($node, 'a record longer than a file');

#
# What does not belong there.
#
my $last = (day_files($base, $oid))[-1];
(my $next = $last) =~ s/(\d+)\.jsonl$/sprintf('%06d.jsonl', $1 + 1)/e;
(my $later = $last) =~ s/(\d+)\.jsonl$/sprintf('%06d.jsonl', $1 + 2)/e;
(my $strange = $last) =~ s/(\d+)\.jsonl$/sprintf('%06d.jsonl', $1 + 3)/e;
(my $nobody = $last) =~ s/(\d+)\.jsonl$/sprintf('%06d.jsonl', $1 + 4)/e;
my $later_day = dirname(dirname($last)) . '/9998-12-31';
$node->stop;
my ($header) = split /^/, slurp_file($last);
append_to_file($last, qq({"key":"torn","collection_));
append_to_file($next, $header . qq({"key":"unsaved"}\n));
append_to_file($later, substr($header, 0, 10));
append_to_file($strange, qq({"cfp":1,"system_identifier":"1","database_oid":$oid}\n));
append_to_file($nobody, qq({"cfp":1,"system_identifier":null,"database_oid":$oid}\n));
mkdir $later_day or die $!;
append_to_file("$later_day/wal_000001.jsonl", $header);
append_to_file("$later_day/wal_1.jsonl", $header);
$node->start;
wait_worker($node);
$node->safe_psql('postgres', q{SELECT cfp_store('cut', '{}', 'i', 'c')});
$node->safe_psql('postgres', 'SELECT cfp_flush()');
ok(-e $strange, 'a file of another server stays');
ok(-e $nobody, 'so does one that names no server');
unlink $strange, $nobody;
files_ok($node, 'a longer file is cut back, later files are removed');
ok(!-e $next && !-e $later && !-e "$later_day/wal_000001.jsonl", 'later files are gone');
ok(-e "$later_day/wal_1.jsonl", 'what cfp does not make stays');
unlink "$later_day/wal_1.jsonl";
rmdir $later_day;
my $log = slurp_file($node->logfile);
my ($relative) = $last =~ m{(cfp/.*)};
like($log, qr/LOG:  cfp: day file "\Q$relative\E" cut back from \d+ to \d+ bytes/, 'the log says so');
like($log, qr/LOG:  cfp: removed day file .*wal_\d+\.jsonl/, 'and names what was removed');

#
# A file that is shorter, and one that is missing: what was in them is lost to
# the files, the rest goes on in a new one.
#
my @before = day_files($base, $oid);
truncate $before[-1], -s _ if -s $before[-1];
truncate $before[-1], (-s $before[-1]) - 10 or die $!;
my $position = -s $node->logfile;
$node->safe_psql('postgres', q{SELECT cfp_store('shorter', '{}', 'i', 'c'); SELECT cfp_flush()});
is((grep { $_->{key} eq 'shorter' } map { $json->decode($_) } (split /\n/, slurp_file((day_files($base, $oid))[-1])))[0]{version},
	1, 'a shorter file: the next record is in a new one');
is(scalar(day_files($base, $oid)), @before + 1, 'and that is one more');
like(slurp_file($node->logfile, $position), qr/LOG:  cfp: day file .* is shorter than it was, a new one is begun/, 'the log says so');
$position = -s $node->logfile;
unlink +(day_files($base, $oid))[-1] or die $!;
$node->safe_psql('postgres', q{SELECT cfp_store('missing', '{}', 'i', 'c'); SELECT cfp_flush()});
like(slurp_file($node->logfile, $position), qr/LOG:  cfp: day file .* is missing, a new one is begun/, 'a missing file: the log says so');
is(scalar(grep { $_->{key} eq 'missing' } map { $json->decode($_) } (split /\n/, slurp_file((day_files($base, $oid))[-1]))),
	1, 'and the next record is in a new one');
# from here on with complete files again
sub begin_anew
{
	$node->safe_psql('postgres', 'TRUNCATE storage_history, storage_latest');
	$node->safe_psql('postgres', 'SELECT cfp_flush()');
	unlink day_files($base, $oid);
	return;
}
begin_anew();

#
# Off and on.
#
$node->safe_psql('postgres', q{SELECT cfp_store('on', '{}', 'i', 'c')});
files_ok($node, 'on');
$node->append_conf('postgresql.conf', 'cfp.wal_files = off');
my $old = wait_worker($node);
$node->reload;
$node->poll_query_until('postgres', "SELECT worker_pid <> $old FROM cfp_stat");
wait_worker($node);
$node->safe_psql('postgres', q{SELECT cfp_store('off', '{}', 'i', 'c')});
$node->safe_psql('postgres', 'SELECT cfp_flush()');
is($node->safe_psql('postgres', 'SELECT wal_behind, wal_error FROM cfp_stat'), '0|', 'off: nothing is behind');
$node->append_conf('postgresql.conf', 'cfp.wal_files = on');
$old = wait_worker($node);
$node->reload;
$node->poll_query_until('postgres', "SELECT worker_pid <> $old FROM cfp_stat");
$node->safe_psql('postgres', q{SELECT cfp_store('on', '{}', 'i2', 'c')});
files_ok($node, 'on again: what came meanwhile was not wanted', but => 'off');
is(scalar(grep { $_->{key} eq 'off' } records($node, $base, $oid)), 0, 'and is not there');
begin_anew();

#
# No room, no permission, a write that fails half-way: stores, gets and
# flushes go on, and the files are completed afterwards.
#
my @allowed = (qr/WARNING:  cfp: day files are not written: /);
sub trouble
{
	my ($what, $cause, $cure, $message) = @_;

	$node->safe_psql('postgres', q{SELECT cfp_store('trouble', '{}', 'before', 'c')});
	files_ok($node, "$what: before");
	$cause->();
	wait_worker($node);
	$node->safe_psql('postgres',
		q{SELECT count(cfp_store('trouble', jsonb_build_object('text', (SELECT string_agg(md5(n || '/' || i), '') FROM generate_series(1, 50) i)), 'i' || n, 'c')) FROM generate_series(1, 100) n});
	$node->safe_psql('postgres', 'SELECT cfp_flush()');
	is( $node->safe_psql('postgres',
			'SELECT unflushed_records, wal_behind, wal_error IS NOT NULL, wal_error_at IS NOT NULL FROM cfp_stat'),
		'0|100|t|t', "$what: flushed, and the gap is shown");
	like($node->safe_psql('postgres', 'SELECT wal_error FROM cfp_stat'), $message, "$what: and why");
	seen_ok($node, "$what: reads are right");
	# a new worker knows of the gap, too
	$old = wait_worker($node);
	kill 'TERM', $old;
	$node->poll_query_until('postgres', "SELECT coalesce(worker_pid, $old) <> $old FROM cfp_stat");
	wait_worker($node);
	$node->safe_psql('postgres', 'SELECT cfp_flush()');
	$cure->();
	files_ok($node, "$what: the gap is filled");
	return;
}

sub set_free_space
{
	my ($value) = @_;
	my $pid = wait_worker($node);

	$node->safe_psql('postgres', "ALTER SYSTEM SET cfp.min_free_space = '$value'");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT coalesce(worker_pid, $pid) <> $pid FROM cfp_stat");
	return;
}
trouble('no room', sub { set_free_space('2000TB') }, sub { set_free_space('0') },
	qr/^less than cfp.min_free_space is free below "cfp"$/);

my ($dir) = glob("$base/${oid}_*/*");
trouble(
	'no permission',
	sub { chmod 0000, $_ or die $! foreach glob("$dir/*.jsonl") },
	sub { chmod 0600, $_ or die $! foreach glob("$dir/*.jsonl") },
	qr/^could not open file ".*wal_\d+\.jsonl": Permission denied$/);
trouble(
	'no directory',
	sub { rename $dir, "$base/away" or die $!; append_to_file($dir, '') },
	sub { unlink $dir; rename "$base/away", $dir or die $! },
	qr/Not a directory|File exists|could not/);

# the records are more than the sort may keep in memory
my $temporary = $node->data_dir . '/base/pgsql_tmp';
$node->append_conf('postgresql.conf', 'work_mem = 64kB');
{
	local $ENV{PGOPTIONS} = '-c work_mem=64MB';
	trouble(
		'no temporary files',
		sub { rmdir $temporary; append_to_file($temporary, ''); set_free_space('0') },
		sub { unlink $temporary },
		qr/^could not create temporary file ".*": Not a directory$/);
}
begin_anew();

SKIP:
{
	skip 'no prlimit to make a write fail half-way', 1
	  if system('prlimit --version >/dev/null 2>&1') != 0;
	$node->append_conf('postgresql.conf', 'cfp.max_wal_size = 64MB');
	$old = wait_worker($node);
	$node->reload;
	$node->poll_query_until('postgres', "SELECT worker_pid <> $old FROM cfp_stat");
	my $pid = wait_worker($node);
	$node->safe_psql('postgres', q{SELECT cfp_store('half', '{}', 'i', 'c'); SELECT cfp_flush()});
	my $length = -s((day_files($base, $oid))[-1]);
	# above the size of a segment of the server's own log
	system("prlimit --pid $pid --fsize=18000000:") == 0 or die 'prlimit';
	$node->safe_psql('postgres',
		q{SELECT count(cfp_store('half', jsonb_build_object('text', repeat('x', 100000)), 'i' || n, 'c')) FROM generate_series(1, 250) n; SELECT cfp_flush()});
	like($node->safe_psql('postgres', 'SELECT wal_behind, wal_error FROM cfp_stat'),
		qr/^250\|could not write file ".*": File too large$/, 'a write that fails half-way: the gap is shown');
	# the worker tries again each second or so, and may be at it
	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last if -s((day_files($base, $oid))[-1]) == $length;
		usleep(100_000);
	}
	is(-s((day_files($base, $oid))[-1]), $length, 'and the file is as long as before');
	seen_ok($node, 'reads are right');
	system("prlimit --pid $pid --fsize=unlimited:") == 0 or die 'prlimit';
	files_ok($node, 'the gap is filled');
	begin_anew();
	$node->append_conf('postgresql.conf', 'cfp.max_wal_size = 64kB');
}

#
# Kills at the steps of a flush, with clients that store.
#
my @pids;
END { kill 'KILL', @pids if @pids }
foreach my $number (1 .. 3)
{
	my $pid = fork;
	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		my ($stop, $sequence, $dbh) = (0, 0);

		local $SIG{TERM} = sub { $stop = 1 };
		while (!$stop)
		{
			eval {
				$dbh //= connect_node($node);
				$dbh->do(
					"SELECT cfp_store('crash', jsonb_build_object('text', repeat('x', 300)), ?, 'c', ?::bigint)",
					undef, "i$number-" . ($sequence % 50), $sequence);
				$sequence++;
				1;
			} or do { eval { $dbh->disconnect } if $dbh; undef $dbh; usleep(20_000) };
			usleep(1_000);
		}
		POSIX::_exit(0);
	}
	push @pids, $pid;
}

foreach my $round (1 .. 2)
{
	foreach my $point ('flush_written', 'flush_synced', '')
	{
		foreach my $killed ('worker', 'server')
		{
			wait_true($node, 'SELECT true');
			set_waitpoint($node, $point) if $point;
			# a backlog of several files
			$node->safe_psql('postgres',
				q{SELECT count(cfp_store('crash', jsonb_build_object('text', repeat('x', 300)), 'many' || n, 'c')) FROM generate_series(1, 400) n});
			if ($point)
			{
				wait_waitpoint($node);
				set_waitpoint($node, '');
			}
			else
			{
				usleep(rand(600_000));
			}
			if ($killed eq 'worker')
			{
				my $witness = connect_node($node);
				kill 'KILL', $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'cfp worker'});
				foreach my $try (1 .. 500)
				{
					last unless eval { $witness->do('SELECT 1'); 1 };
					usleep(10_000);
				}
			}
			else
			{
				$node->stop('immediate');
				$node->start;
			}
			wait_true($node, 'SELECT true');
		}
	}
	# the clients rest while files and history are compared
	kill 'STOP', @pids;
	files_ok($node, "round $round of kills: each record once in the files");
	kill 'CONT', @pids;
}
kill 'TERM', @pids;
waitpid $_, 0 foreach @pids;
@pids = ();
files_ok($node, 'after the kills: each record once in the files');

# Killed in mid-flush, the files not writable afterwards, the date closed then.
set_waitpoint($node, 'flush_synced');
$node->safe_psql('postgres', q{SELECT count(cfp_store('closed', '{}', 'i' || n)) FROM generate_series(1, 10) n});
wait_waitpoint($node);
set_waitpoint($node, '');
my ($last) = (day_files($base, $oid))[-1];
chmod 0400, $last;
chmod 0500, dirname($last);
kill 'KILL', $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'cfp worker'});
wait_true($node, 'SELECT wal_error IS NOT NULL FROM cfp.cfp_stat');
$node->safe_psql('postgres', q{UPDATE cfp_state SET date = date - 1 WHERE name = 'day'});
$node->reload;
wait_true($node, 'SELECT count(*) > 0 FROM cfp.storage_days');
chmod 0700, dirname($last);
chmod 0600, $last;
$node->safe_psql('postgres', 'SELECT cfp_flush()');
files_ok($node, 'closed with lines that were never saved: each record once in the files');
history_ok($node, 'and once in the history');
like(slurp_file($node->logfile), qr/cut back from|removed day file/, 'something had to be taken off');

#
# Several databases, hostile names, a renamed database.
#
my %directory = (
	'../up' => '%2E.%2Fup',
	'.hidden' => '%2Ehidden',
	q(a "b' c$d`e`;f%g\\h*) => 'a%20%22b%27%20c%24d%60e%60%3Bf%25g%5Ch%2A',
	"new\nline" => 'new%0Aline',
	"\x{c3}\x{a4}-_.Z9" => '%C3%A4-_.Z9');
foreach my $name (sort keys %directory)
{
	my $dbh = connect_node($node);
	my $wanted = $directory{$name};
	my $text = $name;

	utf8::decode($text);
	$dbh->do('CREATE DATABASE hostile');
	cfp_install($node, 'hostile');
	$node->safe_psql('hostile', q{SELECT cfp_store('k', '{}', 'i', 'c'); SELECT cfp_flush()});
	my $hostile = oid_of($node, 'hostile');
	ok(-d "$base/${hostile}_hostile", 'the directory of a database');
	$dbh->do('ALTER DATABASE hostile RENAME TO ' . $dbh->quote_identifier($text));
	# no DSN can quote all of these
	local $ENV{PGDATABASE} = $name;
	my $there = DBI->connect(sprintf('dbi:Pg:host=%s;port=%d', $node->host, $node->port),
		undef, undef, { RaiseError => 1, PrintError => 0, AutoInactiveDestroy => 1 });
	foreach my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last if $there->selectrow_array("SELECT worker_pid IS NOT NULL AND worker_state <> 'starting' FROM cfp.cfp_stat");
		usleep(100_000);
	}
	$there->do(q{SELECT cfp.cfp_store('k', '{}', 'i', 'c')});
	$there->do('SELECT cfp.cfp_flush()');
	is(join("\n", map { basename($_) } glob("$base/${hostile}_*")),
		"${hostile}_$wanted", "follows its name: $wanted");
	is(names(records($node, $base, $hostile)), "k/c/i/1\nk/c/i/2", 'with its files');
	is(scalar(day_files($base, $hostile)), 1, 'of which there is one');
	$there->disconnect;
	$dbh->do('DROP DATABASE ' . $dbh->quote_identifier($text));
}
files_ok($node, 'another database has its own files');

#
# A standby that is promoted has a copy of the files, and of the lock file.
#
$node->append_conf('postgresql.conf', 'cfp.max_wal_size = 64MB');
$node->restart;
wait_worker($node);
$node->backup('base');
$node->safe_psql('postgres', q{SELECT cfp_store('after', '{}', 'backup', 'c'); SELECT cfp_flush()});
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$standby->promote;
wait_worker($standby);
$standby->safe_psql('postgres', q{SELECT cfp_store('promoted', '{}', 'i', 'c'); SELECT cfp_flush()});
like(slurp_file($standby->logfile),
	qr/LOG:  cfp: day file .* is (shorter than it was|missing), a new one is begun/, 'promoted: a new file, and the log says so');
is(scalar(grep { $_->{key} eq 'promoted' } records($standby, $standby->data_dir . '/cfp', $oid)),
	1, 'the new record is in it');
$standby->stop;
log_ok($standby, qr/FATAL:  terminating walreceiver process due to administrator command/);

#
# Two servers with one base directory.
#
my $shared = PostgreSQL::Test::Utils::tempdir . '/a/shared';
my @server;
foreach my $name ('one', 'two')
{
	my $server = cfp_node($name, "cfp.base_dir = '$shared'", 'cfp.flush_interval = 500ms', 'cfp.min_free_space = 0');

	cfp_install($server);
	push @server, $server;
}
my ($one, $two) = @server;
$one->safe_psql('postgres', q{SELECT cfp_store('one', '{}', 'i', 'c')});
files_ok($one, 'the first server has the files', base => $shared);
$two->safe_psql('postgres', q{SELECT cfp_store('two', '{}', 'i', 'c'); SELECT cfp_flush()});
my $message = qr{Another instance is already running for date \d{4}-\d\d-\d\d\. Lock file exists at \Q$shared\E/\.lock\.};
like($two->safe_psql('postgres', 'SELECT wal_behind, wal_error FROM cfp_stat'), qr/^1\|$message$/, 'the second says why it has none');
my $data_dir = $one->data_dir;
ok(wait_log($two, qr/WARNING:  cfp: day files are not written: $message\n.*DETAIL:  It is the server with process ID \d+ and system identifier \d+, in data directory "\Q$data_dir\E"/),
	'in its log, too, with the holder');
seen_ok($two, 'its stores go on');
is(scalar(day_files($shared, $oid)), 1, 'it has written nothing');

# not even when the holder's launcher is gone for a moment
$one->stop;
$two->poll_query_until('postgres', 'SELECT wal_behind = 0 AND wal_error IS NULL FROM cfp_stat');
is( names(grep { $_->{key} eq 'two' } map { $json->decode($_) } map { (split /\n/, slurp_file($_)) } (day_files($shared, $oid))[1]),
	'two/c/i/1', 'it takes over when the first stops, in a file of its own');
ok(-e "$shared/.lock", 'the lock file stays');
$one->start;
wait_worker($one);
$one->safe_psql('postgres', q{SELECT cfp_store('one', '{}', 'i2', 'c'); SELECT cfp_flush()});
like($one->safe_psql('postgres', 'SELECT wal_error FROM cfp_stat'), qr/^$message$/, 'and now the first has to wait');

$two->kill9;
$one->poll_query_until('postgres', 'SELECT wal_behind = 0 AND wal_error IS NULL FROM cfp_stat');
is( scalar(grep { ($_->{key} // '') eq 'one' } map { $json->decode($_) } map { (split /\n/, slurp_file($_)) } day_files($shared, $oid)),
	2, 'a killed server leaves no lock');

# a lock file that was deleted is no lock
unlink "$shared/.lock";
$one->restart;
wait_worker($one);
$one->safe_psql('postgres', q{SELECT cfp_store('one', '{}', 'i3', 'c'); SELECT cfp_flush()});
is($one->safe_psql('postgres', 'SELECT wal_behind, wal_error FROM cfp_stat'), '0|', 'a deleted lock file is made again');
$one->stop;

# a base directory that cannot be made
append_to_file("$shared/file", '');
$one->append_conf('postgresql.conf', "cfp.base_dir = '$shared/file/dir'");
$one->start;
wait_worker($one);
$one->safe_psql('postgres', q{SELECT cfp_store('one', '{}', 'i4', 'c'); SELECT cfp_flush()});
like($one->safe_psql('postgres', 'SELECT wal_behind, wal_error FROM cfp_stat'),
	qr{^1\|could not create directory "\Q$shared\E/file/dir": Not a directory$}, 'a base directory that cannot be made: the gap is shown');
seen_ok($one, 'stores go on');
unlink "$shared/file";
$one->poll_query_until('postgres', 'SELECT wal_behind = 0 AND wal_error IS NULL FROM cfp_stat');
is(names(records($one, "$shared/file/dir", $oid)), 'one/c/i4/1', 'and filled when it can');
$one->stop;
log_ok($one, @allowed);
$two->start;
wait_worker($two);
$two->stop;
log_ok($two, @allowed);

#
# An error longer than cfp_stat keeps, cut where a character would be: one of
# the two names has it there.
#
my $file = PostgreSQL::Test::Utils::tempdir . '/file';
append_to_file($file, '');
my $long = cfp_node('long', 'cfp.flush_interval = 500ms', 'cfp.min_free_space = 0');
cfp_install($long);
foreach my $pad ('', 'x')
{
	$long->append_conf('postgresql.conf', "cfp.base_dir = '$file/$pad" . ("\xe2\x82\xac" x 80) . "'");
	$long->restart;
	wait_worker($long);
	$long->safe_psql('postgres', q{SELECT cfp_store('long', '{}', 'i', 'c'); SELECT cfp_flush()});
	like($long->safe_psql('postgres', q{SELECT convert_from(convert_to(wal_error, 'UTF8'), 'UTF8') FROM cfp_stat}),
		qr/^could not /, 'an error that is too long is still text');
}
$long->stop;
log_ok($long, @allowed);

$node->stop;
log_ok(
	$node, @allowed,
	qr/terminating connection because of crash of another server process/,
	qr/the database system is (starting up|shutting down|in recovery mode|not yet accepting connections)/);

done_testing();
