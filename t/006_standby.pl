# A hot standby reads what the primary has, refuses stores, and takes over.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
# The feedback keeps the primary from vacuuming away what snapshots on the
# standby see, which would end them.
$primary->append_conf('postgresql.conf', <<'END');
shared_preload_libraries = 'cfp'
jit = off
cfp.flush_interval = 1s
hot_standby_feedback = on
wal_receiver_status_interval = 1s
END
$primary->start;
cfp_install($primary);

$primary->safe_psql('postgres', q{
SELECT cfp_store('k', jsonb_build_object('n', n), 'item' || n, 'c' || c, n)
FROM generate_series(1, 5) c, generate_series(1, 40) n;
SELECT cfp_fold();
SELECT cfp_store('k', '{"late": 1}', 'item' || n, 'c1', n) FROM generate_series(1, 40, 2) n;
SELECT cfp_delete('k', 'item2', 'c1');
SELECT cfp_flush();
SELECT cfp_store('k', '{"later": 1}', 'item3', 'c1', 'three');
CREATE FOREIGN TABLE typed (item text OPTIONS (field 'item_name') COLLATE "C", value jsonb) SERVER cfp OPTIONS (key 'k', collection 'c1')});

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $all = q{SELECT cfp_get_key('k')};
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($standby->safe_psql('postgres', $all), $primary->safe_psql('postgres', $all), 'the standby reads the same');
seen_ok($standby, 'all agree on the standby');

# Changes arrive; a transaction in flight on the primary is not seen.
my $session = connect_node($standby);
$session->selectrow_array($all);
my $writer = connect_node($primary);
$writer->do('BEGIN');
$writer->do(q{SELECT cfp_store('k', '{"flight": 1}', 'item4', 'c1', 4)});
$primary->safe_psql('postgres', q{
SELECT cfp_store('pruned', '{}', 'x', 'c'), cfp_delete('pruned', 'x', 'c');
SELECT cfp_fold();
SELECT cfp_prune_history('infinity', key => 'pruned');
SELECT cfp_store('k', '{"after": 1}', 'item5', 'c1', 5);
SELECT cfp_store('k2', '{}', 'new', 'c', 1)});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($session->selectrow_array(q{SELECT cfp_get_data('k', 'item5', 'c1') ->> 'after'}), '1',
	'a store arrives on the standby');
is($session->selectrow_array(q{SELECT cfp_get_data('k', 'item4', 'c1') ->> 'flight'}), undef,
	'one in flight does not');

# A long snapshot on the standby stays as it is.
$session->do('BEGIN ISOLATION LEVEL REPEATABLE READ');
my $old = $session->selectrow_array($all);
$writer->do('COMMIT');
$primary->safe_psql('postgres', q{SELECT cfp_store('k', '{"x": 1}', 'item' || n, 'c2', 1) FROM generate_series(1, 40) n});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($session->selectrow_array($all), $old, 'an old snapshot on the standby reads the same');
$session->do('COMMIT');
is($session->selectrow_array(q{SELECT cfp_get_data('k', 'item4', 'c1') ->> 'flight'}), '1',
	'the next one sees what has been committed since');
seen_ok($standby, 'all agree on the standby after changes');

# What a standby refuses.
state_is($standby, 'postgres', q{SELECT cfp_store('k', '{}', 'i', 'c')}, '25006', qr/read-only|recovery/, 'cfp_store on a standby');
state_is($standby, 'postgres', q{SELECT cfp_delete('k', 'item1', 'c1')}, '25006', qr/read-only|recovery/, 'cfp_delete on a standby');
state_is($standby, 'postgres', q{UPDATE storage_current SET value = '1' WHERE item_name = 'item1'}, '25006', undef, 'the table on a standby');
state_is($standby, 'postgres', q{SELECT value FROM storage_current WHERE key = 'k' AND collection_name = 'c1' FOR UPDATE}, '25006', undef, 'rows locked on a standby');
is($standby->safe_psql('postgres', q{SELECT count(*) = (SELECT count(*) FROM cfp_items('k', 'c1')) FROM typed}), 't', 'a typed table on a standby');
state_is($standby, 'postgres', q{INSERT INTO typed VALUES ('i', '1') ON CONFLICT (item) DO UPDATE SET value = '2'}, '25006', undef, 'a typed table on a standby, changed');
state_is($standby, 'postgres', q{SELECT cfp_flush()}, '25006', qr/standby|recovery/, 'cfp_flush on a standby');
state_is($standby, 'postgres', q{SELECT cfp_fold()}, '25006', qr/standby|recovery/, 'cfp_fold on a standby');
is($standby->safe_psql('postgres', 'SELECT worker_pid IS NULL FROM cfp_stat'), 't', 'a standby has no worker');

# Promotion: with a session that read the standby, and a transaction left in
# flight on the primary.
$writer->do('BEGIN');
$writer->do(q{SELECT cfp_store('k', '{"lost": 1}', 'item6', 'c1', 6)});
my $wanted = $primary->safe_psql('postgres', $all);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$primary->stop('immediate');
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
is($standby->safe_psql('postgres', $all), $wanted, 'promoted: reads the same');
is($session->selectrow_array($all), $wanted, 'promoted: a session that was there before reads the same');
is($session->selectrow_array(q{SELECT cfp_store('k', '{}', 'item3', 'c1', 'promoted')}), '4',
	'promoted: versions go on');
is($session->selectrow_array(q{SELECT cfp_store('pruned', '{}', 'x', 'c')}), '3',
	'promoted: of what was pruned, too');
is($session->selectrow_array(q{SELECT cfp_get_text('k', 'item3', 'c1')}), 'promoted', 'promoted: its store is read');
wait_worker($standby);
cmp_ok($standby->safe_psql('postgres', 'SELECT cfp_fold()'), '>', 0, 'promoted: the worker folds');
latest_ok($standby, 'promoted: the fold is right');
seen_ok($standby, 'promoted: all agree');
history_ok($standby, 'promoted: no version twice');

$session->disconnect;
$standby->stop;
log_ok($primary, qr/FATAL:  (?:the database system is|terminating walsender)/);
log_ok(
	$standby,
	qr/ERROR:  [^\n]*(?:read-only|recovery|standby)/,
	qr/FATAL:  (?:(?:streaming replication receiver "standby" )?could not connect to the primary server|could not (?:receive|send) (?:data|end)|terminating walreceiver)/);
done_testing();
