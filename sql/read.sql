-- Reading: items, collections, keys, rows, history, json with an etag.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';

-- a record without what differs from run to run
CREATE FUNCTION pg_temp.plain(record jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT record - 'updated_at'
$$;

SELECT cfp.cfp_store('read', '{"a": 1, "status": "open", "status_int": 3}', 'one', 'c', 42, '2026-01-01 00:00:00+00', 'ann');
SELECT cfp.cfp_store('read', '{}', 'two', 'c', 'zwei', '2026-01-02 00:00:00+00', 'bob');
SELECT cfp.cfp_store('read', '{}', 'three', 'c', 3.5, '2026-01-03 00:00:00.5+00');
SELECT cfp.cfp_store('read', '{}', 'gone', 'c', 4, '2026-01-04 00:00:00+00');
SELECT cfp.cfp_store('read', '{"n": null}', '', '', NULL, '2026-01-05 00:00:00+00');
SELECT cfp.cfp_store('read', '{}', 'ä', 'C', true, '2026-01-06 00:00:00+00');
SELECT cfp.cfp_delete('read', 'gone', 'c', '2026-01-07 00:00:00+00', 'eve');

-- one item: all eight members always
SELECT jsonb_pretty(pg_temp.plain(cfp.cfp_get('read', 'one', 'c')));
SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(cfp.cfp_get('read')) k;
SELECT jsonb_pretty(pg_temp.plain(cfp.cfp_get('read')));
SELECT (cfp.cfp_get('read')->>'updated_at')::timestamptz BETWEEN now() - interval '1 hour' AND now() AS recent;
SELECT cfp.cfp_get_value('read', 'one', 'c'), cfp.cfp_get_text('read', 'one', 'c'), cfp.cfp_get_data('read', 'one', 'c');
SELECT cfp.cfp_get_value('read', 'two', 'c'), cfp.cfp_get_text('read', 'two', 'c'), cfp.cfp_get_data('read', 'two', 'c');
SELECT cfp.cfp_get_value('read', 'three', 'c'), cfp.cfp_get_text('read', 'three', 'c');
SELECT cfp.cfp_get_value('read'), cfp.cfp_get_text('read'), cfp.cfp_get_data('read');
SELECT key, collection_name, item_name, data, value_int, value_float, value_string, timestamp, status, status_int, username, version
FROM cfp.cfp_item('read', 'one', 'c');
-- item and collection name swapped: another item
SELECT cfp.cfp_get('read', 'c', 'one');
-- absent, deleted, NULL
SELECT cfp.cfp_get('read', 'none', 'c'), cfp.cfp_get_value('read', 'none', 'c'), cfp.cfp_get_text('read', 'none', 'c'), cfp.cfp_get_data('read', 'none', 'c');
SELECT cfp.cfp_get('read', 'gone', 'c'), cfp.cfp_get_value('read', 'gone', 'c'), cfp.cfp_get_text('read', 'gone', 'c'), cfp.cfp_get_data('read', 'gone', 'c');
SELECT cfp.cfp_get(NULL), cfp.cfp_get_value(NULL), cfp.cfp_get_text(NULL), cfp.cfp_get_data(NULL);
SELECT cfp.cfp_item('read', 'gone', 'c') IS NULL AS gone, cfp.cfp_item('read', 'none', 'c') IS NULL AS none, cfp.cfp_item(NULL) IS NULL AS null;

-- a collection
SELECT item, pg_temp.plain(record) FROM jsonb_each(cfp.cfp_get_collection('read', 'c')) e (item, record);
SELECT cfp.cfp_get_collection('read', 'c')->'one' = cfp.cfp_get('read', 'one', 'c') AS same;
SELECT cfp.cfp_get_values('read', 'c'), cfp.cfp_get_values('read'), cfp.cfp_get_values('read', 'none');
SELECT cfp.cfp_get_collection('read', 'none'), cfp.cfp_get_collection(NULL), cfp.cfp_get_values(NULL);

-- a key
SELECT collection, item, record->'value' AS value
FROM jsonb_each(cfp.cfp_get_key('read')) c (collection, items), jsonb_each(items) i (item, record);
SELECT cfp.cfp_get_key('none'), cfp.cfp_get_key(NULL);

-- rows, in byte order
SELECT item_name, value_int, value_float, value_string, version FROM cfp.cfp_items('read', 'c');
SELECT item_name, data, username, version FROM cfp.cfp_items('read', 'c', include_deleted => true);
SELECT item_name FROM cfp.cfp_items('read', 'c', from_item => 'p');
SELECT item_name FROM cfp.cfp_items('read', 'c', to_item => 'three');
SELECT item_name FROM cfp.cfp_items('read', 'c', 'one', 'one');
SELECT item_name FROM cfp.cfp_items('read', 'c', 'z', 'a');
SELECT item_name FROM cfp.cfp_items('read', 'c', max_items => 2);
SELECT item_name FROM cfp.cfp_items('read', 'c', 'gone', max_items => 1);
SELECT item_name FROM cfp.cfp_items('read', 'c', max_items => 0);
SELECT count(*) FROM cfp.cfp_items(NULL);
SELECT pg_temp.error($$SELECT cfp.cfp_items('read', 'c', max_items => -1)$$);
SELECT cfp.cfp_store('order', '{}', i, 'c') FROM unnest(ARRAY['b', 'a', 'B', 'ä', 'aa', '', 'a ', E'a\n', '10', '9', '€', '𝄞']) i \g (tuples_only=on format=unaligned)
SELECT array_agg(item_name) = array_agg(item_name ORDER BY item_name COLLATE "C") AS sorted, string_agg(quote_literal(item_name), ' ') FROM cfp.cfp_items('order', 'c');

-- history, newest first
SELECT cfp.cfp_store('read', '{}', 'one', 'c', 43, '2026-02-01 00:00:00+00', 'bob');
SELECT cfp.cfp_store('read', '{}', 'one', 'c', 44, '2026-02-02 00:00:00+00', 'bob');
SELECT version, value_int, timestamp, username FROM cfp.cfp_history('read', 'one', 'c');
SELECT version FROM cfp.cfp_history('read', 'one', 'c', 2);
SELECT version FROM cfp.cfp_history('read', 'one', 'c', 0);
SELECT version, data, value_int, timestamp, username FROM cfp.cfp_history('read', 'gone', 'c');
SELECT count(*) FROM cfp.cfp_history('read', 'none', 'c');
SELECT count(*) FROM cfp.cfp_history(NULL);
SELECT pg_temp.error($$SELECT cfp.cfp_history('read', max_versions => -1)$$);

-- json: the same records, and an etag that follows the versions
SELECT (cfp.cfp_get_collection_json('read', 'c')->'items')::jsonb = cfp.cfp_get_collection('read', 'c') AS same;
SELECT cfp.cfp_get_collection_json('read', 'none')->'items' AS items, cfp.cfp_get_collection_json(NULL);
SELECT cfp.cfp_get_collection_json('read', 'c')->>'etag' AS etag \gset
SELECT cfp.cfp_get_collection_json('read', 'c', :'etag') IS NULL AS matches, cfp.cfp_get_collection_json('read', 'c', 'other') IS NULL AS other;
SELECT cfp.cfp_evict('read', 'c');
SELECT cfp.cfp_get_collection_json('read', 'c', :'etag') IS NULL AS after_evict;
SELECT cfp.cfp_fold() > 0 AS folded;
SELECT cfp.cfp_get_collection_json('read', 'c', :'etag') IS NULL AS after_fold;
BEGIN;
SELECT cfp.cfp_store('read', '{}', 'new', 'c');
SELECT e->>'etag' AS etag, e->'items'->'new' IS NOT NULL AS has_new FROM cfp.cfp_get_collection_json('read', 'c') e;
ROLLBACK;
SELECT cfp.cfp_get_collection_json('read', 'c', :'etag') IS NULL AS after_rollback;
SELECT cfp.cfp_delete('read', 'two', 'c');
SELECT cfp.cfp_get_collection_json('read', 'c', :'etag') IS NULL AS after_delete;
SELECT e->>'etag' <> :'etag' AS differs, e->'items'->'two' IS NULL AS gone FROM cfp.cfp_get_collection_json('read', 'c') e;

-- the same of many items: texts kept from the read before, beside those that changed since
PREPARE texts AS
	WITH t AS MATERIALIZED (SELECT j->>'etag' AS etag, j->'items' AS items FROM cfp.cfp_get_collection_json('texts', 'c') j)
	SELECT (SELECT count(*) FROM json_object_keys(items)) AS items,
		(SELECT array_agg(n) = array_agg(n ORDER BY n COLLATE "C") FROM json_object_keys(items) n) AS sorted,
		items::jsonb = cfp.cfp_get_collection('texts', 'c') AS same,
		cfp.cfp_get_collection_json('texts', 'c', etag) IS NULL AS matches
	FROM t;
SELECT count(cfp.cfp_store('texts', jsonb_build_object('n', g, 'pad', repeat('x', 100)), g::text, 'c')) FROM generate_series(1, 6000) g;
EXECUTE texts;
EXECUTE texts;
SELECT count(cfp.cfp_delete('texts', g::text, 'c')) FROM generate_series(1, 6000, 7) g;
SELECT count(cfp.cfp_store('texts', '{}', g::text, 'c', g)) FROM generate_series(2, 6000, 1000) g;
EXECUTE texts;
EXECUTE texts;
SELECT cfp.cfp_get_collection_json('texts', 'c')->>'etag' AS etag \gset
BEGIN;
SELECT count(cfp.cfp_store('texts', '{}', 'own ' || g, 'c')), count(cfp.cfp_delete('texts', g::text, 'c')) FROM generate_series(2, 400) g;
EXECUTE texts;
ROLLBACK;
EXECUTE texts;
BEGIN ISOLATION LEVEL SERIALIZABLE;
EXECUTE texts;
SELECT cfp.cfp_get_collection_json('texts', 'c')->>'etag' = :'etag' AS same_etag;
COMMIT;

-- stores made earlier in the same statement are seen
SELECT cfp.cfp_store('statement', value => 1), cfp.cfp_get_value('statement'), cfp.cfp_store('statement', value => 2), cfp.cfp_get_value('statement');

-- the cache and the tables agree
CREATE FUNCTION pg_temp.digest(OUT items bigint, OUT digest text) LANGUAGE sql VOLATILE AS $$
	SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY t.collection_name, t.item_name))
	FROM (SELECT (cfp.cfp_items('read', c, include_deleted => true)).* FROM unnest(ARRAY['', 'c', 'C']) c) t
$$;
SELECT digest AS cached FROM pg_temp.digest() \gset
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT items, digest = :'cached' AS agree FROM pg_temp.digest();
COMMIT;
SELECT bool_and(cfp.cfp_get(key, item_name, collection_name)->>'version' = version::text) AS agree, count(*)
FROM cfp.storage_current WHERE key = 'read';

-- warm and evict
SELECT cfp.cfp_warm('read', 'c'), cfp.cfp_warm('read', 'none'), cfp.cfp_warm(NULL);
SELECT cfp.cfp_evict('read', 'c'), cfp.cfp_evict('read', 'c'), cfp.cfp_evict('read', 'never'), cfp.cfp_evict(NULL);
BEGIN;
SELECT cfp.cfp_store('read', '{}', 'pin', 'c');
SELECT cfp.cfp_evict('read', 'c');
ROLLBACK;
SELECT cfp.cfp_get('read', 'pin', 'c');
