# What else works on the storage tables: reindexing, triggers and constraints of
# one's own (as pg_repack and trigger-based replication make), logical
# replication, triggers taken away and made again.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use CfpTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = cfp_node('main', 'wal_level = logical', 'max_wal_senders = 4', 'max_replication_slots = 4');
cfp_install($node);

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# A session whose prepared reads know the indexes reads on when these are others.
sql(q{SELECT cfp_store('index', '{}', 'i', 'c', 1); SELECT cfp_fold()});
my $reader = connect_node($node);
$reader->do(q{PREPARE reading AS SELECT cfp_get_value('index', 'i', 'c')::text || ' ' || (cfp_get_collection('index', 'c') IS NOT NULL)
	|| ' ' || (SELECT value_int FROM cfp_item('index', 'i', 'c'))
	|| ' ' || (SELECT count(*) FROM cfp_history('index', 'i', 'c'))});
is($reader->selectrow_array('EXECUTE reading'), '1 true 1 1', 'a prepared read');
foreach my $table (qw(storage_history storage_latest storage_dirty cfp_state))
{
	$reader->do('BEGIN');
	$reader->do('SELECT 1');
	sql(q{SELECT cfp_evict('index', 'c')});
	sql("REINDEX TABLE CONCURRENTLY cfp.$table");
	is(eval { $reader->selectrow_array('EXECUTE reading') } // $reader->errstr,
		'1 true 1 1', "in the same transaction as before REINDEX CONCURRENTLY of $table");
	$reader->do('COMMIT');
}
$reader->disconnect;

# A trigger after each row sees each store, whatever way it is written.
sql(q{
CREATE TABLE copied (LIKE cfp.storage_history);
CREATE FUNCTION copy_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO copied SELECT (NEW).*;
	RETURN NULL;
END $$;
CREATE TRIGGER copying AFTER INSERT ON cfp.storage_history FOR EACH ROW EXECUTE FUNCTION copy_row();
ALTER TABLE cfp.storage_history ENABLE ALWAYS TRIGGER copying});
sql(q{SELECT cfp_store('copied', '{}', 'one', 'c', 1)});
sql(q{SELECT count(cfp_store('copied', '{}', 'many' || n, 'c', n)) FROM generate_series(1, 2500) n});
sql(q{BEGIN; SELECT cfp_store('copied', '{}', 'kept', 'c', 1); SAVEPOINT s; SELECT cfp_store('copied', '{}', 'not kept', 'c', 1);
	ROLLBACK TO s; SELECT cfp_delete('copied', 'one', 'c'); COMMIT});
sql(q{SELECT count(cfp_store('copied', '{}', 'large' || n, 'c', repeat('x', 20000000))) FROM generate_series(1, 5) n});
is(sql(q{SELECT count(*) FROM (TABLE copied EXCEPT ALL SELECT * FROM cfp.storage_history WHERE key = 'copied') x}), '0', 'an AFTER trigger sees no row too many');
is(sql(q{SELECT count(*) FROM (SELECT * FROM cfp.storage_history WHERE key = 'copied' EXCEPT ALL TABLE copied) x}), '0', 'and each row stored');
is(sql(q{SELECT count(*) FROM copied}), 1 + 2500 + 2 + 5, 'of which there are so many');
sql('ALTER TABLE cfp.storage_history DISABLE TRIGGER copying');
sql(q{SELECT cfp_store('copied', '{}', 'two', 'c', 1)});
is(sql(q{SELECT count(*) FROM copied WHERE item_name = 'two'}), '0', 'switched off it sees none');
sql(q{DROP TRIGGER copying ON cfp.storage_history; TRUNCATE copied; DELETE FROM cfp.storage_history WHERE length(value_string) > 1000});

# It may raise errors, and read, but not store.
sql(q{
CREATE FUNCTION raising() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.value_int = 13 THEN
		RAISE 'unlucky';
	ELSIF NEW.value_int = 14 THEN
		PERFORM cfp_store('trigger', '{}', 'other', 'c', 1);
	ELSIF NEW.value_int = 15 THEN
		BEGIN
			PERFORM cfp_store('trigger', '{}', 'other', 'c', 1);
		EXCEPTION WHEN object_not_in_prerequisite_state THEN
			INSERT INTO copied SELECT (NEW).*;
		END;
	ELSIF cfp_get_value(NEW.key, NEW.item_name, NEW.collection_name) <> to_jsonb(NEW.value_int) THEN
		RAISE 'something else is read';
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER raising AFTER INSERT ON cfp.storage_history FOR EACH ROW EXECUTE FUNCTION raising()});
is(sql(q{SELECT cfp_store('trigger', '{}', 'i', 'c', 12)}), '1', 'a trigger that reads what is stored');
state_is($node, 'postgres', q{SELECT cfp_store('trigger', '{}', 'i', 'c', 13)}, 'P0001', qr/unlucky/, 'a trigger that raises an error');
state_is($node, 'postgres', q{SELECT cfp_store('trigger', '{}', 'i', 'c', 14)}, '55000', qr/cannot store/, 'a trigger that stores');
sql(q{SELECT cfp_store('trigger', '{}', 'i', 'c', 15)});
is(sql(q{SELECT count(*) FROM copied}), '1', 'a trigger that tries to, and goes on');
is(sql(q{SELECT cfp_get_value('trigger', 'i', 'c')}), '15', 'the store is seen');
sql('DROP TRIGGER raising ON cfp.storage_history');
seen_ok($node, 'all agree');

# One before each row could change what the cache has.
sql(q{CREATE TRIGGER before_it BEFORE INSERT ON cfp.storage_history FOR EACH ROW EXECUTE FUNCTION copy_row()});
state_is($node, 'postgres', q{SELECT cfp_store('trigger', '{}', 'i', 'c', 1)}, '55000', qr/before_it.*HINT:/s, 'a trigger before each row');
sql(q{ALTER TABLE cfp.storage_history DISABLE TRIGGER before_it});
sql(q{SELECT cfp_store('trigger', '{}', 'i', 'c', 2)});
sql(q{DROP TRIGGER before_it ON cfp.storage_history});

# Constraints of every kind hold for stores.
sql(q{CREATE TABLE parent (name text COLLATE "C" PRIMARY KEY); INSERT INTO parent VALUES ('known')});
foreach my $when ('', 'DEFERRABLE INITIALLY IMMEDIATE', 'DEFERRABLE INITIALLY DEFERRED')
{
	sql("ALTER TABLE cfp.storage_history ADD CONSTRAINT of_parent FOREIGN KEY (status) REFERENCES parent $when");
	sql(q{SELECT cfp_store('constraint', '{"status": "known"}', 'i', 'c')});
	state_is($node, 'postgres', q{SELECT cfp_store('constraint', '{"status": "unknown"}', 'i', 'c')}, '23503', qr/of_parent/, "foreign key $when");
	is(sql(q{SELECT cfp_get_data('constraint', 'i', 'c')}), '{"status": "known"}', "foreign key $when: nothing is seen of it");
	sql('ALTER TABLE cfp.storage_history DROP CONSTRAINT of_parent');

	sql("ALTER TABLE cfp.storage_history ADD CONSTRAINT once UNIQUE (username) $when");
	sql(qq{SELECT cfp_store('constraint', '{}', 'j', 'c', username => 'ann $when')});
	state_is($node, 'postgres', qq{SELECT cfp_store('constraint', '{}', 'k', 'c', username => 'ann $when')}, '23505', qr/once/, "unique $when");
	is(sql(q{SELECT cfp_get('constraint', 'k', 'c')}), '', "unique $when: nothing is seen of it");
	sql('ALTER TABLE cfp.storage_history DROP CONSTRAINT once');
}
sql(q{SELECT cfp_store('constraint', '{}', 'k', 'c')});
seen_ok($node, 'all agree after constraints');

# The gate's triggers taken away: what was changed then is seen when they are back.
is(sql(q{SELECT cfp_store('gate', '{}', 'i', 'c', 1); SELECT cfp_get_value('gate', 'i', 'c')}), "1\n1", 'an item is cached');
sql(q{DROP TRIGGER cfp_gate ON cfp.storage_history; DROP TRIGGER cfp_stamp ON cfp.storage_history});
sql(q{INSERT INTO cfp.storage_history (key, collection_name, item_name, data, value_int, updated_at, version, operation)
	VALUES ('gate', 'c', 'i', '{}', 22, now(), 2, 'update')});
sql(q{CREATE TRIGGER cfp_gate BEFORE INSERT OR UPDATE OR DELETE ON cfp.storage_history
		FOR EACH STATEMENT EXECUTE FUNCTION cfp.cfp_gate_trigger();
	CREATE TRIGGER cfp_stamp BEFORE INSERT OR UPDATE OR DELETE ON cfp.storage_history
		FOR EACH ROW EXECUTE FUNCTION cfp.cfp_stamp_trigger()});
wait_true($node, q{SELECT count(*) = 8 FROM pg_trigger WHERE tgname ~ '^cfp_(gate|stamp)' AND tgenabled = 'A'});
is(sql(q{SELECT cfp_get_value('gate', 'i', 'c')}), '22', 'what was changed without the triggers is read');
seen_ok($node, 'all agree after that');

# Logical replication into the tables.
$node->safe_psql('postgres', 'CREATE DATABASE subscriber');
cfp_install($node, 'subscriber');
sql('CREATE PUBLICATION history FOR TABLE cfp.storage_history');
sql(q{SELECT pg_create_logical_replication_slot('history', 'pgoutput')});
$node->safe_psql('subscriber', q{SELECT cfp_store('own', '{}', 'i', 'c', 1); SELECT cfp_warm('sent', 'c')});
$node->safe_psql('subscriber', sprintf(
	q{CREATE SUBSCRIPTION history CONNECTION '%s' PUBLICATION history WITH (create_slot = false, slot_name = 'history', copy_data = false)},
	$node->connstr('postgres') =~ s/'/''/gr));

sub applied
{
	my ($what) = @_;
	$node->wait_for_catchup('history');
	seen_ok($node, "applied: $what", 'subscriber');
	return $node->safe_psql('subscriber', q{SELECT coalesce(cfp_get_value('sent', 'i', 'c')::text, 'none')});
}

sql(q{SELECT cfp_store('sent', '{}', 'i', 'c', 1)});
is(applied('a store'), '1', 'a replicated store is read');
sql(q{SELECT cfp_store('sent', '{}', 'i', 'c', 2)});
is(applied('another version'), '2', 'and the next version');
sql(q{UPDATE cfp.storage_history SET value_int = 3 WHERE key = 'sent' AND version = 2});
is(applied('an update'), '3', 'an update');
sql(q{DELETE FROM cfp.storage_history WHERE key = 'sent' AND version = 2});
is(applied('a delete'), '1', 'a delete');
sql(q{SELECT cfp_store('sent', '{}', 'i', 'c', 4)});
is(applied('the last'), '4', 'and a store again');

# What is pruned on the publisher leaves the subscriber, folded there or not.
sql(q{SELECT cfp_store('sent', '{}', j, 'c', 1), cfp_delete('sent', j, 'c') FROM unnest(ARRAY['folded', 'not folded']) j});
is(sql(q{WITH gone AS (DELETE FROM storage_history WHERE item_name = 'not folded' AND data IS NOT NULL RETURNING 1) SELECT count(*) FROM gone}), '1', 'of one the tombstone alone is pruned');
$node->wait_for_catchup('history');
$node->safe_psql('subscriber', q{SELECT cfp_fold()});
sql(q{SELECT cfp_store('sent', '{}', 'late', 'c', 1), cfp_delete('sent', 'late', 'c')});
my $taken = sql(q{SELECT max(version) FROM storage_history WHERE key = 'sent'});
sql(q{SELECT cfp_fold(); SELECT cfp_prune_history('infinity', key => 'sent')});
is(applied('pruned'), '4', 'pruned: what is left');
my $left = q{SELECT string_agg(item_name, ' ' ORDER BY item_name) FROM cfp_items('sent', 'c', include_deleted => true)};
is($node->safe_psql('subscriber', $left), 'i', 'pruned: nothing else is seen');
is($node->safe_psql('subscriber', "SELECT cfp_fold() IS NOT NULL; $left"), "t\ni", 'nor after a fold');
$node->safe_psql('subscriber', 'ALTER SUBSCRIPTION history DISABLE');
$node->safe_psql('subscriber', 'ALTER SUBSCRIPTION history SET (slot_name = NONE)');
$node->safe_psql('subscriber', 'DROP SUBSCRIPTION history');
is($node->safe_psql('subscriber', q{SELECT cfp_get_value('sent', 'i', 'c')}), '4', 'also without the subscription');
$node->safe_psql('subscriber', q{SELECT cfp_store('sent', '{}', 'i', 'c', 5)});
is($node->safe_psql('subscriber', q{SELECT cfp_get_value('sent', 'i', 'c')}), '5', 'and a store goes on from there');
is($node->safe_psql('subscriber', q{SELECT cfp_store('sent', '{}', 'folded', 'c', 5), cfp_store('sent', '{}', 'late', 'c', 5)}), join('|', ($taken + 1) x 2), 'above what was pruned');
seen_ok($node, 'all agree on the subscriber', 'subscriber');
$node->safe_psql('subscriber', 'SELECT cfp_fold()');
latest_ok($node, 'its fold is right', 'subscriber');

# Own records that had to leave memory are read in a parallel query.
sql('CREATE TABLE big AS SELECT g FROM generate_series(1, 200000) g; ANALYZE big');
is(sql(q{
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
BEGIN;
SELECT count(cfp_store('parallel', '{}', 'i' || n, 'c', repeat('x', 40000000))) FROM generate_series(1, 3) n;
SELECT count(*), (SELECT max(length(value_string)) FROM cfp_history('parallel', 'i1', 'c')),
	(SELECT count(*) FROM storage_current WHERE key = 'parallel') FROM big;
ROLLBACK}), "3\n200000|40000000|3", 'a parallel query reads records that are no longer in memory');

$node->stop;
log_ok($node,
	qr/ERROR:  (?:unlucky|cannot store)/,
	qr/ERROR:  (?:insert or update on table|duplicate key)/,
	qr/background worker "logical replication worker"|terminating logical replication worker/);
done_testing();
