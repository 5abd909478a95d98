-- expected_version, and deleting.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all

-- 0: absent
SELECT cfp.cfp_store('seat', '{}', '12a', value => 'ann', username => 'ann', expected_version => 0);
SELECT pg_temp.error($$SELECT cfp.cfp_store('seat', '{}', '12a', value => 'bob', username => 'bob', expected_version => 0)$$);
-- n: the current version
SELECT cfp.cfp_store('seat', '{}', '12a', value => 'bob', expected_version => 1);
SELECT pg_temp.error($$SELECT cfp.cfp_store('seat', '{}', '12a', value => 'eve', expected_version => 1)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('seat', '{}', '12a', value => 'eve', expected_version => 3)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('seat', '{}', 'none', value => 'eve', expected_version => 1)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('seat', '{}', '12a', expected_version => -1)$$);
-- a version that no record can have
SELECT pg_temp.error($$SELECT cfp.cfp_store('seat', '{}', '12a', expected_version => 4294967298)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_delete('seat', '12a', expected_version => 9223372036854775807)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('seat', '{}', '12a', expected_version => -9223372036854775808)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('seat', '{"12a": {"expected_version": 4294967298}}')$$);
SELECT version, value_string, username FROM cfp.cfp_history('seat', '12a');
-- own stores count
BEGIN;
SELECT cfp.cfp_store('seat', '{}', '12b', value => 'ann', expected_version => 0);
SELECT cfp.cfp_store('seat', '{}', '12b', value => 'bob', expected_version => 1);
SELECT pg_temp.error($$SELECT cfp.cfp_store('seat', '{}', '12b', value => 'eve', expected_version => 1)$$);
COMMIT;
SELECT version, value_string FROM cfp.cfp_history('seat', '12b');

-- deleting
SELECT cfp.cfp_delete('seat', '12b', username => 'eve');
SELECT cfp.cfp_delete('seat', '12b');
SELECT cfp.cfp_delete('seat', 'none');
SELECT cfp.cfp_get('seat', '12b');
SELECT version, data, value_string, username FROM cfp.cfp_history('seat', '12b');
SELECT pg_temp.error($$SELECT cfp.cfp_delete(NULL)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_delete('seat', '12a', expected_version => 1)$$);
SELECT cfp.cfp_delete('seat', '12a', expected_version => 2);
-- a deleted item: 0 matches, and so does the tombstone's version
SELECT pg_temp.error($$SELECT cfp.cfp_store('seat', '{}', '12a', expected_version => 2)$$);
SELECT cfp.cfp_store('seat', '{}', '12a', value => 'carl', expected_version => 0);
SELECT cfp.cfp_delete('seat', '12a');
SELECT cfp.cfp_store('seat', '{}', '12a', value => 'dora', expected_version => 5);
SELECT version, data IS NULL AS tombstone, value_string FROM cfp.cfp_history('seat', '12a');
-- a tombstone's special fields
SELECT cfp.cfp_delete('seat', '12a', ts => '2026-01-01 00:00:00+00', username => 'ann');
SELECT version, data, timestamp = '2026-01-01 00:00:00+00' AS given, status, username FROM cfp.cfp_history('seat', '12a', max_versions => 1);

-- a store with no data and no value is not a tombstone
SELECT cfp.cfp_store('seat', NULL, 'empty');
SELECT cfp.cfp_get_data('seat', 'empty');

-- a collection
SELECT cfp.cfp_store('seat', '{}', i, 'row', 1) FROM unnest(ARRAY['a', 'b', 'c']) i;
SELECT cfp.cfp_delete('seat', 'b', 'row');
SELECT cfp.cfp_delete_collection('seat', 'row', 'ann');
SELECT cfp.cfp_delete_collection('seat', 'row');
SELECT cfp.cfp_delete_collection('seat', 'none');
SELECT cfp.cfp_get_collection('seat', 'row');
SELECT item_name, version, username FROM cfp.cfp_items('seat', 'row', include_deleted => true);
SELECT pg_temp.error($$SELECT cfp.cfp_delete_collection(NULL)$$);

-- REPEATABLE READ: own stores after the snapshot are no conflict
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cfp.cfp_store('seat', '{}', 'rr', value => 1);
SELECT cfp.cfp_store('seat', '{}', 'rr', value => 2);
SELECT cfp.cfp_get_value('seat', 'rr');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cfp.cfp_store('seat', '{}', 'rr', value => 3, expected_version => 2);
SELECT cfp.cfp_get_value('seat', 'rr');
COMMIT;
SELECT cfp.cfp_get_value('seat', 'rr');
