-- Own stores in transactions, savepoints, exception blocks, cursors.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all

-- what every way of reading shows of one item
CREATE FUNCTION pg_temp.seen(OUT get jsonb, OUT collection jsonb, OUT items bigint, OUT of_key jsonb, OUT of_view bigint, OUT history text)
LANGUAGE sql VOLATILE AS $$
	SELECT cfp.cfp_get_value('tx', 'i', 'c'), cfp.cfp_get_values('tx', 'c')->'i',
		(SELECT value_int FROM cfp.cfp_items('tx', 'c') WHERE item_name = 'i'),
		cfp.cfp_get_key('tx')->'c'->'i'->'value',
		(SELECT value_int FROM cfp.storage_current WHERE key = 'tx' AND collection_name = 'c' AND item_name = 'i'),
		(SELECT string_agg(version || ':' || coalesce(value_int::text, 'deleted'), ' ' ORDER BY version DESC) FROM cfp.cfp_history('tx', 'i', 'c'))
$$;

-- seen at once by the transaction, by nobody after the rollback
BEGIN;
SELECT cfp.cfp_store('tx', '{}', 'i', 'c', 1);
SELECT * FROM pg_temp.seen();
SELECT count(*) AS in_table FROM cfp.storage_history WHERE key = 'tx';
ROLLBACK;
SELECT * FROM pg_temp.seen();

-- stored again, and deleted
SELECT cfp.cfp_store('tx', '{}', 'i', 'c', 2) > 0 AS stored;
SELECT count(*) AS in_table FROM cfp.storage_history WHERE key = 'tx';
SELECT cfp.cfp_delete_collection('tx', 'c');

-- savepoints
SELECT cfp.cfp_store('tx', '{}', 'j', 'c', 0);
BEGIN;
SELECT cfp.cfp_store('tx', '{}', 'j', 'c', 1) - 1 AS first_more;
SAVEPOINT a;
SELECT cfp.cfp_store('tx', '{}', 'j', 'c', 2) - 1 AS second_more;
SAVEPOINT b;
SELECT cfp.cfp_delete('tx', 'j', 'c') - 1 AS third_more;
SELECT cfp.cfp_get_value('tx', 'j', 'c');
ROLLBACK TO b;
SELECT cfp.cfp_get_value('tx', 'j', 'c');
RELEASE a;
SELECT cfp.cfp_get_value('tx', 'j', 'c');
SAVEPOINT c;
SELECT cfp.cfp_store('tx', '{}', 'j', 'c', 3) > 0 AS stored;
SELECT cfp.cfp_get_value('tx', 'j', 'c');
ROLLBACK TO c;
SELECT cfp.cfp_get_value('tx', 'j', 'c');
COMMIT;
SELECT cfp.cfp_get_value('tx', 'j', 'c');
SELECT value_int FROM cfp.cfp_history('tx', 'j', 'c');

-- exception blocks
DO $$
BEGIN
	PERFORM cfp.cfp_store('tx', '{}', 'k', 'c', 1);
	BEGIN
		PERFORM cfp.cfp_store('tx', '{}', 'k', 'c', 2);
		PERFORM cfp.cfp_store('tx', '{}', 'l', 'c', 2);
		RAISE 'away with it';
	EXCEPTION WHEN raise_exception THEN
		RAISE NOTICE 'k %, l %', cfp.cfp_get_value('tx', 'k', 'c'), cfp.cfp_get_value('tx', 'l', 'c');
	END;
	BEGIN
		PERFORM cfp.cfp_store('tx', '{}', 'm', 'c', 3);
	END;
END $$;
SELECT cfp.cfp_get_values('tx', 'c');

-- deep nesting
DO $$
BEGIN
	FOR n IN 1..300 LOOP
		BEGIN
			PERFORM cfp.cfp_store('tx', '{}', 'n', 'c', n);
			IF n % 3 = 0 THEN RAISE 'away with it'; END IF;
		EXCEPTION WHEN raise_exception THEN
		END;
	END LOOP;
END $$;
SELECT cfp.cfp_get_value('tx', 'n', 'c'), (SELECT count(*) FROM cfp.cfp_history('tx', 'n', 'c'));

-- a failed statement
BEGIN;
SELECT cfp.cfp_store('tx', '{}', 'o', 'c', 1);
SELECT 1 / 0;
COMMIT;
SELECT cfp.cfp_get('tx', 'o', 'c');

-- a cursor keeps its snapshot, also of own stores
BEGIN;
SELECT cfp.cfp_store('tx', '{}', 'p', 'c', 1) > 0 AS stored;
DECLARE cur CURSOR FOR SELECT value_int FROM cfp.cfp_items('tx', 'c', 'p', 'p');
FETCH cur;
SELECT cfp.cfp_store('tx', '{}', 'p', 'c', 2) > 0 AS stored;
FETCH cur;
CLOSE cur;
COMMIT;

-- many records in one transaction, some of them taken back
BEGIN;
SELECT count(cfp.cfp_store('tx', '{}', 'i' || n, 'many', n)) FROM generate_series(1, 20000) n;
SAVEPOINT a;
SELECT count(cfp.cfp_store('tx', '{}', 'i' || n, 'many', -n)) FROM generate_series(1, 20000) n;
SELECT count(*), sum(value_int) FROM cfp.cfp_items('tx', 'many');
ROLLBACK TO a;
SELECT count(*), sum(value_int) FROM cfp.cfp_items('tx', 'many');
SELECT count(*), sum(value_int) FROM cfp.storage_current WHERE key = 'tx' AND collection_name = 'many';
COMMIT;
SELECT count(*), sum(value_int) FROM cfp.cfp_items('tx', 'many');
SELECT count(*), sum(value_int) FROM cfp.storage_history WHERE key = 'tx' AND collection_name = 'many';

-- two-phase commit
BEGIN;
SELECT cfp.cfp_store('tx', '{}', 'q', 'c', 1);
PREPARE TRANSACTION 'tx';
SELECT cfp.cfp_get('tx', 'q', 'c');
BEGIN;
UPDATE cfp.storage_history SET status = 'x' WHERE key = 'tx' AND item_name = 'k';
PREPARE TRANSACTION 'tx';

-- a store in a deferred trigger is part of the transaction
CREATE TABLE orders (n int);
CREATE FUNCTION note_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM cfp.cfp_store('tx', '{}', 'order', 'c', new.n);
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER note_order AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION note_order();
INSERT INTO orders VALUES (7);
SELECT cfp.cfp_get_value('tx', 'order', 'c');
DROP TABLE orders;
DROP FUNCTION note_order;

-- parallel query: functions run in the leader
BEGIN;
SELECT cfp.cfp_store('tx', '{}', 'parallel', 'c', 1);
-- its name depends on the server's version
SELECT set_config(name, 'on', true) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SET LOCAL parallel_setup_cost = 0;
SELECT cfp.cfp_get_value('tx', 'parallel', 'c');
SELECT count(*) FROM cfp.storage_current WHERE key = 'tx' AND collection_name = 'many';
COMMIT;

-- what was stored goes with the extension it was stored with
BEGIN;
SELECT cfp.cfp_store('dropped', '{}', 'i', 'c', 4);
DROP EXTENSION cfp;
CREATE EXTENSION cfp SCHEMA cfp;
SELECT cfp.cfp_get_value('dropped', 'i', 'c'), cfp.cfp_get_values('dropped', 'c'), cfp.cfp_get_key('dropped');
SELECT count(*) FROM cfp.storage_current;
SELECT count(*) FROM cfp.cfp_history('dropped', 'i', 'c');
ROLLBACK;
