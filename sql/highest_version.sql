-- The highest version there is, 2147483647, as rows put in by hand may have it.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all

CREATE VIEW pg_temp.seen AS
SELECT item_name AS item, value_int AS view, version,
	(SELECT i.version FROM cfp.cfp_items('highest', 'c') i WHERE i.item_name = s.item_name) AS items,
	cfp.cfp_get('highest', item_name, 'c') -> 'version' AS get,
	(SELECT max(h.version) FROM cfp.cfp_history('highest', item_name, 'c') h) AS history
FROM cfp.storage_current s WHERE key = 'highest' ORDER BY 1;

INSERT INTO cfp.storage_latest (key, collection_name, item_name, data, value_int, updated_at, version)
	SELECT 'highest', 'c', i, '{}', v, '2026-01-01', v FROM (VALUES ('latest', 2147483647), ('both', 2147483647), ('newer', 2147483646),
		('below', 2147483646), ('below too', 2147483646)) l (i, v);
INSERT INTO cfp.storage_history (key, collection_name, item_name, data, value_int, updated_at, version)
	SELECT 'highest', 'c', i, '{}', v, '2026-01-01', v
	FROM (VALUES ('history', 2147483647), ('both', 2147483646), ('both', 2147483647), ('newer', 2147483646), ('newer', 2147483647),
		('below', 2147483646), ('below too', 2147483646)) h (i, v);
-- marked, folded, with an item that is only flushed
SELECT * FROM pg_temp.seen;
SELECT cfp.cfp_fold() > 0 AS folded;
SELECT * FROM pg_temp.seen;
SELECT count(*) > 0 AS all FROM cfp.storage_current;
SELECT cfp.cfp_store('highest', '{}', 'plain', 'c', 1);
SELECT cfp.cfp_flush() >= 0 AS flushed;
SELECT * FROM pg_temp.seen;
SELECT item_name, version FROM cfp.storage_latest WHERE key = 'highest' ORDER BY 1;

-- takes no more stores, by whatever way; all others go on
SELECT pg_temp.error($$SELECT cfp.cfp_store('highest', '{}', 'both', 'c', 1)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('highest', '{}', 'both', 'c', 1, expected_version => 2147483647)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('highest', '{"plain": {"value": 2}, "both": {"value": 2}}', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_delete('highest', 'both', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_delete_collection('highest', 'c')$$);
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key, collection_name, item_name) VALUES ('highest', 'c', 'both')$$);
SELECT pg_temp.error($$UPDATE cfp.storage_current SET value_int = 1 WHERE key = 'highest' AND item_name = 'both'$$);
SELECT pg_temp.error($$DELETE FROM cfp.storage_current WHERE key = 'highest' AND item_name = 'both'$$);
BEGIN;
UPDATE cfp.storage_latest SET value_int = 2 WHERE key = 'highest' AND item_name = 'plain';
SELECT pg_temp.error($$SELECT cfp.cfp_store('highest', '{}', 'both', 'c', 1)$$);
SELECT * FROM pg_temp.seen;
ROLLBACK;
SELECT cfp.cfp_store('highest', '{}', 'plain', 'c', 2);
SELECT * FROM pg_temp.seen;

-- one below it takes one
SELECT cfp.cfp_store('highest', '{}', 'below', 'c', 3, expected_version => 2147483646);
SELECT pg_temp.error($$SELECT cfp.cfp_store('highest', '{}', 'below', 'c', 4)$$);
BEGIN;
SELECT cfp.cfp_delete('highest', 'below too', 'c');
SELECT pg_temp.error($$SELECT cfp.cfp_store('highest', '{}', 'below too', 'c', 4)$$);
SELECT * FROM pg_temp.seen;
COMMIT;
SELECT cfp.cfp_fold() > 0 AS folded;
SELECT * FROM pg_temp.seen;

-- pruning and rebuilding
SELECT cfp.cfp_prune_history(keep_versions => 1, key => 'highest', dry_run => true) > 0 AS would_go;
SELECT cfp.cfp_prune_history(keep_versions => 1, key => 'highest') > 0 AS gone;
TRUNCATE cfp.storage_latest;
SELECT cfp.cfp_rebuild_latest_from_history() > 0 AS rebuilt;
SELECT cfp.cfp_fold() >= 0 AS folded;
SELECT * FROM pg_temp.seen;
SELECT item_name, version FROM cfp.cfp_history('highest', 'both', 'c');
