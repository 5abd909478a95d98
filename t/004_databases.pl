# Databases and extensions that come and go while workers run.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use DBD::Pg qw(:async);
use Test::More;
use Time::HiRes qw(usleep);

my $node = cfp_node('main');

# CREATE EXTENSION without a restart: the worker appears.
cfp_install($node);
like(wait_worker($node), qr/^\d+$/, 'a worker appears after CREATE EXTENSION');
$node->safe_psql('postgres', q{SELECT cfp_store('k', '{}', 'i', 'c', 1)});

# DROP DATABASE with a worker in it, at any time of the worker's life.
foreach my $round (1 .. 12)
{
	$node->safe_psql('postgres', 'CREATE DATABASE loop');
	$node->safe_psql('loop', q{
CREATE EXTENSION cfp;
SELECT cfp_store('k', '{}', 'i' || i, 'c', i) FROM generate_series(1, 50) i});
	wait_worker_public('loop') if $round % 2;
	$node->safe_psql('loop', 'SELECT cfp_flush()') if $round % 4 == 1;
	my ($state, $error) = sqlstate($node, 'postgres', 'DROP DATABASE loop');
	is($state, '00000', "round $round: DROP DATABASE is not blocked") or diag($error);
}

# Has the launcher had a worker look at the database?
sub wait_looked
{
	my ($database) = @_;

	$node->poll_query_until($database, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND backend_type LIKE 'cfp%'})
	  or BAIL_OUT("a worker stays in $database");
	$node->safe_psql($database, 'CREATE EXTENSION cfp');
	wait_worker_public($database);
	return;
}

sub wait_worker_public
{
	my ($database) = @_;

	$node->poll_query_until($database, 'SELECT worker_pid IS NOT NULL FROM cfp_stat')
	  or BAIL_OUT("no worker in $database");
	return;
}

# What the old database cached is not seen in a new one of the same name.
$node->safe_psql('postgres', 'CREATE DATABASE loop');
$node->safe_psql('loop', 'CREATE EXTENSION cfp');
is($node->safe_psql('loop', q{SELECT cfp_get('k', 'i1', 'c') IS NULL, cfp_store('k', '{}', 'i1', 'c')}),
	't|1', 'a new database starts empty');

# RENAME with a worker in it.
wait_worker_public('loop');
$node->safe_psql('postgres', 'ALTER DATABASE loop RENAME TO renamed');
wait_worker_public('renamed');
is($node->safe_psql('renamed', q{SELECT cfp_get_value('k', 'i1', 'c') IS NULL, cfp_store('k', '{}', 'i1', 'c', 5)}),
	't|2', 'a renamed database goes on');

# As a template, flushed and not.
$node->safe_psql('renamed', q{
SELECT cfp_store('k', '{}', 'f' || i, 'c', i) FROM generate_series(1, 50) i;
SELECT cfp_flush();
SELECT cfp_store('k', '{}', 'g' || i, 'c', i) FROM generate_series(1, 50) i});
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE renamed');
wait_worker_public('copy');
is($node->safe_psql('copy', q{
	SELECT count(*), sum(value_int) FROM cfp_items('k', 'c');
	SELECT cfp_store('k', '{}', 'f1', 'c', 99)}),
	"101|2555\n2", 'a copy has the data, and its versions go on');
is($node->safe_psql('renamed', q{SELECT cfp_get_value('k', 'f1', 'c')}), '1',
	'the template does not see what its copy stores');
foreach my $database ('renamed', 'copy')
{
	wait_worker_public($database);
	$node->safe_psql($database, 'SELECT cfp_fold()');
	is($node->safe_psql($database, q{
		SELECT count(*) FROM (
			SELECT DISTINCT ON (key, collection_name, item_name) h.*
			FROM storage_history h
			ORDER BY key, collection_name, item_name, version DESC) h
		FULL JOIN storage_latest l USING (key, collection_name, item_name, version)
		WHERE h.data IS DISTINCT FROM l.data OR h.value_int IS DISTINCT FROM l.value_int}),
		'0', "the fold is right in database $database");
}

# A command that fails: the worker comes back.
my $held = connect_node($node, 'copy');
state_is($node, 'postgres', 'DROP DATABASE copy', '55006', qr/being accessed by other users/,
	'DROP DATABASE with a session in it');
wait_worker_public('copy');
is($held->selectrow_array('SELECT cfp_flush() >= 0'), '1', 'the worker comes back when DROP DATABASE fails');
$held->disconnect;
$node->safe_psql('postgres', 'DROP DATABASE copy');
$node->safe_psql('postgres', 'DROP DATABASE renamed');

# CREATE EXTENSION rolled back, with a store; and committed with one.
$node->safe_psql('postgres', 'CREATE DATABASE tried');
$node->safe_psql('tried', q{
BEGIN;
CREATE EXTENSION cfp;
SELECT cfp_store('k', '{}', 'i', 'c', 'never');
SELECT cfp_get('k', 'i', 'c');
ROLLBACK});
state_is($node, 'tried', q{SELECT cfp_get('k')}, '42883', qr/cfp_get/, 'CREATE EXTENSION rolled back');
is($node->safe_psql('tried', q{
	BEGIN;
	CREATE EXTENSION cfp;
	SELECT cfp_get('k', 'i', 'c') IS NULL;
	SELECT cfp_store('k', '{}', 'i', 'c', 'first');
	SELECT cfp_get_text('k', 'i', 'c');
	COMMIT;
	SELECT cfp_get_text('k', 'i', 'c'), version FROM storage_history}),
	"t\n1\nfirst\nfirst|1", 'CREATE EXTENSION and the first store in one transaction');
wait_worker_public('tried');
is($node->safe_psql('tried', 'SELECT cfp_fold()'), '1', 'that store is folded');

# What is rolled back to a savepoint, with the extension that it was stored into.
foreach my $made ('DROP EXTENSION cfp; CREATE EXTENSION cfp;', '')
{
	is($node->safe_psql('tried', qq{
		BEGIN;
		SAVEPOINT s;
		$made
		SELECT cfp_store('k', '{}', 'i', 'c', 'never');
		SELECT cfp_store('k', '{}', 'j', 'd', 'never');
		ROLLBACK TO s;
		SELECT cfp_store('k', '{}', 'i', 'c', 'second');
		SELECT cfp_get_text('k', 'i', 'c'), cfp_get('k', 'j', 'd') IS NULL;
		SAVEPOINT t;
		SELECT cfp_store('k', '{}', 'i', 'c', 'never');
		ROLLBACK TO t;
		DROP EXTENSION cfp;
		ROLLBACK TO t;
		COMMIT;
		SELECT cfp_get_text('k', 'i', 'c'), version, (SELECT max(version) FROM storage_history) FROM storage_current;
		SELECT cfp_store('k', '{}', 'i', 'c', 'first')}),
		$made ? "1\n1\n2\nsecond|t\n3\nsecond|2|2\n4" : "5\n1\n6\nsecond|t\n7\nsecond|6|6\n8", "rolled back to a savepoint: $made");
}
is($node->safe_psql('tried', q{
	BEGIN;
	SAVEPOINT s;
	SELECT cfp_store('k', '{}', 'i', 'c', 'never');
	ROLLBACK TO s;
	DROP EXTENSION cfp;
	CREATE EXTENSION cfp;
	SELECT cfp_store('k', '{}', 'i', 'c', 'first');
	COMMIT;
	SELECT cfp_get_text('k', 'i', 'c'), version FROM storage_history}), "9\n1\nfirst|1", 'and before it is made anew');
state_is($node, 'tried', q{BEGIN; SELECT cfp_store('k', '{}', 'i', 'c', 2); DROP EXTENSION cfp; CREATE EXTENSION cfp; SELECT cfp_store('k', '{}', 'i', 'c', 3)},
	'55000', qr/has stored with the extension that it dropped/, 'what is not rolled back would be lost');

# DROP EXTENSION while others use it, and again.
my $user = connect_node($node, 'tried');
is($user->selectrow_array(q{SELECT cfp_get_text('k', 'i', 'c')}), 'first', 'a session uses the extension');
foreach my $round (1 .. 5)
{
	$node->safe_psql('tried', 'DROP EXTENSION cfp');
	is(eval { $user->selectrow_array(q{SELECT cfp_get_text('k', 'i', 'c')}); 1 }, undef,
		"round $round: the extension is gone for a session that used it");
	is($user->state, '42883', "round $round: SQLSTATE");
	$node->safe_psql('tried', 'CREATE EXTENSION cfp');
	is($user->selectrow_array(q{SELECT cfp_get('k', 'i', 'c') IS NULL}), '1',
		"round $round: nothing old is seen");
	is($user->selectrow_array(q{SELECT cfp_store('k', '{}', 'i', 'c', 'again')}), '1',
		"round $round: versions start anew");
	wait_worker_public('tried') if $round % 2;
}
$user->disconnect;
$node->safe_psql('tried', 'DROP EXTENSION cfp');
$node->poll_query_until('postgres',
	q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'tried' AND backend_type LIKE 'cfp%'})
  or fail('the worker leaves a database without the extension');

# A database that an interrupted DROP DATABASE has left: no worker tries it.
$node->safe_psql('postgres', q{CREATE DATABASE broken ALLOW_CONNECTIONS false; UPDATE pg_database SET datconnlimit = -2, datallowconn = true WHERE datname = 'broken'});
$node->safe_psql('postgres', 'CREATE DATABASE other');
wait_looked('other');
$node->safe_psql('postgres', 'DROP DATABASE other');
$node->safe_psql('postgres', 'DROP DATABASE broken');

# A job whose database goes before its worker has connected: at any time of it.
foreach my $round (1 .. 12)
{
	$node->safe_psql('postgres', 'CREATE DATABASE loop');
	$node->safe_psql('loop', q{CREATE EXTENSION cfp; SELECT cfp_store('k', '{}', 'i', 'c', 1)});
	wait_worker_public('loop');
	my $job = connect_node($node, 'loop', pg_server_prepare => 0);
	$job->do('SELECT cfp_rebuild_latest_from_history()', { pg_async => PG_ASYNC });
	usleep(1000 * $round);
	$node->safe_psql('postgres', 'DROP DATABASE loop WITH (FORCE)');
}

# The first database never noticed.
seen_ok($node, 'another database agrees');
is($node->safe_psql('postgres', q{SELECT cfp_get_value('k', 'i', 'c')}), '1', 'another database has its data');

$node->stop;
log_ok(
	$node,
	qr/ERROR:  database "copy" is being accessed by other users/,
	qr/ERROR:  this transaction has stored with the extension that it dropped/,
	qr/ERROR:  function cfp_get(?:_text)?\(/);
done_testing();
