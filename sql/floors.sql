-- Versions of records that are gone stay taken.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all

CREATE FUNCTION pg_temp.store(c text, item text) RETURNS integer LANGUAGE sql VOLATILE AS $$
	SELECT cfp.cfp_store('floor', '{}', item, c)
$$;
CREATE VIEW pg_temp.floors AS SELECT collection_name, new_items, all_items FROM cfp.storage_floors WHERE key = 'floor';

-- a tombstone that is pruned; another item is not concerned, a new one is
SELECT pg_temp.store('p', 'x'), pg_temp.store('p', 'other'), cfp.cfp_delete('floor', 'x', 'p');
SELECT cfp.cfp_fold() > 0 AS folded;
SELECT item_name, version FROM cfp.cfp_items('floor', 'p', include_deleted => true);
SELECT cfp.cfp_prune_history('infinity', key => 'floor', collection_name => 'p');
SELECT item_name, version FROM cfp.cfp_items('floor', 'p', include_deleted => true);
TABLE pg_temp.floors;
SELECT pg_temp.store('p', 'x'), pg_temp.store('p', 'other'), pg_temp.store('p', 'new');
SELECT pg_temp.error($$SELECT cfp.cfp_store('floor', '{}', 'x', 'p', expected_version => 1)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('floor', '{}', 'x', 'p', expected_version => 0)$$);
-- once more, not cached; a lower floor does not replace a higher one
SELECT pg_temp.store('p', 'y'), cfp.cfp_delete('floor', 'y', 'p'), cfp.cfp_delete('floor', 'new', 'p');
SELECT cfp.cfp_fold() > 0 AS folded, cfp.cfp_evict('floor', 'p');
SELECT cfp.cfp_prune_history('infinity', key => 'floor');
TABLE pg_temp.floors;
SELECT cfp.cfp_prune_history('infinity', key => 'floor');
SELECT pg_temp.store('p', 'y'), pg_temp.store('p', 'x');

-- removed by hand from both tables
SELECT count(pg_temp.store('h', 'x')) FROM generate_series(1, 5);
SELECT pg_temp.store('h', 'other');
SELECT cfp.cfp_fold() > 0 AS folded;
DELETE FROM cfp.storage_history WHERE key = 'floor' AND collection_name = 'h' AND item_name = 'x' AND version < 4;
SELECT * FROM pg_temp.floors WHERE collection_name = 'h';
DELETE FROM cfp.storage_history WHERE key = 'floor' AND collection_name = 'h' AND item_name = 'x';
DELETE FROM cfp.storage_latest WHERE key = 'floor' AND collection_name = 'h' AND item_name = 'x';
SELECT * FROM pg_temp.floors WHERE collection_name = 'h';
SELECT pg_temp.store('h', 'x'), pg_temp.store('h', 'other'), pg_temp.store('h', 'new');
-- the newest record only: its number is not given out again either
DELETE FROM cfp.storage_history WHERE key = 'floor' AND collection_name = 'h' AND item_name = 'x' AND version = 6;
SELECT pg_temp.store('h', 'x');

-- renamed; at a lower version; what stays the same item's, and a higher version, do not count
SELECT count(pg_temp.store('u', 'x')) FROM generate_series(1, 3);
UPDATE cfp.storage_history SET value_int = 1 WHERE key = 'floor' AND collection_name = 'u';
UPDATE cfp.storage_history SET version = version + 10 WHERE key = 'floor' AND collection_name = 'u' AND version = 3;
SELECT * FROM pg_temp.floors WHERE collection_name = 'u';
UPDATE cfp.storage_history SET version = 3 WHERE key = 'floor' AND collection_name = 'u' AND version = 13;
SELECT pg_temp.store('u', 'x');
UPDATE cfp.storage_history SET collection_name = 'u2' WHERE key = 'floor' AND collection_name = 'u';
SELECT pg_temp.store('u', 'x'), pg_temp.store('u2', 'x');
\set VERBOSITY terse
UPDATE cfp.storage_history SET item_name = NULL WHERE key = 'floor' AND collection_name = 'u2';
\set VERBOSITY default
MERGE INTO cfp.storage_history h USING (VALUES (1)) v ON h.key = 'floor' AND h.collection_name = 'u2' AND h.version > 13
	WHEN MATCHED THEN DELETE;
SELECT pg_temp.store('u2', 'x');
SELECT cfp.cfp_fold() > 0 AS folded;

-- of latest: what the history has not
INSERT INTO cfp.storage_latest (key, collection_name, item_name, data, updated_at, version)
	VALUES ('floor', 'l', 'x', '{}', now(), 7), ('floor', 'l', 'y', '{}', now(), 20), ('floor', 'l', 'z', '{}', now(), 9);
SELECT pg_temp.store('l', 'x');
DELETE FROM cfp.storage_latest WHERE key = 'floor' AND collection_name = 'l' AND item_name = 'x';
SELECT * FROM pg_temp.floors WHERE collection_name = 'l';
UPDATE cfp.storage_latest SET version = 8 WHERE key = 'floor' AND collection_name = 'l' AND item_name = 'z';
SELECT * FROM pg_temp.floors WHERE collection_name = 'l';
-- noted when the tables are compared, for who empties latest later
SELECT cfp.cfp_fold() >= 0 AS compared;
SELECT * FROM pg_temp.floors WHERE collection_name = 'l';
SELECT pg_temp.store('l', 'z');

-- a rolled back DELETE leaves nothing; what goes on in the same transaction counts
SELECT count(pg_temp.store('r', 'x')) FROM generate_series(1, 3);
BEGIN;
SAVEPOINT a;
DELETE FROM cfp.storage_history WHERE key = 'floor' AND collection_name = 'r';
SAVEPOINT b;
SELECT pg_temp.store('r', 'x');
RELEASE b;
ROLLBACK TO a;
COMMIT;
SELECT * FROM pg_temp.floors WHERE collection_name = 'r';
SELECT pg_temp.store('r', 'x');
BEGIN;
DELETE FROM cfp.storage_history WHERE key = 'floor' AND collection_name = 'r';
SELECT * FROM pg_temp.floors WHERE collection_name = 'r';
SAVEPOINT a;
SELECT pg_temp.store('r', 'x');
ROLLBACK TO a;
SELECT pg_temp.store('r', 'y');
COMMIT;
SELECT * FROM pg_temp.floors WHERE collection_name = 'r';
SELECT pg_temp.store('r', 'x');
DO $$
DECLARE
	c CURSOR FOR SELECT * FROM cfp.storage_history WHERE key = 'floor' AND collection_name = 'r' FOR UPDATE;
BEGIN
	FOR r IN c LOOP
		BEGIN
			DELETE FROM cfp.storage_history WHERE CURRENT OF c;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
END $$;
SELECT * FROM pg_temp.floors WHERE collection_name = 'r';
SELECT pg_temp.store('r', 'z');

-- many collections in one statement, in any order
SELECT count(pg_temp.store('m' || c, 'i' || i)) FROM generate_series(1, 1500) c, generate_series(1, 2) i;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM pg_temp.floors;
DELETE FROM cfp.storage_history WHERE key = 'floor' AND collection_name LIKE 'm%';
DELETE FROM cfp.storage_latest WHERE key = 'floor' AND collection_name LIKE 'm%';
COMMIT;
SELECT count(*), min(all_items), max(all_items) FROM pg_temp.floors WHERE collection_name LIKE 'm%';
SELECT pg_temp.store('m1500', 'i1'), pg_temp.store('m7', 'new');
BEGIN ISOLATION LEVEL SERIALIZABLE;
DELETE FROM cfp.storage_history WHERE key = 'floor' AND collection_name = 'm7';
COMMIT;
SELECT pg_temp.store('m7', 'new');

-- TRUNCATE: all items of all collections, by what has been flushed, and what has not
SELECT cfp.cfp_fold() >= 0 AS compared;
SELECT count(pg_temp.store('t', 'x')) FROM generate_series(1, 3);
SELECT cfp.cfp_fold() > 0 AS folded;
BEGIN;
TRUNCATE cfp.storage_latest;
SELECT count(*) FROM cfp.storage_floors WHERE key IS NULL;
SELECT pg_temp.store('t', 'x');
ROLLBACK;
INSERT INTO cfp.storage_history (key, collection_name, item_name, data, updated_at, version) VALUES ('floor', 't', 'x', '{}', now(), 1000);
SELECT cfp.cfp_fold() >= 0 AS compared;
BEGIN;
TRUNCATE cfp.storage_latest, cfp.storage_history;
SELECT pg_temp.store('t', 'x'), pg_temp.store('elsewhere', 'y');
ROLLBACK;
SELECT count(pg_temp.store('t', 'x')) FROM generate_series(1, 10);
BEGIN;
TRUNCATE cfp.storage_history, cfp.storage_latest;
SELECT pg_temp.store('elsewhere', 'y');
ROLLBACK;
-- what was written by hand before, and in the same transaction
BEGIN;
INSERT INTO cfp.storage_history (key, collection_name, item_name, data, updated_at, version) VALUES ('floor', 't', 'x', '{}', now(), 2000);
TRUNCATE cfp.storage_history;
TRUNCATE cfp.storage_latest;
SELECT pg_temp.store('elsewhere', 'y');
ROLLBACK;
SELECT cfp.cfp_fold() > 0 AS folded;
INSERT INTO cfp.storage_latest (key, collection_name, item_name, data, updated_at, version) VALUES ('floor', 't', 'y', '{}', now(), 3000);
BEGIN;
TRUNCATE cfp.storage_latest;
SELECT pg_temp.store('elsewhere', 'y');
ROLLBACK;
SELECT cfp.cfp_fold() >= 0 AS compared;
SELECT * FROM pg_temp.floors WHERE collection_name = 't';

-- the table itself
SELECT pg_temp.store('f', 'x');
INSERT INTO cfp.storage_floors VALUES ('floor', 'f', 100, 50), ('floor', 'f', 10, 60);
SELECT * FROM pg_temp.floors WHERE collection_name = 'f';
SELECT pg_temp.store('f', 'x'), pg_temp.store('f', 'y');
UPDATE cfp.storage_floors SET new_items = 5, all_items = 5 WHERE key = 'floor' AND collection_name = 'f';
SELECT pg_temp.store('f', 'x'), pg_temp.store('f', 'z');
COPY cfp.storage_floors FROM stdin;
floor	f	70	0
floor	g	2	0
\.
SELECT * FROM pg_temp.floors WHERE collection_name IN ('f', 'g') ORDER BY 1;
SELECT pg_temp.error($$INSERT INTO cfp.storage_floors VALUES ('floor', NULL, 1, 1)$$);
INSERT INTO cfp.storage_floors VALUES ('floor', 'full', 2147483647);
SELECT pg_temp.error($$SELECT pg_temp.store('full', 'x')$$);
DELETE FROM cfp.storage_floors WHERE key = 'floor' AND collection_name = 'full';
SELECT pg_temp.store('full', 'x');
CREATE ROLE cfp_floors_dba;
GRANT USAGE ON SCHEMA cfp TO cfp_floors_dba;
GRANT SELECT, DELETE ON cfp.storage_history TO cfp_floors_dba;
SET ROLE cfp_floors_dba;
SELECT pg_temp.error($$TABLE cfp.storage_floors$$);
DELETE FROM cfp.storage_history WHERE key = 'floor' AND collection_name = 'full';
RESET ROLE;
SELECT pg_temp.store('full', 'x');
DROP OWNED BY cfp_floors_dba;
DROP ROLE cfp_floors_dba;

-- a repair: without the primary key to look in, the version is noted
BEGIN;
ALTER TABLE cfp.storage_history DROP CONSTRAINT storage_history_pkey;
DELETE FROM cfp.storage_history WHERE key = 'floor' AND collection_name = 'f' AND version = 1;
ALTER TABLE cfp.storage_history ADD CONSTRAINT storage_history_pkey PRIMARY KEY (key, collection_name, item_name, version);
COMMIT;
SELECT pg_temp.store('f', 'x');

-- the trigger functions are for triggers
CREATE TABLE elsewhere (txid xid8);
CREATE TRIGGER wrong BEFORE INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION cfp.cfp_floor_trigger();
SELECT pg_temp.error($$INSERT INTO elsewhere VALUES ('5')$$);
DROP TRIGGER wrong ON elsewhere;
CREATE TRIGGER wrong BEFORE INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION cfp.cfp_local_trigger();
SELECT pg_temp.error($$INSERT INTO elsewhere VALUES ('5')$$);
DROP TRIGGER wrong ON elsewhere;
CREATE TRIGGER wrong BEFORE INSERT ON elsewhere EXECUTE FUNCTION cfp.cfp_local_trigger();
SELECT pg_temp.error($$INSERT INTO elsewhere VALUES ('5')$$);
DROP TABLE elsewhere;
