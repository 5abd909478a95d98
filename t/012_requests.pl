# Requests to the worker: they wait, bring its errors, and never deadlock unseen.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use DBD::Pg qw(:async);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = cfp_node('main', "shared_preload_libraries = 'cfp, auto_explain'", 'auto_explain.log_nested_statements = on', 'deadlock_timeout = 100ms', 'cfp.flush_interval = 1h', 'cfp.batch_size = 1000000');
cfp_install($node);

sub dies_with
{
	my ($session, $sql, $state, $pattern, $what) = @_;
	my $died = !eval { $session->do($sql); 1 };

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($died, $what);
	is($session->state, $state, "$what: SQLSTATE");
	like($session->errstr // '', $pattern, "$what: message");
	return;
}

# What was committed before the call is flushed when it returns.
my $session = connect_node($node);
foreach my $round (1 .. 20)
{
	$session->do("SELECT cfp_store('k', '{}', 'item$round', 'c', $round)");
	$session->do('SELECT cfp_flush()');
	is($session->selectrow_array("SELECT count(*) FROM storage_dirty WHERE item_name = 'item$round'"), '1',
		"round $round: cfp_flush waits for the flush");
}
$session->do("SELECT cfp_store('k', '{}', 'item1', 'c', 0)");
is($session->selectrow_array('SELECT cfp_fold()'), '20', 'cfp_fold flushes first, and returns how many items it folded');
is($session->selectrow_array("SELECT value_int FROM storage_latest WHERE item_name = 'item1'"), '0', 'what it folded is there');
is($session->selectrow_array('SELECT cfp_fold()'), '0', 'then there is nothing to fold');

# The caller's own transaction is not in it.
$session->do('BEGIN');
$session->do("SELECT cfp_store('k', '{}', 'pending', 'c')");
$session->do('SELECT cfp_flush()');
is($session->selectrow_array("SELECT count(*) FROM storage_dirty WHERE item_name = 'pending'"), '0', "the caller's own stores are not flushed");
$session->do('COMMIT');

# The worker's error is the caller's; stores and gets go on; it is in cfp_stat.
$session->do("SELECT cfp_store('k', '{}', 'bad', 'c')");
$session->do("ALTER TABLE storage_latest ADD CONSTRAINT no_bad CHECK (item_name <> 'bad')");
dies_with($session, 'SELECT cfp_fold()', '23514', qr/no_bad/, "the worker's error comes back");
is($session->selectrow_array("SELECT last_error LIKE '%no_bad%' AND last_error_at IS NOT NULL FROM cfp_stat"), '1', 'and is in cfp_stat');
$session->do("SELECT cfp_store('k', '{}', 'bad', 'c', 5)");
is($session->selectrow_array("SELECT cfp_get_value('k', 'bad', 'c')"), '5', 'stores and gets go on');
$session->do('ALTER TABLE storage_latest DROP CONSTRAINT no_bad');
cmp_ok($session->selectrow_array('SELECT cfp_fold()'), '>=', 1, 'after the cause is gone, the fold works');
latest_ok($node, 'and is right');

# A caller that blocks the worker itself.  The lock lets readers past; the
# store comes after it, so that the worker has something to flush.
my $other = connect_node($node);
my $lock = 'LOCK TABLE storage_dirty IN SHARE MODE';
$session->do('BEGIN');
$session->do($lock);
$other->do("SELECT cfp_store('k', '{}', 'item2', 'c')");
dies_with($session, 'SELECT cfp_flush()', '40P01', qr/deadlock|block/, 'a caller that blocks the worker');
$session->do('ROLLBACK');
like($session->selectrow_array('SELECT cfp_flush()'), qr/^[01]$/, 'then the flush works');

# Through a third session: it blocks the worker and waits for the caller.
my $third = connect_node($node);
$session->do('BEGIN');
$session->do('SELECT pg_advisory_xact_lock(1)');
$third->do('BEGIN');
$third->do($lock);
$other->do("SELECT cfp_store('k', '{}', 'item3', 'c')");
$third->do('SELECT pg_advisory_xact_lock(1)', { pg_async => PG_ASYNC });
dies_with($session, 'SELECT cfp_flush()', '40P01', qr/deadlock|block/, 'a caller that blocks the worker through another');
$session->do('ROLLBACK');
ok(succeeded($third), 'the one between goes on');
$third->do('ROLLBACK');
like($session->selectrow_array('SELECT cfp_flush()'), qr/^[01]$/, 'then the flush works');

# Somebody else blocks the worker: the call waits, can be cancelled, and the
# next one is served.
$third->do('BEGIN');
$third->do($lock);
$session->do("SELECT cfp_store('k', '{}', 'item4', 'c')");
$session->do('SET statement_timeout = 500');
dies_with($session, 'SELECT cfp_flush()', '57014', qr/statement timeout/, 'a call that waits can be cancelled');
$session->do('SET statement_timeout = 0');
$third->do('ROLLBACK');
like($session->selectrow_array('SELECT cfp_flush()'), qr/^[01]$/, 'the next call is served');
is($session->selectrow_array("SELECT count(*) FROM storage_dirty WHERE item_name = 'item4'"), '1', 'and has flushed');

# More callers at once than there is room for requests.
my @callers = map { connect_node($node) } 1 .. 45;
$session->do("SELECT cfp_store('k', '{}', 'many' || i, 'c') FROM generate_series(1, 1000) i");
foreach my $n (0 .. $#callers)
{
	$callers[$n]->do($n % 2 ? 'SELECT cfp_flush()' : 'SELECT cfp_fold()', { pg_async => PG_ASYNC });
}
my @errors = grep { !succeeded($_) } @callers;
is(join("\n", map { $_->errstr } @errors), '', 'many callers at once are all served');
latest_ok($node, 'and the result is right');
$_->disconnect foreach @callers;

# A caller that finds no room, because the worker waits for it and so serves
# none of the others.
@callers = map { connect_node($node) } 1 .. 40;
$session->do('BEGIN');
$session->do($lock);
$other->do("SELECT cfp_store('k', '{}', 'full', 'c')");
$_->do('SELECT cfp_flush()', { pg_async => PG_ASYNC }) foreach @callers;
$node->poll_query_until('postgres',
	q{SELECT count(*) = 40 FROM pg_stat_activity WHERE query = 'SELECT cfp_flush()' AND wait_event_type = 'Extension'})
  or fail('the callers wait');
$session->do('SET LOCAL statement_timeout = 60000');
dies_with($session, 'SELECT cfp_flush()', '40P01', qr/deadlock|block/, 'a caller that blocks the worker and finds no room');
$session->do('ROLLBACK');
@errors = grep { !succeeded($_) } @callers;
is(join("\n", map { $_->errstr } @errors), '', 'then the others are served');
$_->disconnect foreach @callers;

# Two callers, each of which blocks the other's worker.
$session->do('BEGIN');
$session->do($lock);
$other->do("SELECT cfp_store('k', '{}', 'crossed', 'c')");
$third->do('BEGIN');
$third->do('LOCK TABLE storage_history IN SHARE MODE');
$_->do('SET LOCAL statement_timeout = 60000') foreach $session, $third;
$third->do('SELECT cfp_flush()', { pg_async => PG_ASYNC });
$session->do(q{SELECT cfp_rebuild_history_from_wal('2000-01-01', '2100-01-01')}, { pg_async => PG_ASYNC });
my %outcome;
my @waiting = ($session, $third);
while (@waiting)
{
	my $caller = shift @waiting;

	if (!$caller->pg_ready)
	{
		push @waiting, $caller;
		usleep(10_000);
		next;
	}
	$outcome{ succeeded($caller) ? '00000' : $caller->state }++;
	$caller->do('ROLLBACK');
}
ok($outcome{'40P01'} && !$outcome{'57014'}, 'two callers that block the workers of each other')
  or diag(join(' ', %outcome));
like($session->selectrow_array('SELECT cfp_flush()'), qr/^[01]$/, 'then the flush works');

# The worker goes while a caller waits: the caller is told, or served by the next.
$third->do('BEGIN');
$third->do($lock);
$session->do("SELECT cfp_store('k', '{}', 'item5', 'c')");
my $pid = wait_worker($node);
$session->do('SELECT cfp_flush()', { pg_async => PG_ASYNC });
$node->poll_query_until('postgres', "SELECT cardinality(pg_blocking_pids($pid)) > 0")
  or fail('the worker waits for the lock');
kill 'TERM', $pid;
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid")
  or fail('SIGTERM interrupts a lock wait of the worker');
$third->do('ROLLBACK');
my $served = succeeded($session);
ok($served || $session->state eq '55000' || $session->state =~ /^57P0/, 'a caller whose worker goes is served or told')
  or diag($session->errstr);
wait_worker($node);
like($session->selectrow_array('SELECT cfp_flush()'), qr/^[01]$/, 'the next worker serves');
is($session->selectrow_array("SELECT count(*) FROM storage_dirty WHERE item_name = 'item5'"), '1', 'and has flushed');

# A change by hand stands in the way: nothing to log, but to be seen.
$third->do('BEGIN');
$third->do('DELETE FROM storage_latest WHERE false');
dies_with($session, 'SELECT cfp_fold()', '55006', qr/by hand/, 'a change by hand stands in the way');
like($session->selectrow_array('SELECT last_error FROM cfp_stat'), qr/by hand/, 'that is in cfp_stat');
$third->do('ROLLBACK');
like($session->selectrow_array('SELECT cfp_fold()'), qr/^\d+$/, 'the next fold works');

# What a DBA makes the default for sessions does not concern the worker.
my %default = (
	role => 'app', session_authorization => 'app', exit_on_error => 'on',
	temp_file_limit => '64', work_mem => '64', statement_timeout => '1', lock_timeout => '1',
	default_transaction_read_only => 'on', default_transaction_isolation => 'serializable',
	session_replication_role => 'replica', search_path => 'nowhere', row_security => 'on',
	datestyle => 'SQL, DMY', intervalstyle => 'sql_standard', bytea_output => 'escape',
	extra_float_digits => '-15', client_encoding => 'LATIN1', standard_conforming_strings => 'off',
	quote_all_identifiers => 'on', transform_null_equals => 'on', default_tablespace => '',
	'auto_explain.log_min_duration' => '0', enable_indexscan => 'off', enable_indexonlyscan => 'off', enable_nestloop => 'off', enable_sort => 'off');
$node->safe_psql('postgres', 'CREATE ROLE app; CREATE DATABASE defaults');
cfp_install($node, 'defaults');
my $worker = wait_worker($node, 'defaults');
$node->safe_psql('postgres', "ALTER DATABASE defaults SET $_ = '$default{$_}'") foreach sort keys %default;
$node->reload;
{
	local $ENV{PGOPTIONS} = join ' ', map { "-c $_" } 'session_authorization=' . $node->safe_psql('postgres', 'SELECT current_user'),
	  'role=none', 'search_path=cfp', 'statement_timeout=0', 'lock_timeout=0', 'exit_on_error=off', 'temp_file_limit=-1',
	  'default_transaction_read_only=off', 'default_transaction_isolation=read\\ committed', 'session_replication_role=origin';
	$node->poll_query_until('defaults', "SELECT worker_pid <> $worker AND worker_state <> 'starting' FROM cfp_stat");
	$worker = wait_worker($node, 'defaults');
	$node->safe_psql('defaults', q{
SELECT count(cfp_store('k', jsonb_build_object('text', repeat(md5(i::text), 10)), 'i' || i, 'c', i / 3.0)) FROM generate_series(1, 2000) i;
ALTER TABLE storage_latest ADD CONSTRAINT no_bad CHECK (item_name <> 'i7')});
	state_is($node, 'defaults', 'SELECT cfp_fold()', '23514', qr/no_bad/, 'defaults of sessions: a fold that fails');
	$node->safe_psql('defaults', 'ALTER TABLE storage_latest DROP CONSTRAINT no_bad');
	cmp_ok($node->safe_psql('defaults', 'SELECT cfp_fold()'), '>', 0, 'the next one does not');
	is($node->safe_psql('defaults', 'SELECT worker_pid, wal_error FROM cfp_stat'), "$worker|", 'by the same worker; the day files are well');
	latest_ok($node, 'the fold is right', 'defaults');
	$node->safe_psql('defaults', q{
UPDATE cfp_state SET date = date - 1 WHERE name IN ('day', 'files'); SELECT pg_terminate_backend(worker_pid) FROM cfp_stat});
	$node->poll_query_until('defaults', 'SELECT count(*) = 1 AND bool_and(finished IS NOT NULL) FROM storage_days')
	  or fail('the day is closed');
	is($node->safe_psql('defaults', 'SELECT cfp_verify_backup(date), error FROM storage_days'), '4000|', 'with its backup');
}

# Whose statements are logged is seen in the log: not those of cfp's processes.
my $log = slurp_file($node->logfile);
like($log, qr/\[\d+\] 012_requests\.pl LOG:  duration: /, 'what sessions run is logged where it is wanted');
unlike($log, qr/\[\d+\] LOG:  duration: /, 'what the worker runs is not');

$_->disconnect foreach $session, $third, $other;
seen_ok($node, 'all agree');
$node->stop;
log_ok(
	$node,
	qr/(?:ERROR|WARNING):  [^\n]*no_bad/,
	qr/ERROR:  [^\n]*(?:deadlock|block)/,
	qr/ERROR:  canceling statement due to statement timeout/,
	qr/ERROR:  [^\n]*worker/,
	qr/ERROR:  [^\n]*by hand/,
	qr/FATAL:  terminating background worker "[^"]*" due to administrator command/);
done_testing();
