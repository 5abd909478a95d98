# The ready-made monitoring: queries for postgres_exporter, a check for Nagios
# and its like; as a role that has no more than they ask for.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = "$FindBin::RealBin/../monitoring";
my $node = cfp_node('main', 'cfp.flush_interval = 1s');
cfp_install($node);
$node->safe_psql('postgres', q{
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
GRANT USAGE ON SCHEMA cfp TO monitor;
GRANT SELECT ON cfp.storage_days TO monitor;
CREATE DATABASE empty});

# ---- postgres_exporter

my $yaml = slurp_file("$dir/postgres_exporter.yaml");
my %sections = $yaml =~ /^(\w+):\n((?:(?!^\w).*\n?)+)/mg;
is(join(' ', sort keys %sections), 'cfp cfp_days', 'the queries there are');

sub exporter_ok
{
	my ($name, $what) = @_;
	my ($query) = $sections{$name} =~ /^  query: \|\n((?:    .*\n)+)/m;
	my @metrics = $sections{$name} =~ /^    - (\w+): \{ usage: "(?:LABEL|GAUGE|COUNTER)", description: "[^"]+" \}$/mg;
	my $dbh = connect_node($node, 'postgres', user => 'monitor');
	my $statement = $dbh->prepare($query);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$statement->execute;
	is(join(' ', @{ $statement->{NAME} }), join(' ', @metrics), "$name, $what: each column is a metric");
	my $rows = $statement->fetchall_arrayref({});
	is(scalar @$rows, 1, "$name, $what: one row");
	$dbh->disconnect;
	return $rows->[0];
}

my $row = exporter_ok('cfp', 'new database');
is($row->{worker_up}, 1, 'its worker is up');
is(exporter_ok('cfp_days', 'new database')->{backup_age_seconds}, -1, 'it has no backup');
$node->safe_psql('postgres', q{
SELECT cfp_store('k', '{}', 'i', 'c');
INSERT INTO storage_days (date, started, finished, records, items_folded, backup_bytes) VALUES ('2026-11-01', now(), now() - interval '1 hour', 7, 7, 700);
INSERT INTO storage_days (date, started, finished, records, error) VALUES ('2026-11-02', now(), now(), 8, 'no room')});
is(exporter_ok('cfp', 'in use')->{stores}, $row->{stores} + 1, 'stores are counted');
$row = exporter_ok('cfp_days', 'in use');
is(join(' ', @$row{qw(not_well backup_bytes records)}), '1 700 8', 'a close that failed, the newest backup, the newest date');
ok($row->{backup_age_seconds} >= 3600, 'the age of the backup');

# ---- check_cfp

sub check
{
	my (@arguments) = @_;
	my ($stdout, $stderr) = ('', '');

	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGUSER} = 'monitor';
	IPC::Run::run([ "$dir/check_cfp", @arguments ], '>', \$stdout, '2>', \$stderr);
	return ($? >> 8) . " $stdout$stderr";
}

sub check_is
{
	my ($expected, $what, @arguments) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return like(check(@arguments), $expected, "check_cfp: $what");
}

my $performance = qr/ \| unflushed=\d+ unflushed_age=\d+s;\d+;\d+ dirty=\d+ wal_behind=0 cache_used=\d+B stores=\d+c gets=\d+c hits=\d+c\n$/;
check_is(qr/^1 CFP WARNING - close of 2026-11-02: no room$performance/, 'a close that failed', 'postgres');
$node->safe_psql('postgres', q{UPDATE storage_days SET error = NULL});
check_is(qr/^0 CFP OK - worker runs, nothing waits$performance/, 'all is well', 'postgres');
$node->safe_psql('postgres', q{UPDATE storage_days SET finished = now() - interval '40 hours'});
check_is(qr/^1 CFP WARNING - the newest backup is of 2026-11-01 /, 'an old backup', 'postgres');
check_is(qr/^0 /, 'the backups are not looked at', '-b', '0', 'postgres');
$node->safe_psql('postgres', q{DELETE FROM storage_days});
check_is(qr/^0 /, 'no backup yet', 'dbname=postgres');

# Records that wait, for the worker is stopped.
my $worker = wait_worker($node);
$node->safe_psql('postgres', q{SELECT cfp_flush()});
kill 'STOP', $worker;
$node->safe_psql('postgres', q{SELECT cfp_store('k', '{}', 'i', 'c')});
wait_true($node, q{SELECT unflushed_age > '2s' FROM cfp.cfp_stat});
check_is(qr/^1 CFP WARNING - 1 records wait for the flush since \d+ s$performance/, 'records wait', '-w', '2', 'postgres');
check_is(qr/^2 CFP CRITICAL - 1 records wait/, 'for too long', '-w', '1', '-c', '2', 'postgres');
check_is(qr/^0 /, 'for less than is said', 'postgres');
kill 'CONT', $worker;

# Day files that cannot be written.
my ($base) = glob($node->data_dir . '/cfp/*_postgres');
$node->safe_psql('postgres', 'SELECT cfp_flush()');
my ($date) = map { m{/(\d{4}-\d\d-\d\d)$} ? $1 : () } glob("$base/*");
rename "$base/$date", "$base/away" or BAIL_OUT("$base/$date: $!");
append_to_file("$base/$date", 'no directory');
$node->safe_psql('postgres', q{SELECT cfp_store('k', '{}', 'i', 'c'), cfp_store('k', '{}', 'j', 'c'); SELECT cfp_flush()});
wait_true($node, q{SELECT wal_error IS NOT NULL FROM cfp.cfp_stat});
check_is(qr/^2 CFP CRITICAL - day files are not written: could not .*wal_behind=[1-9]/, 'day files are not written', 'postgres');
unlink "$base/$date";
rename "$base/away", "$base/$date" or BAIL_OUT("$base/away: $!");
wait_true($node, q{SELECT cfp_flush() IS NOT NULL AND wal_error IS NULL FROM cfp.cfp_stat});

# What cannot be told.
check_is(qr/^3 CFP UNKNOWN - .*does not exist/, 'a database without cfp', 'empty');
check_is(qr/^3 CFP UNKNOWN - .*does not exist/, 'no such database', 'nowhere');
check_is(qr/^3 CFP UNKNOWN - .*cfp_stat.* does not exist/, 'another schema', '-S', q{it's "other"}, 'postgres');
check_is(qr/^3 CFP UNKNOWN - not a whole number: 1m/, 'no number', '-w', '1m', 'postgres');
check_is(qr/^3 CFP UNKNOWN - usage/m, 'an option that there is not', '-x');
check_is(qr/^3 CFP UNKNOWN - more than one/, 'two databases', 'postgres', 'empty');
$node->safe_psql('postgres', 'REVOKE SELECT ON cfp.storage_days FROM monitor');
check_is(qr/^3 CFP UNKNOWN - .*permission denied for table storage_days/, 'a privilege that is missing', 'postgres');
$node->stop;
check_is(qr/^2 CFP CRITICAL - .*connection/, 'no server', 'postgres');

log_ok($node, qr/does not exist|permission denied for table storage_days|day files are not written/);
done_testing();
