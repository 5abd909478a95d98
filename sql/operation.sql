-- What each record did to its item.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all
SET search_path = cfp, public;

CREATE FUNCTION pg_temp.operations(k text, i text DEFAULT '', c text DEFAULT '') RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(version || ' ' || operation, ', ' ORDER BY version) FROM cfp_history(k, i, c) $$;

SELECT cfp_store('op', '{}', 'a'), cfp_store('op', '{}', 'a'), cfp_delete('op', 'a'), cfp_store('op', '{}', 'a', value => 1);
SELECT pg_temp.operations('op', 'a');
SELECT operation FROM storage_history WHERE key = 'op' ORDER BY version;
SELECT operation, (cfp_item('op', 'a')).operation FROM storage_current WHERE key = 'op';

-- in one transaction, and what a rollback leaves
BEGIN;
SELECT cfp_store('op', '{}', 'b');
SAVEPOINT s;
SELECT cfp_store('op', '{}', 'b'), cfp_delete('op', 'b');
SELECT operation FROM cfp_items('op', include_deleted => true) WHERE item_name = 'b';
SELECT cfp_store('op', '{}', 'b');
ROLLBACK TO s;
SELECT cfp_store('op', '{}', 'b');
SAVEPOINT s;
SELECT cfp_delete('op', 'b');
ROLLBACK TO s;
SELECT cfp_delete('op', 'b'), cfp_store('op', '{}', 'b');
SELECT pg_temp.operations('op', 'b');
COMMIT;
SELECT pg_temp.operations('op', 'b');
BEGIN;
SELECT cfp_store('op', '{}', 'c');
ROLLBACK;
SELECT cfp_store('op', '{}', 'c');
SELECT pg_temp.operations('op', 'c');

-- the same when the collection comes from the tables
SELECT cfp_flush() > 0 AS flushed, cfp_evict('op') AS evicted;
SELECT cfp_store('op', '{}', 'c'), cfp_delete('op', 'a');
SELECT cfp_fold() > 0 AS folded, cfp_evict('op') AS evicted;
SELECT cfp_store('op', '{}', 'a'), cfp_store('op', '{}', 'c');
SELECT pg_temp.operations('op', 'a'), pg_temp.operations('op', 'c');
-- and when it is stored through the tables
BEGIN;
UPDATE storage_floors SET all_items = all_items WHERE false;
SELECT cfp_store('op', '{}', 'd'), cfp_store('op', '{}', 'd'), cfp_delete('op', 'd'), cfp_store('op', '{}', 'd'), cfp_store('op', '{}', 'c');
COMMIT;
SELECT pg_temp.operations('op', 'c'), pg_temp.operations('op', 'd');

-- by every door
SELECT cfp_store_many('op', '{"e": {"value": 1}, "c": {"value": 2}}');
INSERT INTO storage_current (key, item_name, operation) VALUES ('op', 'f', 'delete') RETURNING operation;
UPDATE storage_current SET operation = 'create', data = '{"x": 1}' WHERE key = 'op' AND item_name = 'f' RETURNING operation;
DELETE FROM storage_current WHERE key = 'op' AND item_name = 'f' RETURNING operation;
SELECT cfp_delete_collection('op');
SELECT item_name, operation FROM cfp_items('op', include_deleted => true);
SELECT operation, count(*) FROM storage_current WHERE key = 'op' GROUP BY operation;

-- by hand: what is missing, or cannot be, is what it must have been
INSERT INTO storage_history (key, collection_name, item_name, data, updated_at, version)
VALUES ('hand', '', '', '{}', now(), 1), ('hand', '', '', '{}', now(), 2), ('hand', '', '', NULL, now(), 3);
INSERT INTO storage_history (key, collection_name, item_name, data, updated_at, version, operation)
VALUES ('hand', '', '', '{}', now(), 4, 'create'), ('hand', '', '', '{}', now(), 5, 'delete'), ('hand', '', '', NULL, now(), 6, 'update');
SELECT pg_temp.operations('hand');
UPDATE storage_history SET data = NULL WHERE key = 'hand' AND version = 4;
UPDATE storage_history SET value_int = 1 WHERE key = 'hand' AND version IN (3, 6);
SELECT pg_temp.operations('hand');

-- the type belongs to the extension; its column costs no byte
SELECT pg_temp.error('DROP TYPE cfp_operation');
SELECT enum_range(NULL::cfp_operation), pg_column_size(ROW(h.version, h.operation, h.txid)) - pg_column_size(ROW(h.version, h.txid)) AS bytes
FROM storage_history h LIMIT 1;
