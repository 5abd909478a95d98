-- What CREATE EXTENSION makes, and that it can be undone.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all

-- each object has a comment (17 lists the types of tables as well)
SELECT pg_describe_object(d.classid, d.objid, 0) AS without_comment
FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'cfp')
	AND d.deptype = 'e'
	AND d.classid <> 'pg_type'::regclass
	AND obj_description(d.objid, d.classid::regclass::name) IS NULL
ORDER BY 1;

-- each column of a table or view
SELECT c.relname, a.attname AS without_comment
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'cfp'::regnamespace AND c.relkind IN ('r', 'v', 'f') AND a.attnum > 0 AND NOT a.attisdropped
	AND col_description(c.oid, a.attnum) IS NULL
ORDER BY 1, 2;

-- each trigger
SELECT t.tgrelid::regclass, t.tgname AS without_comment
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'cfp'::regnamespace AND obj_description(t.oid, 'pg_trigger') IS NULL
ORDER BY 1, 2;

-- tables, views and their columns
SELECT c.relname, c.relkind, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
	|| CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
	|| CASE WHEN a.attcollation = 'pg_catalog."C"'::regcollation THEN ' "C"' ELSE '' END, ', ' ORDER BY a.attnum) AS columns
FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'cfp'::regnamespace AND c.relkind IN ('r', 'v', 'f')
GROUP BY 1, 2 ORDER BY 1 \g (format=unaligned)

SELECT indexrelid::regclass::text COLLATE "C" AS index, pg_get_indexdef(indexrelid)
FROM pg_index WHERE indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'cfp'::regnamespace)
ORDER BY 1;

-- functions
SELECT p.oid::regprocedure AS function, pg_get_function_result(p.oid) AS result,
	p.provolatile AS v, p.proparallel AS p, p.proisstrict AS strict
FROM pg_proc p
WHERE p.pronamespace = 'cfp'::regnamespace
ORDER BY p.oid::regprocedure::text COLLATE "C";

SELECT p.proname, pg_get_function_arguments(p.oid) AS arguments
FROM pg_proc p
WHERE p.pronamespace = 'cfp'::regnamespace AND p.pronargs > 0
ORDER BY p.proname COLLATE "C", p.oid \g (format=unaligned)

-- what others than the owner may do
SELECT c.relname, a.grantee::regrole, a.privilege_type
FROM pg_class c CROSS JOIN aclexplode(c.relacl) a
WHERE c.relnamespace = 'cfp'::regnamespace AND a.grantee <> c.relowner
ORDER BY 1, 2, 3;
SELECT p.proname, a.grantee::regrole
FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a
WHERE p.pronamespace = 'cfp'::regnamespace AND a.grantee <> p.proowner
ORDER BY 1, 2;
SELECT p.proname AS not_for_public
FROM pg_proc p
WHERE p.pronamespace = 'cfp'::regnamespace AND NOT has_function_privilege('public', p.oid, 'execute')
ORDER BY 1;

-- what pg_dump takes along
SELECT extrelocatable, (SELECT array_agg(c::regclass) FROM unnest(extconfig) c) AS dumped
FROM pg_extension WHERE extname = 'cfp';

-- triggers on the storage tables fire for everybody
SELECT tgrelid::regclass, tgname, tgenabled
FROM pg_trigger WHERE tgrelid IN ('cfp.storage_history'::regclass, 'cfp.storage_latest'::regclass)
ORDER BY 1, 2;

-- hand-made rows: the frozen txid, and at most one value
INSERT INTO cfp.storage_latest (key, collection_name, item_name, updated_at, version, txid)
	VALUES ('k', 'c', 'i', '2026-01-01', 1, '4711') RETURNING txid;
SELECT pg_temp.error($$INSERT INTO cfp.storage_history (key, collection_name, item_name, updated_at, version, value_int, value_string)
	VALUES ('k', 'c', 'i', '2026-01-01', 1, 1, 'one')$$);

-- created and used in one transaction, in a schema with a hostile name
DROP EXTENSION cfp;
BEGIN;
CREATE SCHEMA "A b; %s - c";
CREATE EXTENSION cfp SCHEMA "A b; %s - c";
SET LOCAL search_path = "A b; %s - c";
SELECT cfp_store('k', '{"a": 1}', 'i', 'c', 42);
SELECT cfp_get_value('k', 'i', 'c');
SELECT key, collection_name, item_name, data, value FROM storage_current;
INSERT INTO storage_current (key, value) VALUES ('k2', '"x"');
SELECT key, value FROM storage_current ORDER BY key;
ROLLBACK;
SELECT count(*) FROM pg_extension WHERE extname = 'cfp';

-- created and rolled back, then created
BEGIN;
CREATE EXTENSION cfp SCHEMA cfp;
SELECT cfp.cfp_store('k');
ROLLBACK;
BEGIN;
CREATE EXTENSION cfp SCHEMA cfp;
SELECT cfp.cfp_store('k', '{"a": 1}');
SELECT cfp.cfp_get_data('k');
COMMIT;
SELECT cfp.cfp_get_data('k');
SELECT count(*) FROM cfp.storage_history;

-- dropped by a transaction that has stored, and created anew: nothing is left
BEGIN;
SELECT cfp.cfp_store('k2');
DROP EXTENSION cfp;
COMMIT;
SELECT pg_temp.error($$SELECT cfp.cfp_get('k')$$);
CREATE EXTENSION cfp SCHEMA cfp;
SELECT cfp.cfp_get('k');
SELECT cfp.cfp_store('k', '{"a": 2}');
SELECT cfp.cfp_get_data('k');

-- not relocatable
SELECT pg_temp.error($$ALTER EXTENSION cfp SET SCHEMA public$$);

-- a storage table altered
BEGIN;
ALTER TABLE cfp.storage_history RENAME COLUMN status TO state;
SELECT pg_temp.error($$SELECT cfp.cfp_store('k')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_items('k')$$);
ROLLBACK;
BEGIN;
ALTER TABLE cfp.storage_latest DROP CONSTRAINT storage_latest_pkey;
SELECT pg_temp.error($$SELECT cfp.cfp_get('k')$$);
ROLLBACK;
BEGIN;
ALTER EXTENSION cfp DROP TABLE cfp.storage_dirty;
ALTER TABLE cfp.storage_dirty RENAME TO dirty;
SELECT pg_temp.error($$SELECT cfp.cfp_get('k')$$);
ROLLBACK;
BEGIN;
DROP INDEX cfp.storage_history_txid;
SELECT pg_temp.error($$SELECT cfp.cfp_get('k')$$);
ROLLBACK;
-- a crash would empty it
SELECT name, split_part(pg_temp.error(format('ALTER TABLE cfp.%I SET UNLOGGED; SELECT cfp.cfp_store(''k'', ''{}'')', name)), E'\n', 1) AS error
FROM unnest(ARRAY['storage_history', 'storage_latest', 'storage_dirty', 'storage_floors', 'storage_days', 'cfp_state', 'cfp_pruned', 'cfp_forgotten']) name;
SELECT pg_temp.error($$DROP TABLE cfp.storage_latest$$);
SELECT cfp.cfp_get_data('k');
