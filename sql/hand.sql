-- Changes of the storage tables by hand, as a DBA or a restore makes them.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all

CREATE FUNCTION pg_temp.seen(item text) RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT format('get %s, items %s, view %s', cfp.cfp_get_value('hand', item, 'c'),
		(SELECT value_int FROM cfp.cfp_items('hand', 'c') WHERE item_name = item),
		(SELECT value_int FROM cfp.storage_current WHERE key = 'hand' AND collection_name = 'c' AND item_name = item))
$$;

SELECT count(cfp.cfp_store('hand', '{}', 'i' || n, 'c', n)) FROM generate_series(1, 5) n;
SELECT cfp.cfp_fold() > 0 AS folded;
SELECT pg_temp.seen('i1');

-- seen by the transaction at once, and not after a rollback
BEGIN;
UPDATE cfp.storage_history SET value_int = 11 WHERE key = 'hand' AND item_name = 'i1';
SELECT cfp.cfp_get_value('hand', 'i1', 'c');
ROLLBACK;
SELECT pg_temp.seen('i1');
BEGIN;
SAVEPOINT a;
UPDATE cfp.storage_history SET value_int = 11 WHERE key = 'hand' AND item_name = 'i1';
ROLLBACK TO a;
SELECT cfp.cfp_get_value('hand', 'i1', 'c');
COMMIT;
SELECT pg_temp.seen('i1');

-- a newer record, an item of its own, a record removed
INSERT INTO cfp.storage_history (key, collection_name, item_name, data, value_int, updated_at, version, txid)
	VALUES ('hand', 'c', 'i2', '{}', 22, now(), 2, '99999999999'), ('hand', 'c', 'i6', '{}', 66, now(), 1, '99999999999');
SELECT pg_temp.seen('i2'), pg_temp.seen('i6');
SELECT txid FROM cfp.storage_history WHERE key = 'hand' AND item_name = 'i6';
DELETE FROM cfp.storage_history WHERE key = 'hand' AND item_name = 'i2' AND version = 2;
SELECT pg_temp.seen('i2');
UPDATE cfp.storage_latest SET value_int = 33, version = 2 WHERE key = 'hand' AND item_name = 'i3';
SELECT pg_temp.seen('i3');
-- stores go on from there
SELECT cfp.cfp_store('hand', '{}', 'i6', 'c', 67), cfp.cfp_store('hand', '{}', 'i3', 'c', 34);
SELECT pg_temp.seen('i6'), pg_temp.seen('i3');

-- the database is reconciled, then folded
ALTER DATABASE regression SET cfp.flush_interval = '100ms';
SELECT pg_reload_conf();
CREATE PROCEDURE pg_temp.wait_for_worker() LANGUAGE plpgsql AS $$
BEGIN
	FOR n IN 1..3000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM cfp.cfp_state WHERE name = 'reconcile');
		COMMIT;
		PERFORM cfp.cfp_flush(), pg_sleep(0.02);
	END LOOP;
END $$;
CALL pg_temp.wait_for_worker();
SELECT count(*) AS mark FROM cfp.cfp_state WHERE name = 'reconcile';
SELECT pg_temp.seen('i1'), pg_temp.seen('i2'), pg_temp.seen('i3'), pg_temp.seen('i6');
SELECT cfp.cfp_fold() > 0 AS folded;
SELECT item_name, value_int, version FROM cfp.storage_latest WHERE key = 'hand' ORDER BY 1;
SELECT pg_temp.seen('i1'), pg_temp.seen('i2'), pg_temp.seen('i3'), pg_temp.seen('i6');

-- latest lost: it comes back from the history
TRUNCATE cfp.storage_latest;
SELECT pg_temp.seen('i1'), pg_temp.seen('i6');
CALL pg_temp.wait_for_worker();
SELECT cfp.cfp_fold() > 0 AS folded;
SELECT item_name, value_int, version FROM cfp.storage_latest WHERE key = 'hand' ORDER BY 1;
SELECT pg_temp.seen('i1'), pg_temp.seen('i6');

-- triggers switched off: read from the tables
ALTER TABLE cfp.storage_history DISABLE TRIGGER ALL;
UPDATE cfp.storage_history SET value_int = 12 WHERE key = 'hand' AND item_name = 'i1';
SELECT cfp.cfp_get_value('hand', 'i1', 'c');
UPDATE cfp.storage_latest SET value_int = 12 WHERE key = 'hand' AND item_name = 'i1';
SELECT pg_temp.seen('i1');
SELECT cfp.cfp_warm('hand', 'c');
SELECT cfp.cfp_store('hand', '{}', 'i7', 'c', 7);
SELECT pg_temp.seen('i7');
ALTER TABLE cfp.storage_history ENABLE ALWAYS TRIGGER cfp_gate, ENABLE ALWAYS TRIGGER cfp_gate_truncate, ENABLE ALWAYS TRIGGER cfp_stamp;
SELECT cfp.cfp_warm('hand', 'c');
SELECT pg_temp.seen('i1'), pg_temp.seen('i7');
CALL pg_temp.wait_for_worker();

-- COPY, and session_replication_role
COPY cfp.storage_history (key, collection_name, item_name, data, value_int, updated_at, version) FROM stdin;
hand	c	i8	{}	8	2026-01-01	1
\.
SELECT pg_temp.seen('i8');
SET session_replication_role = replica;
UPDATE cfp.storage_history SET value_int = 88 WHERE key = 'hand' AND item_name = 'i8';
RESET session_replication_role;
SELECT pg_temp.seen('i8');

-- a role without privileges on cfp_state
CREATE ROLE cfp_dba;
GRANT USAGE ON SCHEMA cfp TO cfp_dba;
GRANT ALL ON cfp.storage_history TO cfp_dba;
SET ROLE cfp_dba;
UPDATE cfp.storage_history SET value_int = 89 WHERE key = 'hand' AND item_name = 'i8';
RESET ROLE;
SELECT pg_temp.seen('i8');
DROP OWNED BY cfp_dba;
DROP ROLE cfp_dba;

-- at REPEATABLE READ and SERIALIZABLE, beside stores in the same transaction
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cfp.cfp_store('hand', '{}', 'i9', 'c', 9);
UPDATE cfp.storage_history SET value_int = 90 WHERE key = 'hand' AND item_name = 'i8';
SELECT cfp.cfp_get_value('hand', 'i9', 'c'), cfp.cfp_get_value('hand', 'i8', 'c');
COMMIT;
SELECT pg_temp.seen('i8'), pg_temp.seen('i9');
BEGIN ISOLATION LEVEL SERIALIZABLE;
DELETE FROM cfp.storage_history WHERE key = 'hand' AND item_name = 'i8';
SELECT cfp.cfp_get_value('hand', 'i8', 'c');
COMMIT;
SELECT pg_temp.seen('i8');

-- the trigger functions are for triggers
SELECT pg_temp.error($$SELECT cfp.cfp_gate_trigger()$$);
CREATE TABLE elsewhere (txid xid8);
CREATE TRIGGER wrong BEFORE INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION cfp.cfp_gate_trigger();
SELECT pg_temp.error($$INSERT INTO elsewhere VALUES ('5')$$);
DROP TRIGGER wrong ON elsewhere;

-- and for those of the extension: on others they would block stores, or read rows of another shape
CREATE TRIGGER wrong BEFORE INSERT ON elsewhere EXECUTE FUNCTION cfp.cfp_gate_trigger();
SELECT pg_temp.error($$INSERT INTO elsewhere VALUES ('5')$$);
DROP TRIGGER wrong ON elsewhere;
CREATE TRIGGER wrong BEFORE INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION cfp.cfp_stamp_trigger();
SELECT pg_temp.error($$INSERT INTO elsewhere VALUES ('5')$$);
DROP TABLE elsewhere;
SELECT p.proname FROM pg_proc p WHERE p.prorettype = 'trigger'::regtype AND p.pronamespace = 'cfp'::regnamespace AND has_function_privilege('public', p.oid, 'EXECUTE');

-- what has been changed is folded when that has ended
SELECT pg_temp.error($$DELETE FROM cfp.storage_history WHERE key = 'hand' AND item_name = 'i1'; SELECT cfp.cfp_fold()$$);

CALL pg_temp.wait_for_worker();
ALTER DATABASE regression RESET cfp.flush_interval;
SELECT pg_reload_conf();
