-- The table storage_current: what it shows, and INSERT, UPDATE, DELETE on it.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';

CREATE VIEW pg_temp.shown AS
SELECT collection_name AS coll, item_name AS item, data, value, value_int AS i, value_float AS f, value_string AS s,
	status, status_int, username, version
FROM cfp.storage_current WHERE key = 'view' ORDER BY collection_name, item_name;

-- INSERT
INSERT INTO cfp.storage_current (key, item_name, collection_name, data, value_int, timestamp, username)
	VALUES ('view', 'int', 'c', '{"a": 1}', 42, '2026-01-01 00:00:00+00', 'ann');
INSERT INTO cfp.storage_current (key, item_name, collection_name, value_float) VALUES ('view', 'float', 'c', 42);
INSERT INTO cfp.storage_current (key, item_name, collection_name, value_string) VALUES ('view', 'string', 'c', '42');
INSERT INTO cfp.storage_current (key, item_name, collection_name, value)
	VALUES ('view', 'json int', 'c', '7'), ('view', 'json float', 'c', '7.0'), ('view', 'json string', 'c', '"7"'), ('view', 'json null', 'c', 'null');
INSERT INTO cfp.storage_current (key) VALUES ('view');
INSERT INTO cfp.storage_current (key, item_name, data, status, status_int) VALUES ('view', 'status', '{"status": "open", "status_int": 3}', 'open', 3)
	RETURNING key, item_name, data, status, status_int, version;
SELECT * FROM pg_temp.shown;
SELECT timestamp, username FROM cfp.storage_current WHERE key = 'view' AND item_name = 'int';
-- over an existing item: its next version
INSERT INTO cfp.storage_current (key, item_name, collection_name, value_int, version) VALUES ('view', 'int', 'c', 43, 99) RETURNING version, value;

-- what INSERT refuses
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (item_name) VALUES ('i')$$);
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key, data) VALUES ('view', '[]')$$);
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key, value_int, value_string) VALUES ('view', 1, 'one')$$);
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key, value) VALUES ('view', '{}')$$);
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key, value_float) VALUES ('view', 'NaN')$$);
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key, status) VALUES ('view', 'open')$$);
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key, status_int) VALUES ('view', 1)$$);
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key, item_name) VALUES ('view', repeat('i', 2000))$$);

-- UPDATE
UPDATE cfp.storage_current SET value_int = value_int + 1 WHERE key = 'view' AND item_name = 'int' AND collection_name = 'c';
UPDATE cfp.storage_current SET data = data || '{"b": 2}' WHERE key = 'view' AND item_name = 'int' AND collection_name = 'c' RETURNING data, value, username, version;
UPDATE cfp.storage_current SET value = '"now a string"' WHERE key = 'view' AND item_name = 'float';
UPDATE cfp.storage_current SET value_string = NULL WHERE key = 'view' AND item_name = 'string';
UPDATE cfp.storage_current SET username = 'bob', timestamp = '2026-02-02 00:00:00+00' WHERE key = 'view' AND item_name = 'json int';
UPDATE cfp.storage_current SET data = data || '{"status": "closed"}' WHERE key = 'view' AND item_name = 'status';
SELECT * FROM pg_temp.shown;
SELECT timestamp, username FROM cfp.storage_current WHERE key = 'view' AND item_name = 'json int';
SELECT version, value_int, value_string, data FROM cfp.cfp_history('view', 'int', 'c');

-- what UPDATE refuses
SELECT pg_temp.error($$UPDATE cfp.storage_current SET key = 'k' WHERE key = 'view'$$);
SELECT pg_temp.error($$UPDATE cfp.storage_current SET item_name = 'k' WHERE key = 'view' AND item_name = 'int'$$);
SELECT pg_temp.error($$UPDATE cfp.storage_current SET collection_name = 'k' WHERE key = 'view' AND item_name = 'int'$$);
-- what each store sets may come along: a version column that counts, whole rows with timestamps
SELECT cfp.cfp_store('mapper', '{"a": 1}', 'i', 'c', 1);
UPDATE cfp.storage_current SET updated_at = '2000-01-01', txid = '7', value_int = 2 WHERE key = 'mapper' RETURNING version, value, updated_at > '2026-01-01' AS now, txid = pg_current_xact_id() AS mine;
UPDATE cfp.storage_current SET version = version + 1, value_int = 3 WHERE key = 'mapper' AND version = 2 RETURNING version, value;
UPDATE cfp.storage_current SET version = version + 1, value_int = 4 WHERE key = 'mapper' AND version = 2 RETURNING version, value;
UPDATE cfp.storage_current SET version = 3, value_int = 5 WHERE key = 'mapper' RETURNING version, value;
UPDATE cfp.storage_current SET version = 5, updated_at = now(), data = '{"b": 2}', value_int = 6, item_name = 'i' WHERE key = 'mapper' RETURNING version, data, value;
SELECT pg_temp.error($$UPDATE cfp.storage_current SET version = 4, value_int = 7 WHERE key = 'mapper'$$);
SELECT pg_temp.error($$UPDATE cfp.storage_current SET version = 7, value_int = 7 WHERE key = 'mapper'$$);
SELECT pg_temp.error($$UPDATE cfp.storage_current SET version = -2147483648, value_int = 7 WHERE key = 'mapper'$$);
SELECT pg_temp.error($$UPDATE cfp.storage_current SET version = NULL, value_int = 7 WHERE key = 'mapper'$$);
CREATE ROLE mapper;
GRANT USAGE ON SCHEMA cfp TO mapper;
GRANT UPDATE ON cfp.storage_current TO mapper;
GRANT SELECT (key) ON cfp.storage_current TO mapper;
SET ROLE mapper;
SELECT pg_temp.error($$UPDATE cfp.storage_current SET version = 2, value_int = 7 WHERE key = 'mapper'$$);
RESET ROLE;
SELECT version, data, value_int FROM cfp.cfp_history('mapper', 'i', 'c') ORDER BY 1;
DROP OWNED BY mapper;
DROP ROLE mapper;
SELECT pg_temp.error($$UPDATE cfp.storage_current SET status = 'x' WHERE key = 'view' AND item_name = 'status'$$);
SELECT pg_temp.error($$UPDATE cfp.storage_current SET value_int = 1, value_float = 2 WHERE key = 'view' AND item_name = 'int'$$);
SELECT pg_temp.error($$UPDATE cfp.storage_current SET data = '3' WHERE key = 'view' AND item_name = 'int'$$);

-- a join that gives an item twice: neither of the two
SELECT pg_temp.error($$UPDATE cfp.storage_current SET value_int = x FROM generate_series(1, 2) x WHERE key = 'view' AND item_name = 'int'$$);
SELECT pg_temp.error($$DELETE FROM cfp.storage_current USING generate_series(1, 2) x WHERE key = 'view' AND item_name = 'int'$$);
SELECT pg_temp.error($$WITH u AS (UPDATE cfp.storage_current SET value_int = 5 WHERE key = 'view' AND item_name = 'int' RETURNING 1)
	DELETE FROM cfp.storage_current WHERE key = 'view' AND item_name = 'int'$$);
BEGIN;
UPDATE cfp.storage_current SET value_int = 1 WHERE key = 'view' AND item_name = 'int' RETURNING value_int;
UPDATE cfp.storage_current SET value_int = 2 WHERE key = 'view' AND item_name = 'int' RETURNING value_int;
ROLLBACK;

-- DELETE
DELETE FROM cfp.storage_current WHERE key = 'view' AND item_name LIKE 'json%' RETURNING item_name, version;
DELETE FROM cfp.storage_current WHERE key = 'view' AND item_name = 'none';
SELECT coll, item FROM pg_temp.shown;
SELECT item_name, version FROM cfp.cfp_items('view', 'c', include_deleted => true);

-- own stores are on top, one row for each item, in and after the transaction
BEGIN;
SELECT cfp.cfp_store('view', '{}', 'int', 'c', 100);
SELECT cfp.cfp_store('view', '{}', 'new', 'c', 1);
SELECT cfp.cfp_delete('view', 'string', 'c');
SELECT coll, item, value, version FROM pg_temp.shown;
SAVEPOINT a;
UPDATE cfp.storage_current SET value_int = value_int + 1 WHERE key = 'view' AND value_int IS NOT NULL;
DELETE FROM cfp.storage_current WHERE key = 'view' AND collection_name = '';
SELECT coll, item, value, version FROM pg_temp.shown;
ROLLBACK TO a;
SELECT coll, item, value, version FROM pg_temp.shown;
COMMIT;
SELECT coll, item, value, version FROM pg_temp.shown;

-- a statement does not see what it stores itself
WITH u AS (UPDATE cfp.storage_current SET value_int = value_int + 1 WHERE key = 'view' AND collection_name = 'c' AND value_int IS NOT NULL RETURNING item_name)
SELECT count(*) FROM u;
BEGIN;
SELECT cfp.cfp_store('hal', '{}', 'i' || n, '', n) FROM generate_series(1, 3) n;
WITH u AS (UPDATE cfp.storage_current SET value_int = value_int + 1 WHERE key = 'hal' RETURNING item_name, version) SELECT * FROM u ORDER BY 1;
WITH u AS (INSERT INTO cfp.storage_current (key, item_name) SELECT key, item_name || 'x' FROM cfp.storage_current WHERE key = 'hal' RETURNING item_name) SELECT * FROM u ORDER BY 1;
WITH u AS (DELETE FROM cfp.storage_current WHERE key = 'hal' RETURNING item_name) SELECT count(*) FROM u;
SELECT count(*) FROM cfp.storage_current WHERE key = 'hal';
ROLLBACK;

-- the same at each stage of the pipeline
CREATE TEMP TABLE before AS SELECT * FROM cfp.storage_current WHERE key = 'view';
CREATE FUNCTION pg_temp.differences() RETURNS bigint LANGUAGE sql VOLATILE AS $$
	SELECT count(*) FROM (
		(TABLE before EXCEPT SELECT * FROM cfp.storage_current WHERE key = 'view')
		UNION ALL
		(SELECT * FROM cfp.storage_current WHERE key = 'view' EXCEPT TABLE before)) d
$$;
SELECT cfp.cfp_flush() >= 0 AS flushed;
SELECT pg_temp.differences();
SELECT cfp.cfp_fold() > 0 AS folded;
SELECT pg_temp.differences();
SELECT count(*) AS dirty FROM cfp.storage_dirty WHERE key = 'view';
SELECT (SELECT count(*) FROM cfp.storage_latest WHERE key = 'view') - (SELECT count(*) FROM cfp.storage_current WHERE key = 'view') AS tombstones;
-- stored, flushed and folded items side by side
SELECT cfp.cfp_store('view', '{}', 'int', 'c', 1) > 0 AS stored;
SELECT cfp.cfp_flush() >= 0 AS flushed;
SELECT cfp.cfp_store('view', '{}', 'float', 'c', 2.5) > 0 AS stored, cfp.cfp_store('view', '{}', 'newer', 'c', 3) > 0 AS stored;
SELECT coll, item, value, version FROM pg_temp.shown;
SELECT count(*), count(DISTINCT (key, collection_name, item_name)) FROM cfp.storage_current WHERE key = 'view';

-- what is read, by what is given of the names
SELECT count(cfp.cfp_store('plan', '{}', 'i' || n, 'c' || n % 10, n)) FROM generate_series(1, 5000) n;
SELECT cfp.cfp_fold() > 0 AS folded;
ANALYZE cfp.storage_history, cfp.storage_latest, cfp.storage_dirty;
CREATE FUNCTION pg_temp.rows(query text, OUT plan text, OUT rows bigint) LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		plan := concat_ws(E'\n', plan, regexp_replace(line, ' \(returns .*\)', ''));
	END LOOP;
	EXECUTE format('SELECT count(*) FROM (%s) q', query) INTO rows;
END $$;
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name = 'i77'$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE 'i77' = item_name AND key = 'plan' AND collection_name = 'c7' AND value_int > 100$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name = ANY ('{i77,i7,none,i7,NULL}')$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name IN ('i77', 'i7') ORDER BY item_name$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name > 'i7' AND item_name < 'i8'$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name BETWEEN 'i7' AND 'i77' ORDER BY item_name LIMIT 3$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' ORDER BY item_name LIMIT 10$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' ORDER BY item_name DESC LIMIT 10$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' ORDER BY collection_name, item_name LIMIT 10$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND item_name = 'i77'$$);
SELECT * FROM pg_temp.rows($$SELECT key, collection_name, item_name FROM cfp.storage_current ORDER BY key, collection_name, item_name LIMIT 10$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE collection_name = 'c7' AND item_name = 'i77' AND key < 'view'$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = NULL$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name = (SELECT 'i77')$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE collection_name = item_name ORDER BY key, collection_name, item_name$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name LIKE 'i77%'$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name LIKE 'i77'$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name LIKE '%77'$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND starts_with(item_name, 'i77')$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name ^@ 'i77'$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name ~ '^i77'$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM cfp.storage_current WHERE collection_name = 'c7'$$);
-- a join looks items up
CREATE TEMP TABLE asked AS SELECT 'plan' AS key, 'c' || n % 10 AS collection_name, 'i' || n AS item_name FROM generate_series(1, 30) n;
ANALYZE asked;
SELECT * FROM pg_temp.rows($$SELECT * FROM asked JOIN cfp.storage_current USING (key, collection_name, item_name)$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM asked a LEFT JOIN cfp.storage_current s ON s.key = a.key AND s.collection_name = a.collection_name AND s.item_name = a.item_name || 'x'$$);
SELECT * FROM pg_temp.rows($$SELECT * FROM (SELECT DISTINCT collection_name FROM asked LIMIT 1) a, LATERAL (SELECT * FROM cfp.storage_current s WHERE s.key = 'plan' AND s.collection_name = a.collection_name) s$$);
-- in the right order, each once, whatever the pages
SELECT bool_and(before < row(key, collection_name, item_name)) AS ordered FROM (
	SELECT key, collection_name, item_name, lag(row(key, collection_name, item_name)) OVER () AS before FROM cfp.storage_current) o;
SELECT count(*), sum(value_int) FROM cfp.storage_current WHERE key = 'plan';
-- generic plans, other values
PREPARE item(text, text, text) AS SELECT value FROM cfp.storage_current WHERE key = $1 AND collection_name = $2 AND item_name = $3;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE item('plan', 'c7', 'i77');
EXECUTE item('plan', 'c7', 'i77');
EXECUTE item('plan', 'c8', 'i78');
EXECUTE item('plan', NULL, 'i78');
RESET plan_cache_mode;
DEALLOCATE item;
-- cursors, both ways, held
BEGIN;
DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT item_name FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' ORDER BY item_name;
FETCH 3 FROM c;
FETCH BACKWARD 1 FROM c;
SELECT cfp.cfp_delete('plan', 'i1007', 'c7') > 1 AS deleted;
FETCH LAST FROM c;
COMMIT;
FETCH FIRST FROM c;
MOVE ALL FROM c;
CLOSE c;
-- what a query stores itself it does not see
SELECT count(cfp.cfp_store('plan', '{}', item_name || 'x', collection_name, 1)) FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND value_int < 1000;
INSERT INTO cfp.storage_current (key, item_name, collection_name) SELECT key, item_name || 'y', collection_name FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND value_int < 1000;
SELECT count(*) FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7';

-- ON CONFLICT DO NOTHING stores what is absent
INSERT INTO cfp.storage_current (key, item_name, value) VALUES ('conflict', 'a', '1'), ('conflict', 'b', '2') ON CONFLICT DO NOTHING RETURNING item_name, value, version;
SELECT cfp.cfp_delete('conflict', 'b');
INSERT INTO cfp.storage_current (key, item_name, value) VALUES ('conflict', 'a', '3'), ('conflict', 'b', '4'), ('conflict', 'c', '5'), ('conflict', 'c', '6')
	ON CONFLICT DO NOTHING RETURNING item_name, value, version;
SELECT item_name, value, version FROM cfp.storage_current WHERE key = 'conflict';
-- and with columns, which must be the three
INSERT INTO cfp.storage_current (key, item_name, value) VALUES ('conflict', 'a', '7'), ('conflict', 'd', '8') ON CONFLICT (item_name, collection_name, key) DO NOTHING RETURNING item_name, value, version;
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key) VALUES ('conflict') ON CONFLICT (key) DO NOTHING$$);
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key) VALUES ('conflict') ON CONFLICT (key, collection_name, item_name, version) DO NOTHING$$);
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key) VALUES ('conflict') ON CONFLICT (key, collection_name, lower(item_name)) DO NOTHING$$);
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key) VALUES ('conflict') ON CONFLICT ON CONSTRAINT storage_current_pkey DO NOTHING$$);
-- ON CONFLICT DO UPDATE
INSERT INTO cfp.storage_current AS c (key, item_name, value_int, data) VALUES ('conflict', 'a', 10, '{"x": 1}'), ('conflict', 'e', 20, '{"x": 2}')
	ON CONFLICT (key, collection_name, item_name) DO UPDATE SET value_int = c.value_int + EXCLUDED.value_int, data = c.data || EXCLUDED.data
	RETURNING item_name, value, data, version;
INSERT INTO cfp.storage_current AS c (key, item_name, value_int) VALUES ('conflict', 'a', 1), ('conflict', 'e', 2), ('conflict', 'f', 3)
	ON CONFLICT (key, collection_name, item_name) DO UPDATE SET value_int = EXCLUDED.value_int WHERE c.value_int > 15
	RETURNING item_name, value, version;
SELECT cfp.cfp_delete('conflict', 'f');
INSERT INTO cfp.storage_current (key, item_name, value_int) VALUES ('conflict', 'f', 4)
	ON CONFLICT (key, collection_name, item_name) DO UPDATE SET value_int = 5 RETURNING item_name, value, version;
-- an item twice: an error, and nothing is stored
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key, item_name, value_int) VALUES ('conflict', 'g', 1), ('conflict', 'g', 2)
	ON CONFLICT (key, collection_name, item_name) DO UPDATE SET value_int = EXCLUDED.value_int$$);
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key, item_name) VALUES ('conflict', 'a') ON CONFLICT (key, collection_name, item_name) DO UPDATE SET key = 'other'$$);
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key, item_name, version) VALUES ('conflict', 'a', 1) ON CONFLICT (key, collection_name, item_name) DO UPDATE SET version = EXCLUDED.version$$);
-- of what the transaction has stored before, from a query, in a WITH, prepared, by a view and a function
BEGIN;
SELECT cfp.cfp_store('conflict', '{}', 'h', '', 1);
INSERT INTO cfp.storage_current AS c (key, item_name, value_int) SELECT 'conflict', 'h', 5
	ON CONFLICT (key, collection_name, item_name) DO UPDATE SET value_int = c.value_int + EXCLUDED.value_int RETURNING value, version;
WITH i AS (INSERT INTO cfp.storage_current AS c (key, item_name, value_int) VALUES ('conflict', 'h', 5)
	ON CONFLICT (key, collection_name, item_name) DO UPDATE SET value_int = c.value_int + EXCLUDED.value_int RETURNING value, version)
SELECT * FROM i;
ROLLBACK;
PREPARE upsert(text, bigint) AS INSERT INTO cfp.storage_current AS c (key, item_name, value_int) VALUES ('conflict', $1, $2)
	ON CONFLICT (key, collection_name, item_name) DO UPDATE SET value_int = c.value_int + EXCLUDED.value_int RETURNING value, version;
EXECUTE upsert('i', 1);
EXECUTE upsert('i', 2);
SET plan_cache_mode = force_generic_plan;
EXECUTE upsert('i', 3);
RESET plan_cache_mode;
DEALLOCATE upsert;
CREATE VIEW upserted AS SELECT key, collection_name, item_name, value_int FROM cfp.storage_current WHERE value_int < 100 WITH CHECK OPTION;
INSERT INTO upserted AS u (key, item_name, value_int) VALUES ('conflict', 'i', 50)
	ON CONFLICT (key, collection_name, item_name) DO UPDATE SET value_int = u.value_int + EXCLUDED.value_int RETURNING value_int;
SELECT pg_temp.error($$INSERT INTO upserted AS u (key, item_name, value_int) VALUES ('conflict', 'i', 50)
	ON CONFLICT (key, collection_name, item_name) DO UPDATE SET value_int = u.value_int + EXCLUDED.value_int$$) ~ '^44000' AS refused;
DROP VIEW upserted;
CREATE FUNCTION pg_temp.upsert(n int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	result bigint;
BEGIN
	INSERT INTO cfp.storage_current AS c (key, collection_name, item_name, value_int) VALUES ('conflict', 'f', 'x', n)
	ON CONFLICT (key, collection_name, item_name) DO UPDATE SET value_int = c.value_int + n RETURNING value_int INTO result;
	RETURN result;
END $$;
SELECT pg_temp.upsert(n) FROM generate_series(1, 4) n;
EXPLAIN (COSTS OFF) INSERT INTO cfp.storage_current AS c (key) VALUES ('conflict') ON CONFLICT (key, collection_name, item_name) DO UPDATE SET value_int = 1 WHERE c.value_int = 2;
SELECT collection_name, item_name, value, version FROM cfp.storage_current WHERE key = 'conflict';
-- both privileges are asked for
CREATE ROLE upserter;
GRANT USAGE ON SCHEMA cfp TO upserter;
GRANT INSERT, SELECT ON cfp.storage_current TO upserter;
SET ROLE upserter;
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key) VALUES ('conflict') ON CONFLICT (key, collection_name, item_name) DO UPDATE SET value_int = 1$$);
RESET ROLE;
DROP OWNED BY upserter;
DROP ROLE upserter;

-- views over it: their condition holds for changes, too
CREATE VIEW mine WITH (security_barrier) AS SELECT * FROM cfp.storage_current WHERE key = 'mine';
INSERT INTO mine (key, item_name, value) VALUES ('mine', 'a', '1'), ('yours', 'a', '1');
UPDATE mine SET value_int = 2 WHERE item_name = 'a' RETURNING key, value;
DELETE FROM mine WHERE item_name = 'a' RETURNING key, version;
SELECT key, value FROM cfp.storage_current WHERE key IN ('mine', 'yours') ORDER BY 1;
SELECT * FROM pg_temp.rows($$SELECT * FROM mine WHERE collection_name = '' AND item_name = 'a'$$);
DROP VIEW mine;
CREATE VIEW mine AS SELECT * FROM cfp.storage_current WHERE key = 'mine' AND value_int < 10 WITH CHECK OPTION;
INSERT INTO mine (key, item_name, value) VALUES ('mine', 'a', '1') RETURNING value;
SELECT pg_temp.error($$INSERT INTO mine (key, item_name, value) VALUES ('yours', 'b', '1')$$) ~ '^44000' AS refused;
SELECT pg_temp.error($$UPDATE mine SET value_int = 10$$) ~ '^44000' AS refused;
UPDATE mine SET value_int = 9 RETURNING value;
SELECT key, item_name, value FROM cfp.storage_current WHERE key IN ('mine', 'yours') ORDER BY 1;
DROP VIEW mine;

-- constraints that a user adds
ALTER FOREIGN TABLE cfp.storage_current ADD CONSTRAINT small CHECK (value_int < 1000), ALTER status SET NOT NULL;
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key, data) VALUES ('checked', '{}')$$) ~ '^23502' AS refused;
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key, data, value_int) VALUES ('checked', '{"status": "new"}', 1000)$$) ~ '^23514' AS refused;
INSERT INTO cfp.storage_current (key, data, value) VALUES ('checked', '{"status": "new"}', '999') RETURNING status, value_int, version;
SELECT pg_temp.error($$UPDATE cfp.storage_current SET value = '1001' WHERE key = 'checked'$$) ~ '^23514' AS refused;
SELECT pg_temp.error($$INSERT INTO cfp.storage_current AS c (key, data, value_int) VALUES ('checked', '{"status": "new"}', 2)
	ON CONFLICT (key, collection_name, item_name) DO UPDATE SET value_int = c.value_int + EXCLUDED.value_int$$) ~ '^23514' AS refused;
SELECT value, version FROM cfp.storage_current WHERE key = 'checked';
ALTER FOREIGN TABLE cfp.storage_current DROP CONSTRAINT small, ALTER status DROP NOT NULL;

-- what EXPLAIN ANALYZE counts
CREATE FUNCTION pg_temp.counted(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) ' || query LOOP
		CONTINUE WHEN line !~ 'Cache|Loads|Order|Table Reads|Tables';
		RETURN NEXT line;
	END LOOP;
END $$;
SELECT cfp.cfp_evict('plan', 'c7');
SELECT pg_temp.counted($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name = 'i77'$$);
SELECT pg_temp.counted($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name IN ('i77', 'i7')$$);
SELECT pg_temp.counted($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' ORDER BY item_name DESC$$);
SELECT cfp.cfp_evict('plan', 'c7'), cfp.cfp_evict('plan', 'c8');
SELECT pg_temp.counted($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name IN ('c7', 'c8')$$) ~ 'Loads' AS loaded;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT pg_temp.counted($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name = 'i77'$$);
COMMIT;
-- backward, from the cache and from the tables, own stores among them
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cfp.cfp_store('plan', '{}', 'i77a', 'c7', 1), cfp.cfp_delete('plan', 'i777', 'c7') > 1 AS deleted;
CREATE TEMP TABLE forward AS SELECT row_number() OVER () AS n, item_name, version FROM (SELECT item_name, version FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' ORDER BY item_name) f;
CREATE TEMP TABLE backward AS SELECT row_number() OVER () AS n, item_name, version FROM (SELECT item_name, version FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' ORDER BY item_name DESC OFFSET 0) b;
SELECT count(*) FILTER (WHERE f.item_name = b.item_name AND f.version = b.version) AS same, count(*) FROM forward f JOIN backward b ON f.n = (SELECT count(*) FROM forward) + 1 - b.n;
SELECT item_name FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name BETWEEN 'i77' AND 'i78' ORDER BY item_name DESC;
SELECT item_name FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name IN ('i7', 'i77', 'i77a', 'i777') ORDER BY item_name DESC;
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cfp.cfp_store('plan', '{}', 'i77a', 'c7', 1), cfp.cfp_delete('plan', 'i777', 'c7') > 1 AS deleted;
SELECT count(*), min(item_name) FILTER (WHERE n = 1), max(item_name) FILTER (WHERE n = 1) FROM (SELECT row_number() OVER () AS n, item_name FROM (SELECT item_name FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' ORDER BY item_name DESC OFFSET 0) b) x;
SELECT item_name FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name BETWEEN 'i77' AND 'i78' ORDER BY item_name DESC LIMIT 3;
ROLLBACK;

-- statistics
ANALYZE cfp.storage_current;
SELECT reltuples > 5000 AS counted, (SELECT count(*) FROM pg_stats WHERE schemaname = 'cfp' AND tablename = 'storage_current' AND attname IN ('key', 'value_int')) AS columns
FROM pg_class WHERE oid = 'cfp.storage_current'::regclass;

-- what is not done
SELECT pg_temp.error('TRUNCATE cfp.storage_current');
SELECT cfp.cfp_fdw_validator('{}', 'pg_foreign_table'::regclass) IS NOT NULL AS no_options;
SELECT pg_temp.error($$SELECT cfp.cfp_fdw_validator('{a=b}', 'pg_foreign_table'::regclass)$$);
SELECT pg_temp.error($$ALTER SERVER cfp OPTIONS (a 'b')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_fdw_handler()::text$$) ~ '^0A000|^42846' AS not_shown;
SELECT fdwname, fdwhandler::regproc, fdwvalidator::regproc FROM pg_foreign_data_wrapper WHERE fdwhandler = 'cfp.cfp_fdw_handler'::regproc;
ALTER FOREIGN TABLE cfp.storage_current ADD COLUMN mine int;
SELECT pg_temp.error('SELECT * FROM cfp.storage_current');
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key) VALUES ('k')$$);
SELECT cfp.cfp_get_value('plan', 'i77', 'c7');
ALTER FOREIGN TABLE cfp.storage_current DROP COLUMN mine;
SELECT pg_temp.error('SELECT * FROM cfp.storage_current');

-- joins, aggregates, sub-selects, other views
SELECT w.item, s.value FROM (VALUES ('int'), ('newer'), ('none')) w (item) LEFT JOIN cfp.storage_current s ON s.key = 'view' AND s.item_name = w.item ORDER BY 1;
CREATE VIEW open_items AS SELECT item_name, value_int FROM cfp.storage_current WHERE key = 'view' AND value_int > 0;
SELECT * FROM open_items ORDER BY 1;
UPDATE open_items SET value_int = value_int * 2 WHERE item_name = 'int';
SELECT * FROM open_items ORDER BY 1;
DROP VIEW open_items;

-- copied out and in again
CREATE TEMP TABLE copy AS SELECT * FROM cfp.storage_current WHERE key = 'view';
UPDATE copy SET key = 'copy';
INSERT INTO cfp.storage_current SELECT * FROM copy;
SELECT count(*) FILTER (WHERE a.data = b.data AND a.value IS NOT DISTINCT FROM b.value AND a.timestamp = b.timestamp
		AND a.username IS NOT DISTINCT FROM b.username AND a.status IS NOT DISTINCT FROM b.status) AS same, count(*)
FROM copy a LEFT JOIN cfp.storage_current b ON b.key = 'copy' AND b.collection_name = a.collection_name AND b.item_name = a.item_name;
SELECT pg_temp.error('SELECT cfp.cfp_gate_trigger()');
SELECT pg_temp.error('SELECT cfp.cfp_stamp_trigger()');
