-- cfp_store: value routing, special fields, limits.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';

-- versions count up for each item
SELECT cfp.cfp_store('store');
SELECT cfp.cfp_store('store');
SELECT cfp.cfp_store('store', item_name => 'i');
SELECT cfp.cfp_store('store', collection_name => 'c');
SELECT cfp.cfp_store('store', '{"a": 1}', 'i', 'c', 1, '2026-01-02 03:04:05+00', 'ann', 0);

-- no name is the empty name; NULL data is the empty object
SELECT cfp.cfp_store('store', NULL, NULL, NULL);
SELECT item_name, collection_name, data, version FROM cfp.cfp_history('store', '', '');

-- value routing: what each type becomes
CREATE DOMAIN pg_temp.percent AS numeric CHECK (VALUE BETWEEN 0 AND 100);
CREATE FUNCTION pg_temp.route(expression text, OUT version int, OUT value_int bigint, OUT value_float float8,
	OUT value_string text, OUT value jsonb, OUT value_text text)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT cfp.cfp_store(''route'', item_name => ''i'', value => %s)', expression) INTO version;
	SELECT r.value_int, r.value_float, r.value_string INTO value_int, value_float, value_string
	FROM cfp.cfp_item('route', 'i') r;
	value := cfp.cfp_get_value('route', 'i');
	value_text := cfp.cfp_get_text('route', 'i');
END $$;
SELECT expression, version, value_int, value_float, value_string, value, value_text, jsonb_typeof(value) AS type
FROM (VALUES
	('(-32768)::int2'), ('42'), ('9223372036854775807'), ('(-9223372036854775808)::int8'), ('true'), ('false'),
	('1.5::float4'), ('0.1::float8'), ('42::float8'), ('1e22::float8'), ('1e-7::float8'), ('''-0''::float8'),
	('7::numeric'), ('7.0'), ('7.50'), ('9007199254740993::numeric'), ('12.5::pg_temp.percent'),
	('''text''::text'), ('''''::text'), ('''varchar''::varchar'), ('''char''::char(8)'), ('''name''::name'), ('''12'''),
	('''"json"''::jsonb'), ('''12''::jsonb'), ('''12.0''::jsonb'), ('''1e2''::jsonb'), ('''true''::jsonb'), ('''null''::jsonb'),
	('''9223372036854775807''::jsonb'), ('''9223372036854775808''::jsonb'), ('''-9223372036854775808''::jsonb'), ('''-9223372036854775809''::jsonb'),
	('''1e+21''::jsonb'), ('''-1e25''::jsonb'),
	('NULL'), ('NULL::int')) e (expression)
	CROSS JOIN LATERAL pg_temp.route(expression);
-- the ends of double precision
SELECT cfp.cfp_store('route', item_name => 'ends', value => 1.7976931348623157e308::float8);
SELECT value_float, cfp.cfp_get_value('route', 'ends')::float8 = value_float AS same, cfp.cfp_get_text('route', 'ends') ~ '\.' AS point
FROM cfp.cfp_item('route', 'ends');
SELECT cfp.cfp_store('route', item_name => 'ends', value => 5e-324::float8);
SELECT value_float, cfp.cfp_get_value('route', 'ends')::float8 = value_float AS same FROM cfp.cfp_item('route', 'ends');
-- by position, and left out
SELECT cfp.cfp_store('route', '{}', 'i', NULL, '12');
SELECT cfp.cfp_get_value('route', 'i');
SELECT cfp.cfp_store('route', '{}', 'i', NULL, 12);
SELECT cfp.cfp_get_value('route', 'i');
SELECT cfp.cfp_store('route', '{}', 'i');
SELECT cfp.cfp_get_value('route', 'i');

-- untyped parameters become strings
PREPARE store5 AS SELECT cfp.cfp_store($1, $2, $3, $4, $5);
EXECUTE store5('route', '{"a": 1}', 'p', 'c', '42');
PREPARE store8 AS SELECT cfp.cfp_store($1, $2, $3, $4, $5, $6, $7, $8);
EXECUTE store8('route', '{"a": 1}', 'p', 'c', NULL, '2026-02-03 04:05:06+00', 'ann', 1);
SELECT version, data, value_string, timestamp = '2026-02-03 04:05:06+00' AS given, username FROM cfp.cfp_history('route', 'p', 'c');
DEALLOCATE store5;
DEALLOCATE store8;

-- cfp_store_json: one function, so that untyped parameters have its types
PREPARE json2 AS SELECT cfp.cfp_store_json($1, value => $2);
EXECUTE json2('json', '12');
EXECUTE json2('json', '"12"');
EXECUTE json2('json', '1e+21');
EXECUTE json2('json', 'true');
EXECUTE json2('json', NULL);
PREPARE json8 AS SELECT cfp.cfp_store_json($1, $2, $3, $4, $5, $6, $7, $8);
EXECUTE json8('json', '{"a": 1}', 'i', 'c', '1.5', '2026-02-03 04:05:06+00', 'ann', '0');
SELECT pg_temp.error($$EXECUTE json8('json', '{"a": 1}', 'i', 'c', '1.5', NULL, NULL, '0')$$);
SELECT pg_temp.error($$EXECUTE json8('json', '{"a": 1}', 'i', 'c', '{"no": "scalar"}', NULL, NULL, '1')$$);
SELECT pg_temp.error($$EXECUTE json2(NULL, '1')$$);
DEALLOCATE json2;
DEALLOCATE json8;
SELECT item_name, collection_name, version, data, value_int, value_float, value_string, username FROM cfp.storage_history
WHERE key = 'json' ORDER BY 1, 2, 3;

-- what is refused
SELECT pg_temp.error($$SELECT cfp.cfp_store('route', value => 'NaN'::float8)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('route', value => 'Infinity'::float4)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('route', value => 'NaN'::numeric)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('route', value => '-Infinity'::numeric)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('route', value => 9223372036854775808::numeric)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('route', value => '1e400'::numeric + 0.5)$$) ~ '^22003 .* is out of range for type double precision';
SELECT pg_temp.error($$SELECT cfp.cfp_store('route', value => '1e400'::jsonb)$$) ~ '^22003 .* is out of range for type double precision';
SELECT pg_temp.error($$SELECT cfp.cfp_store('route', value => '{"a": 1}'::jsonb)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('route', value => '[1]'::jsonb)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('route', value => '1'::json)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('route', value => now())$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('route', value => '{1,2}'::int[])$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('route', value => '\x00'::bytea)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('route', value => ROW(1, 2))$$);

-- data is kept as given
SELECT cfp.cfp_store('data', '{"b": [1, {"c": null}], "a": 1.50, "timestamp": "2026-01-01 00:00:00+00", "username": "ann", "status": "open", "status_int": 3}');
SELECT cfp.cfp_get_data('data');
SELECT timestamp, status, status_int, username FROM cfp.cfp_item('data');
SELECT pg_temp.error($$SELECT cfp.cfp_store('data', '[1]')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('data', '"a"')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('data', 'null')$$);
SELECT cfp.cfp_store('data', jsonb_build_object('long', repeat('x', 1000000)), 'long');
SELECT length(cfp.cfp_get_data('data', 'long')->>'long'), (SELECT length(data->>'long') FROM cfp.storage_history WHERE key = 'data' AND item_name = 'long');

-- special fields: parameter, then data, then now() and the setting
BEGIN;
SELECT cfp.cfp_store('special', '{"timestamp": "2026-01-01 00:00:00+00", "username": "ann"}', ts => '2026-05-05 05:05:05+00', username => 'bob');
SELECT timestamp, username FROM cfp.cfp_item('special');
SELECT cfp.cfp_store('special', '{"timestamp": "2026-01-01T12:00:00+02:00", "username": "ann"}');
SELECT timestamp, username FROM cfp.cfp_item('special');
SET LOCAL cfp.username = 'carol';
SELECT cfp.cfp_store('special', '{"timestamp": null, "username": null, "status": null, "status_int": null}');
SELECT timestamp = now() AS now, username, status, status_int, updated_at > now() AS later FROM cfp.cfp_item('special');
SET LOCAL cfp.username = '';
SELECT cfp.cfp_store('special', '{}', username => '');
SELECT timestamp = now() AS now, username, username IS NULL AS no_username FROM cfp.cfp_item('special');
SELECT cfp.cfp_store('special', '{"status": "", "status_int": -2147483648}');
SELECT status, status_int, username IS NULL AS no_username FROM cfp.cfp_item('special');
SELECT cfp.cfp_store('special', '{"status_int": 3.0}');
SELECT status_int FROM cfp.cfp_item('special');
COMMIT;
-- data.timestamp without a zone is in the session's
SET TimeZone = 'Europe/Berlin';
SELECT cfp.cfp_store('special', '{"timestamp": "2026-07-01 12:00:00"}', 'zone');
SET TimeZone = 'UTC';
SELECT timestamp FROM cfp.cfp_item('special', 'zone');
SELECT cfp.cfp_get('special', 'zone')->>'timestamp';
-- a timestamp outside of the usual
SELECT cfp.cfp_store('special', '{}', 'ends', ts => 'infinity');
SELECT cfp.cfp_store('special', '{}', 'ends', ts => '4713-01-01 00:00:00+00 BC');
SELECT cfp.cfp_store('special', '{}', 'ends', ts => '294276-12-31 23:59:59.999999+00');
SELECT version, timestamp FROM cfp.cfp_history('special', 'ends');
SELECT r->>'timestamp' FROM cfp.cfp_get('special', 'ends') r;
-- one that cannot be converted names the field; nothing is stored
-- among any number of keys, longer and shorter ones
SELECT count(cfp.cfp_store('special keys', (SELECT coalesce(jsonb_object_agg(repeat('k', i % 17) || i, i), '{}') FROM generate_series(1, n) i) ||
	jsonb_build_object('status', 's' || n, 'status_int', n, 'username', 'u' || n, 'timestamp', '2026-01-01 00:00:00+00'), n::text)) FROM generate_series(0, 80) n;
SELECT count(*), bool_and(status = 's' || item_name AND status_int = item_name::int AND username = 'u' || item_name AND timestamp = '2026-01-01 00:00:00+00') AS found
FROM cfp.cfp_items('special keys');
SELECT cfp.cfp_delete_collection('special keys');
SELECT pg_temp.error($$SELECT cfp.cfp_store('special', '{"timestamp": "soon"}', 'bad')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('special', '{"timestamp": 5}', 'bad')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('special', '{"timestamp": "2026-02-30"}', 'bad')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('special', '{"status": {}}', 'bad')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('special', '{"status": 1}', 'bad')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('special', '{"status_int": 2.5}', 'bad')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('special', '{"status_int": 2147483648}', 'bad')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('special', '{"status_int": "7"}', 'bad')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('special', '{"status_int": true}', 'bad')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('special', '{"username": 7}', 'bad')$$);
SELECT cfp.cfp_get('special', 'bad');
SELECT count(*) FROM cfp.storage_history WHERE item_name = 'bad';

-- limits
SELECT pg_temp.error($$SELECT cfp.cfp_store(NULL)$$);
SELECT cfp.cfp_store(repeat('k', 1000), '{}', repeat('i', 500), repeat('c', 500), 1);
SELECT cfp.cfp_get_value(repeat('k', 1000), repeat('i', 500), repeat('c', 500));
SELECT pg_temp.error($$SELECT cfp.cfp_store(repeat('k', 1000), '{}', repeat('i', 500), repeat('c', 501), 1)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store(repeat('ä', 1001))$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('k', expected_version => -1)$$);
SELECT cfp.cfp_get(repeat('k', 3000), repeat('i', 3000), repeat('c', 3000));
-- the highest version
INSERT INTO cfp.storage_history (key, collection_name, item_name, updated_at, version, data)
	VALUES ('limit', '', '', '2026-01-01', 2147483646, '{}');
SELECT cfp.cfp_store('limit');
SELECT pg_temp.error($$SELECT cfp.cfp_store('limit')$$);

-- read-only transactions
BEGIN READ ONLY;
SELECT pg_temp.error($$SELECT cfp.cfp_store('k')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_delete('store')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('k', '{"i": {}}')$$);
SELECT cfp.cfp_get_data('data') IS NOT NULL AS readable;
COMMIT;

-- many at once
SELECT sum(cfp.cfp_store('many', jsonb_build_object('n', n), 'item ' || n, 'c' || n % 10, n)) FROM generate_series(1, 10000) n;
SELECT count(*), sum(value_int), count(DISTINCT collection_name) FROM cfp.storage_current WHERE key = 'many';
SELECT count(*), sum(value_int) FROM cfp.cfp_items('many', 'c3');

-- timestamps in records read as the server's own JSON text of them
SET TimeZone = 'UTC';
CREATE TEMP TABLE times (ts timestamptz);
INSERT INTO times VALUES ('0001-01-01 00:00+00'), ('0001-01-01 00:00+00'::timestamptz - interval '1 us'),
	('9999-12-31 23:59:59.999999+00'), ('10000-01-01 00:00+00'), ('1999-12-31 23:59:59.5+00'),
	('2000-01-01 00:00+00'), ('2000-02-29 12:00:00.000001+00'), ('4713-01-01 00:00+00 BC'), ('infinity'), ('-infinity');
INSERT INTO times SELECT '0001-01-01 00:00+00'::timestamptz + g * interval '12 days 7:11:13.017' FROM generate_series(0, 300000, 97) g;
INSERT INTO times SELECT '1890-01-01 00:00+00'::timestamptz + g * interval '1000 us' FROM generate_series(0, 2000) g;
SELECT count(cfp.cfp_store('times', '{}', ts::text, ts => ts)) > 5000 AS stored FROM times;
SELECT ts, cfp.cfp_get('times', ts::text) -> 'timestamp' AS read
FROM times WHERE cfp.cfp_get('times', ts::text) -> 'timestamp' IS DISTINCT FROM to_jsonb(ts);
RESET TimeZone;
