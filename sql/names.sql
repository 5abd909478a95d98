-- Names and texts that try to be something else; a hostile search_path.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all

CREATE TEMP TABLE odd (n serial, name text);
INSERT INTO odd (name) VALUES
	(''), (' '), ('a'), ('A'), ('a '), (''''), ('"'), ('\'), ('a:b'), ('a/b'), ('a.b'), ('..'), ('%s%n'), ('$$'), ('{}'), ('null'),
	(E'a\nb'), (E'a\tb'), (E'\r'), (E'\x01'), (E'\x7f'), (U&'\00e9'), (U&'e\0301'), ('€'), ('𝄞'), ('ß'), ('SS'), ('İ'), (E'\u200b'), (E'\ufeff'),
	('; DROP TABLE x; --'), ('*'), ('-1'), ('0'), (repeat('x', 600)), (repeat('€', 200));

-- each of them as key, collection and item, and as value and user
SELECT count(cfp.cfp_store(k.name, jsonb_build_object(i.name, c.name, 'status', k.name), i.name, c.name, i.name || c.name, username => c.name))
FROM odd k, odd c, odd i WHERE (k.n + c.n + i.n) % 7 = 0;
CREATE FUNCTION pg_temp.wrong() RETURNS bigint LANGUAGE sql VOLATILE AS $$
	SELECT count(*)
	FROM odd k, odd c, odd i
		CROSS JOIN LATERAL cfp.cfp_get(k.name, i.name, c.name) r
	WHERE (k.n + c.n + i.n) % 7 = 0
		AND (r->'data' = jsonb_build_object(i.name, c.name, 'status', k.name)
			AND r->>'value' = i.name || c.name AND r->>'status' = k.name AND r->>'username' = c.name
			AND cfp.cfp_get_text(k.name, i.name, c.name) = i.name || c.name) IS NOT TRUE
$$;
SELECT pg_temp.wrong();
SELECT count(*) FROM odd k, odd c, odd i WHERE (k.n + c.n + i.n) % 7 <> 0 AND cfp.cfp_get(k.name, i.name, c.name) IS NOT NULL;
-- from the tables
SELECT count(*) AS evicted FROM odd k, odd c WHERE cfp.cfp_evict(k.name, c.name);
SELECT pg_temp.wrong();
SELECT cfp.cfp_fold() > 0 AS folded;
SELECT count(*) AS evicted FROM odd k, odd c WHERE cfp.cfp_evict(k.name, c.name);
SELECT pg_temp.wrong();
-- whole collections and keys
SELECT bool_and((cfp.cfp_get_collection_json(k.name, c.name)->'items')::jsonb = cfp.cfp_get_collection(k.name, c.name)) AS json,
	bool_and(coalesce(k.collections->c.name, '{}') = cfp.cfp_get_collection(k.name, c.name)) AS key
FROM (SELECT name, cfp.cfp_get_key(name) AS collections FROM odd OFFSET 0) k, odd c;
SELECT bool_and(sorted) FROM (
	SELECT array_agg(item_name ORDER BY i.n) = array_agg(item_name ORDER BY item_name COLLATE "C") AS sorted
	FROM odd k, odd c, cfp.cfp_items(k.name, c.name) WITH ORDINALITY i (key, collection_name, item_name, data, value_int, value_float,
		value_string, timestamp, status, status_int, username, updated_at, version, operation, txid, n) GROUP BY k.n, c.n) s;
-- precomposed and decomposed are two names, as for any text
SELECT cfp.cfp_store('norm', '{}', U&'\00e9', '', 1), cfp.cfp_store('norm', '{}', U&'e\0301', '', 2);
SELECT cfp.cfp_get_values('norm');

-- objects of the same names in front of pg_catalog and of cfp
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.boom() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
CREATE FUNCTION hostile.boom(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
CREATE FUNCTION hostile.boom(int, int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
CREATE FUNCTION hostile.boom(xid8, xid8) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.boom);
CREATE OPERATOR hostile.> (LEFTARG = int, RIGHTARG = int, FUNCTION = hostile.boom);
CREATE OPERATOR hostile.>= (LEFTARG = int, RIGHTARG = int, FUNCTION = hostile.boom);
CREATE OPERATOR hostile.>= (LEFTARG = xid8, RIGHTARG = xid8, FUNCTION = hostile.boom);
CREATE FUNCTION hostile.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'hostile'; END $$;
CREATE FUNCTION hostile.num_nonnulls(VARIADIC "any") RETURNS int LANGUAGE internal AS 'pg_num_nulls';
CREATE TABLE hostile.storage_history (x int);
CREATE TABLE hostile.storage_latest (x int);
CREATE TABLE hostile.storage_dirty (x int);
CREATE TABLE hostile.cfp_state (x int);
SET search_path = hostile, pg_catalog;
SELECT cfp.cfp_store('hostile', '{"a": 1}', 'i', 'c', 1);
SELECT cfp.cfp_get_value('hostile', 'i', 'c');
SELECT value FROM cfp.storage_current WHERE key OPERATOR(pg_catalog.=) 'hostile';
SELECT count(*) FROM cfp.cfp_stat;
SELECT cfp.cfp_flush() OPERATOR(pg_catalog.>=) 0::bigint AS flushed;
UPDATE cfp.storage_current SET value_int = 2 WHERE key OPERATOR(pg_catalog.=) 'hostile' RETURNING value;
UPDATE cfp.storage_history SET status = 'x' WHERE key OPERATOR(pg_catalog.=) 'hostile';
SELECT cfp.cfp_get_value('hostile', 'i', 'c');
RESET search_path;
-- installed while such a schema comes first
BEGIN;
DROP EXTENSION cfp;
SET LOCAL search_path = hostile, pg_catalog;
CREATE EXTENSION cfp SCHEMA cfp;
SELECT cfp.cfp_store('hostile', '{}', 'i', 'c', 1);
SELECT value FROM cfp.storage_current;
ROLLBACK;
SET client_min_messages = warning;
DROP SCHEMA hostile CASCADE;
