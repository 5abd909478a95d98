-- cfp_store_many and cfp_get_many.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all

-- every kind of value, and what may be left out
SELECT cfp.cfp_store_many('batch', '{
	"int": {"value": 1, "data": {"a": 1}},
	"float": {"value": 1.0},
	"string": {"value": "text"},
	"bool": {"value": true},
	"null": {"value": null, "data": null, "ts": null, "expected_version": null},
	"": {"data": {"unnamed": true, "status": "open", "status_int": 7}},
	"given": {"ts": "2026-01-31T12:00:00+02:00", "data": {"timestamp": "2020-01-01", "username": "ann"}}}', 'c', 'bob');
SELECT item_name, data, value_int, value_float, value_string, status, status_int, username, version,
	timestamp = '2026-01-31 10:00:00+00' AS given
FROM cfp.cfp_items('batch', 'c');
SELECT cfp.cfp_store_many('batch', '{}', 'c');
-- the unnamed collection; username from the data
SELECT cfp.cfp_store_many('batch', '{"x": {"data": {"username": "ann"}}}');
SELECT item_name, username FROM cfp.cfp_items('batch');

-- reading
SELECT jsonb_object_agg(e.key, e.value -> 'value' || (e.value -> 'version')) AS read
FROM jsonb_each(cfp.cfp_get_many('batch', '{float,int,absent,int,bool,string}', 'c')) e;
SELECT cfp.cfp_get_many('batch', '{int}', 'c') -> 'int' = cfp.cfp_get('batch', 'int', 'c') AS same;
SELECT cfp.cfp_get_many('batch', ARRAY['null', NULL], 'c') ?& '{"null",""}' AS unnamed_too;
SELECT cfp.cfp_get_many('batch', '{}', 'c'), cfp.cfp_get_many('batch', '{absent}', 'c'),
	cfp.cfp_get_many(NULL, '{x}') IS NULL AS no_key, cfp.cfp_get_many('batch', NULL) IS NULL AS no_names;
SELECT cfp.cfp_delete('batch', 'bool', 'c');
SELECT cfp.cfp_get_many('batch', '{bool}', 'c') AS deleted;

-- conditions: all or nothing, each conflict named
SELECT cfp.cfp_store_many('batch', '{"int": {"value": 2, "expected_version": 1}, "bool": {"value": false, "expected_version": 0},
	"new": {"value": 1, "expected_version": 0}, "float": {"value": 2.5}}', 'c');
SELECT cfp.cfp_get_values('batch', 'c');
DO $$
DECLARE
	message text;
	details text;
BEGIN
	PERFORM cfp.cfp_store_many('batch', '{"int": {"value": 3, "expected_version": 1}, "new": {"value": 3, "expected_version": 0},
		"string": {"value": "lost"}, "gone": {"expected_version": 4}, "bool": {"value": 1, "expected_version": 3.0}}', 'c');
EXCEPTION WHEN serialization_failure THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, details = PG_EXCEPTION_DETAIL;
	RAISE NOTICE E'%\n%', message, details;
END $$;
SELECT cfp.cfp_get_values('batch', 'c');

-- what cannot be stored: nothing of the batch is
SELECT pg_temp.error($$SELECT cfp.cfp_store_many(NULL, '{}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('batch', NULL)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('batch', '[]')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('batch', '1')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "b": 1}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "b": [1]}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "b": null}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "b": {"val": 1}}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "b": {"data": 1}}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "b": {"data": [1]}}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "b": {"value": [1]}}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "b": {"ts": "soon"}}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "b": {"ts": 5}}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "b": {"expected_version": -1}}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "b": {"expected_version": 1.5}}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "b": {"expected_version": 1e20}}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "b": {"expected_version": "1"}}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "b": {"data": {"status_int": "x"}}}')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('bad', jsonb_build_object('a', '{}'::jsonb, repeat('b', 2000), '{}'::jsonb))$$);
SELECT cfp.cfp_get_collection('bad');
-- the error names the item
SELECT cfp.cfp_store_many('bad', '{"a": {"value": 1}, "the culprit": {"data": 1}}');

-- privileges
CREATE ROLE batch_reader;
GRANT USAGE ON SCHEMA cfp TO batch_reader;
SET ROLE batch_reader;
SELECT pg_temp.error($$SELECT cfp.cfp_get_many('batch', '{int}', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('batch', '{}', 'c')$$);
RESET ROLE;
GRANT SELECT ON cfp.storage_current TO batch_reader;
SET ROLE batch_reader;
SELECT cfp.cfp_get_many('batch', '{int}', 'c') -> 'int' -> 'value' AS value;
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('batch', '{}', 'c')$$);
RESET ROLE;
REVOKE ALL ON cfp.storage_current FROM batch_reader;
REVOKE ALL ON SCHEMA cfp FROM batch_reader;
DROP ROLE batch_reader;

-- many items, and their own transaction's stores
BEGIN;
SELECT cfp.cfp_store_many('batch', (SELECT jsonb_object_agg('item ' || n, jsonb_build_object('value', n, 'data', jsonb_build_object('n', n)))
	FROM generate_series(1, 5000) n), 'many');
SELECT count(*), sum((e.value -> 'value')::int)
FROM jsonb_each(cfp.cfp_get_many('batch', (SELECT array_agg('item ' || n) FROM generate_series(2, 6000, 2) n), 'many')) e;
COMMIT;
SELECT count(*), sum(value_int), max(version) FROM cfp.storage_history WHERE key = 'batch' AND collection_name = 'many';
