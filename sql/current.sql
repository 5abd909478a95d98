-- The view storage_current: what it shows, and INSERT, UPDATE, DELETE on it.
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

-- a condition on the names reaches an index in each branch
CREATE FUNCTION pg_temp.scans(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line ~ 'Seq Scan|Function Scan' THEN
			RETURN NEXT regexp_replace(line, '^[ ->]*', '');
		END IF;
	END LOOP;
END $$;
SELECT count(cfp.cfp_store('plan', '{}', 'i' || n, 'c' || n % 10, n)) FROM generate_series(1, 5000) n;
SELECT cfp.cfp_fold() > 0 AS folded;
ANALYZE cfp.storage_history, cfp.storage_latest, cfp.storage_dirty;
SELECT * FROM pg_temp.scans($$SELECT * FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name = 'i77'$$);
SELECT value FROM cfp.storage_current WHERE key = 'plan' AND collection_name = 'c7' AND item_name = 'i77';
SELECT count(*), sum(value_int) FROM cfp.storage_current WHERE key = 'plan';

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

-- What the view asks, asked alone
SELECT cfp.cfp_value_jsonb(1, NULL, NULL) AS i, cfp.cfp_value_jsonb(NULL, 1, NULL) AS f,
	cfp.cfp_value_jsonb(NULL, NULL, '1') AS s, cfp.cfp_value_jsonb(NULL, NULL, NULL) IS NULL AS none;
SELECT cfp.cfp_flush() >= 0 AS flushed;
SELECT cfp.cfp_whole_history() AS whole_history, cfp.cfp_flushed_xmax() > '3' AS has_flushed,
	cfp.cfp_flushed_xip() IS NOT NULL AS has_xip;
BEGIN;
SELECT cfp.cfp_store('view', item_name => 'own', collection_name => 'p');
SELECT cfp.cfp_pending_version('view', 'p', 'own') AS own, cfp.cfp_pending_version('view', 'p', 'other') AS other,
	(SELECT count(*) FROM cfp.cfp_pending_rows()) AS rows;
ROLLBACK;
SELECT cfp.cfp_pending_version('view', 'p', 'own') AS own, (SELECT count(*) FROM cfp.cfp_pending_rows()) AS rows;
SELECT pg_temp.error('SELECT cfp.cfp_current_trigger()');
SELECT pg_temp.error('SELECT cfp.cfp_gate_trigger()');
SELECT pg_temp.error('SELECT cfp.cfp_stamp_trigger()');
