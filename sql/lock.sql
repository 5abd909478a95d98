-- cfp_lock(): what it returns, and what it refuses.  Who waits for whom is in specs/locks.spec.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all

-- the item's version, 0 when there is none
SELECT cfp.cfp_store('lock', '{}', 'a', 'c', n) FROM generate_series(1, 3) n;
SELECT cfp.cfp_lock('lock', 'a', 'c');
SELECT cfp.cfp_lock('lock', 'a', 'c', shared => true);
SELECT cfp.cfp_lock('lock', 'none', 'c'), cfp.cfp_lock('lock', 'a'), cfp.cfp_lock('lock');
SELECT cfp.cfp_store('lock', '{}', 'gone', 'c'), cfp.cfp_delete('lock', 'gone', 'c');
SELECT cfp.cfp_lock('lock', 'gone', 'c');
SELECT cfp.cfp_lock('lock', 'a', 'c', NULL, NULL, NULL);
SELECT cfp.cfp_lock('lock', 'a', 'c', nowait => true), cfp.cfp_lock('lock', 'a', 'c', skip_locked => true);
-- which can be expected
BEGIN;
SELECT cfp.cfp_store('lock', '{}', 'a', 'c', 4, expected_version => cfp.cfp_lock('lock', 'a', 'c'));
SELECT cfp.cfp_store('lock', '{}', 'new', 'c', 4, expected_version => cfp.cfp_lock('lock', 'new', 'c'));
-- own stores count
SELECT cfp.cfp_lock('lock', 'a', 'c'), cfp.cfp_lock('lock', 'new', 'c');
SELECT cfp.cfp_delete('lock', 'a', 'c');
SELECT cfp.cfp_lock('lock', 'a', 'c');
ROLLBACK;
SELECT cfp.cfp_lock('lock', 'a', 'c'), cfp.cfp_lock('lock', 'new', 'c');

-- it makes nothing of itself
BEGIN;
SELECT count(cfp.cfp_lock('lock', 'item ' || n, 'c')) FROM generate_series(1, 1000) n;
SELECT cfp.cfp_get_values('lock', 'c');
SELECT items FROM cfp.cfp_stat_collections WHERE key = 'lock' AND collection_name = 'c';
COMMIT;
SELECT count(*) FROM cfp.storage_history WHERE key = 'lock' AND item_name LIKE 'item %';
SELECT cfp.cfp_store('lock', '{}', 'item 1', 'c'), cfp.cfp_store('lock', '{}', 'a', 'c', 4);

-- at every isolation level
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cfp.cfp_lock('lock', 'a', 'c'), cfp.cfp_lock('lock', 'none', 'c'), cfp.cfp_lock('lock', 'gone', 'c');
SELECT cfp.cfp_store('lock', '{}', 'a', 'c', 5), cfp.cfp_lock('lock', 'a', 'c');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cfp.cfp_lock('lock', 'a', 'c'), cfp.cfp_lock('lock', 'none', 'c'), cfp.cfp_lock('lock', 'gone', 'c');
SELECT cfp.cfp_store('lock', '{}', 'a', 'c', 6), cfp.cfp_lock('lock', 'a', 'c', shared => true);
COMMIT;

-- levels: each goes, or comes to the one above it
BEGIN;
SELECT cfp.cfp_lock('lock', 'a', 'c', shared => true);
SAVEPOINT a;
SELECT cfp.cfp_lock('lock', 'a', 'c');
SAVEPOINT b;
SELECT cfp.cfp_lock('lock', 'b', 'c');
SAVEPOINT c;
SELECT cfp.cfp_lock('lock', 'c', 'c'), cfp.cfp_lock('lock', 'd', 'd');
RELEASE c;
ROLLBACK TO b;
SELECT cfp.cfp_lock('lock', 'c', 'c'), cfp.cfp_lock('lock', 'd', 'd');
SAVEPOINT d;
SELECT 1 / 0;
ROLLBACK TO a;
SELECT cfp.cfp_lock('lock', 'a', 'c'), cfp.cfp_lock('lock', 'd', 'd', shared => true);
COMMIT;
DO $$
BEGIN
	FOR n IN 1 .. 300 LOOP
		BEGIN
			PERFORM cfp.cfp_lock('lock', 'i' || n, 'c', shared => n % 2 = 0);
			PERFORM cfp.cfp_lock('lock', 'i' || n % 7, 'c');
			IF n % 3 = 0 THEN
				RAISE division_by_zero;
			END IF;
		EXCEPTION WHEN division_by_zero THEN
			PERFORM cfp.cfp_lock('lock', 'j' || n, 'c' || n % 5);
		END;
	END LOOP;
END $$;
SELECT cfp.cfp_lock('lock', 'a', 'c');

-- and with changes by hand, which everybody waits for
BEGIN;
SELECT cfp.cfp_lock('lock', 'a', 'c');
UPDATE cfp.storage_history SET username = 'by hand' WHERE key = 'lock' AND item_name = 'a';
SELECT cfp.cfp_lock('lock', 'a', 'c'), cfp.cfp_lock('lock', 'none', 'c', skip_locked => true);
SAVEPOINT a;
SELECT cfp.cfp_lock('lock', 'a', 'd', nowait => true);
ROLLBACK TO a;
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
DELETE FROM cfp.storage_floors WHERE key = 'lock';
SELECT cfp.cfp_lock('lock', 'a', 'c'), cfp.cfp_lock('lock', 'none', 'c'), cfp.cfp_store('lock', '{}', 'a', 'c', 7);
SELECT cfp.cfp_lock('lock', 'a', 'c');
COMMIT;

-- what is refused
SELECT pg_temp.error($$SELECT cfp.cfp_lock(NULL)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_lock(repeat('x', 2001))$$);
SELECT pg_temp.error($$SELECT cfp.cfp_lock('lock', nowait => true, skip_locked => true)$$);
BEGIN READ ONLY;
SELECT pg_temp.error($$SELECT cfp.cfp_lock('lock')$$);
COMMIT;
CREATE FUNCTION lock_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM cfp.cfp_lock('lock', 'a', 'c');
	RETURN NULL;
END $$;
CREATE TRIGGER lock AFTER INSERT ON cfp.storage_history FOR EACH ROW EXECUTE FUNCTION lock_at_commit();
SELECT cfp.cfp_store('lock', '{}', 'b', 'c');
DROP TRIGGER lock ON cfp.storage_history;
CREATE CONSTRAINT TRIGGER lock AFTER INSERT ON cfp.storage_history DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION lock_at_commit();
SELECT cfp.cfp_store('lock', '{}', 'b', 'c');
DROP TRIGGER lock ON cfp.storage_history;
DROP FUNCTION lock_at_commit();
BEGIN;
SELECT cfp.cfp_lock('lock', 'a', 'c');
PREPARE TRANSACTION 'lock';
BEGIN;
SAVEPOINT a;
SELECT cfp.cfp_lock('lock', 'a', 'c');
UPDATE cfp.storage_history SET username = 'by hand' WHERE key = 'lock' AND item_name = 'a';
SELECT cfp.cfp_lock('lock', 'a', 'd');
PREPARE TRANSACTION 'lock';

-- an extension dropped and made anew with locks held
BEGIN;
SELECT cfp.cfp_lock('lock', 'a', 'c');
DROP EXTENSION cfp;
CREATE EXTENSION cfp SCHEMA cfp;
SELECT cfp.cfp_lock('lock', 'a', 'c');
SELECT cfp.cfp_store('lock', '{}', 'a', 'c', 1);
SELECT cfp.cfp_lock('lock', 'a', 'c');
ROLLBACK;
SELECT cfp.cfp_lock('lock', 'a', 'c');
