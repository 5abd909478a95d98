# A database that publishes all tables, to one that has cfp, too: the
# publisher prunes and restores as ever, the subscription goes on, and the
# subscriber shows what its publisher shows, before and after its own folds.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use Test::More;

my @conf = ('wal_level = logical', 'max_wal_senders = 10', 'max_replication_slots = 10',
	'max_worker_processes = 20', 'max_logical_replication_workers = 10', 'max_sync_workers_per_subscription = 4',
	"cfp.timezone = 'UTC'", 'wal_retrieve_retry_interval = 100ms');
my $publisher = cfp_node('publisher', @conf);
my $subscriber = cfp_node('subscriber', @conf);
cfp_install($publisher);
cfp_install($subscriber);

sub sql
{
	return $publisher->safe_psql('postgres', $_[0]);
}

sub on_subscriber
{
	return $subscriber->safe_psql('postgres', $_[0]);
}

# What reading functions show of everything.
my $shown = q{
SELECT string_agg(format('%s/%s/%s %s %s', key, collection_name, item_name, version, value), E'\n' ORDER BY key, collection_name, item_name)
FROM storage_current;
SELECT string_agg(format('%s %s', c.key, i), E'\n' ORDER BY c.key, i.item_name)
FROM (SELECT DISTINCT key FROM storage_history UNION SELECT key FROM storage_latest) c, cfp_items(c.key, 'c') i};

# The subscriber shows the same; folded as well, when told to.
sub same_ok
{
	my ($what, $fold) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$publisher->wait_for_catchup('all');
	my $wanted = sql($shown) =~ s/,\d+\)$/)/gmr;
	is(on_subscriber($shown) =~ s/,\d+\)$/)/gmr, $wanted, "$what: the same");
	return if defined $fold && !$fold;
	on_subscriber('SELECT cfp_fold()');
	is(on_subscriber($shown) =~ s/,\d+\)$/)/gmr, $wanted, "$what: folded, too");
	return;
}

# Both begin with records; the subscriber has folded some of its own.
sql(q{SELECT cfp_store('k', '{}', 'i' || i, 'c', v) FROM generate_series(1, 5) i, generate_series(1, 3) v; SELECT cfp_fold()});
sql(q{SELECT cfp_store('k', '{}', 'i1', 'c', 4)});
on_subscriber(q{SELECT cfp_store('own', '{}', 'x', 'c', 1); SELECT cfp_fold(); SELECT cfp_store('own', '{}', 'y', 'c', 1)});
on_subscriber('INSERT INTO cfp.storage_latest SELECT key, collection_name, item_name, data, value_int, value_float, value_string,
	timestamp, status, status_int, username, updated_at, 2, operation, txid FROM (VALUES (1)) v, cfp_items(\'own\', \'c\') WHERE false');
sql('CREATE PUBLICATION everything FOR ALL TABLES');
on_subscriber(sprintf(q{CREATE SUBSCRIPTION "all" CONNECTION '%s' PUBLICATION everything},
	$publisher->connstr('postgres') =~ s/'/''/gr));
$subscriber->wait_for_subscription_sync($publisher, 'all');
is(on_subscriber(q{SELECT count(*) FROM storage_history WHERE key = 'k'}), '16', 'the history is copied');
is(on_subscriber(q{SELECT cfp_get_value('own', 'x', 'c')::text || cfp_get_value('own', 'y', 'c')}), '11', 'what it had is there');
on_subscriber(q{DELETE FROM storage_history WHERE key = 'own'; DELETE FROM storage_latest WHERE key = 'own'});
same_ok('copied');

# Stores, a fold on both sides, in either order.
sql(q{SELECT cfp_store('k', '{}', 'i2', 'c', 5), cfp_delete('k', 'i3', 'c')});
same_ok('stores');
sql('SELECT cfp_fold()');
same_ok('the publisher folds after the subscriber');
sql(q{SELECT cfp_store('k', '{}', 'i4', 'c', 6), cfp_store('k', '{}', 'new', 'c', 1); SELECT cfp_fold()});
same_ok('the publisher folds before the subscriber');

# Pruned and stored again: on the publisher it goes on above the tombstone.
is(sql(q{SELECT cfp_prune_history('infinity')}), 3 + 3 + 4 + 3 + 2, 'the publisher prunes');
is(sql(q{SELECT count(*) FROM storage_history WHERE item_name = 'i3'}), '0', 'a tombstone goes');
same_ok('pruned');
is(on_subscriber(q{SELECT count(*) FROM storage_latest WHERE item_name = 'i3'}), '0', 'from latest of the subscriber, too');
is(sql(q{SELECT cfp_store('k', '{}', 'i3', 'c', 7)}), '5', 'it is stored again');
same_ok('stored again');

# Removed, renamed, and put back by hand.
sql(q{DELETE FROM storage_history WHERE item_name = 'i5'; DELETE FROM storage_latest WHERE item_name = 'i5'});
same_ok('removed by hand');
sql(q{UPDATE storage_history SET item_name = 'renamed' WHERE item_name = 'i4'; UPDATE storage_latest SET item_name = 'renamed' WHERE item_name = 'i4'});
same_ok('renamed by hand');
sql(q{SELECT cfp_store('k', '{}', 'i1', 'c', 8)});
same_ok('before the newest record goes');
sql(q{DELETE FROM storage_history WHERE item_name = 'i1' AND version = 5});
same_ok('the newest record removed');
sql(q{UPDATE storage_history SET value_int = 9 WHERE item_name = 'i1'; UPDATE storage_latest SET value_int = 9 WHERE item_name = 'i1'});
same_ok('changed by hand');
sql(q{BEGIN; SAVEPOINT s; DELETE FROM storage_history; ROLLBACK TO s; SELECT cfp_store('k', '{}', 'i1', 'c', 10); COMMIT});
same_ok('with a part rolled back');

# Back to a backup.
my $date = '2020-01-01';
sql("INSERT INTO storage_days (date, started, items_folded) VALUES ('$date', now(), 0); SELECT pg_reload_conf()");
wait_true($publisher, "SELECT finished IS NOT NULL FROM cfp.storage_days WHERE date = '$date'");
sql(q{SELECT cfp_store('k', '{}', 'i1', 'c', 11), cfp_store('k', '{}', 'after', 'c', 1), cfp_delete('k', 'i2', 'c'); SELECT cfp_fold()});
same_ok('after the backup');
sql(qq{SELECT cfp_restore_backup('$date', discard_newer => true)});
is(sql(q{SELECT cfp_get_value('k', 'i1', 'c')}), '10', 'the publisher goes back to a backup');
same_ok('restored');
is(sql(q{SELECT cfp_store('k', '{}', 'i1', 'c', 12)}), '8', 'versions go on above what was discarded');
is(sql(q{SELECT cfp_store('k', '{}', 'after', 'c', 2)}), '8', 'of all items of the collection');
same_ok('and stored');

# A new start.
sql('TRUNCATE storage_history, storage_latest');
same_ok('truncated');
sql(q{SELECT cfp_store('k', '{}', 'i1', 'c', 13)});
same_ok('a new start');
sql('TRUNCATE storage_history');
same_ok('the history alone truncated', 0);

# What the workers write is each its own.
is(on_subscriber(q{SELECT count(*) FROM cfp_state WHERE system_identifier <> (SELECT system_identifier FROM pg_control_system())}), '0', 'the state of the worker is not applied');
is(on_subscriber('SELECT count(*) FROM cfp_pruned'), '0', 'nor what was pruned');
is(on_subscriber(qq{SELECT count(*) FROM storage_days WHERE date = '$date'}), '0', 'nor the dates');
is(on_subscriber(q{SELECT count(*) FROM pg_stat_subscription_stats WHERE apply_error_count > 0 OR sync_error_count > 0}), '0', 'nothing had to be tried again');

# The subscriber takes over.
sql('TRUNCATE storage_history, storage_latest');
sql(q{SELECT cfp_store('k', '{}', 'x', 'c', v) FROM generate_series(1, 3) v; SELECT cfp_delete('k', 'x', 'c'); SELECT cfp_fold()});
my $last = sql(q{SELECT version FROM storage_latest WHERE item_name = 'x'});
sql(q{SELECT cfp_prune_history('infinity')});
same_ok('the last');
on_subscriber('ALTER SUBSCRIPTION "all" DISABLE; ALTER SUBSCRIPTION "all" SET (slot_name = NONE); DROP SUBSCRIPTION "all"');
is(on_subscriber(q{SELECT cfp_store('k', '{}', 'x', 'c', 1)}), $last + 1, 'versions go on on the subscriber');
seen_ok($subscriber, 'all agree there');

$publisher->stop;
$subscriber->stop;
log_ok($publisher, qr/terminating logical replication worker/);
log_ok($subscriber, qr/background worker "logical replication|terminating logical replication worker/);
done_testing();
