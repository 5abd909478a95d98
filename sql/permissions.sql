-- The privilege on storage_current is the privilege to use cfp.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all

CREATE ROLE cfp_nobody;
CREATE ROLE cfp_reader;
CREATE ROLE cfp_writer;
CREATE ROLE "cfp ""odd"" role";
GRANT USAGE ON SCHEMA cfp TO PUBLIC;
GRANT SELECT ON cfp.storage_current TO cfp_reader;
GRANT INSERT ON cfp.storage_current TO cfp_writer;

SELECT cfp.cfp_store('perm', '{"a": 1}', 'i', 'c', 42);
SELECT cfp.cfp_get_value('perm', 'i', 'c');

-- nobody, on an item that is in the cache
SET ROLE cfp_nobody;
SELECT pg_temp.error($$SELECT cfp.cfp_get('perm', 'i', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_get_value('perm', 'i', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_get_text('perm', 'i', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_get_data('perm', 'i', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_item('perm', 'i', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_get_collection('perm', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_get_values('perm', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_get_key('perm')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_get_collection_json('perm', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_items('perm', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_history('perm', 'i', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('perm', '{}', 'i', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('perm', '{}', 'i', 'c', 'text')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_delete('perm', 'i', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_delete_collection('perm', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_lock('perm', 'i', 'c')$$);
SELECT pg_temp.error($$SELECT * FROM cfp.storage_current$$);
SELECT pg_temp.error($$SELECT * FROM cfp.storage_history$$);
SELECT pg_temp.error($$SELECT cfp.cfp_flush()$$);
SELECT pg_temp.error($$SELECT cfp.cfp_fold()$$);
SELECT pg_temp.error($$SELECT cfp.cfp_warm('perm')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_evict('perm')$$);
SELECT pg_temp.error($$SELECT * FROM cfp.cfp_stat$$);
SELECT pg_temp.error($$SELECT * FROM cfp.cfp_stat_collections$$);
SELECT pg_temp.error($$SELECT cfp.cfp_stat_row()$$);
SELECT cfp.cfp_next_end_of_day('2026-01-01 12:00:00+00') > '2026-01-01 12:00:00+00' AS for_everybody;
-- the item is absent: the same answer
SELECT pg_temp.error($$SELECT cfp.cfp_get('perm', 'none', 'none')$$);
RESET ROLE;
SET ROLE "cfp ""odd"" role";
SELECT pg_temp.error($$SELECT cfp.cfp_get('perm', 'i', 'c')$$);
RESET ROLE;

-- a reader
SET ROLE cfp_reader;
SELECT cfp.cfp_get_value('perm', 'i', 'c'), cfp.cfp_get_values('perm', 'c');
SELECT item_name, value FROM cfp.storage_current WHERE key = 'perm';
SELECT pg_temp.error($$SELECT cfp.cfp_store('perm', '{}', 'i', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_delete('perm', 'i', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_lock('perm', 'i', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_history('perm', 'i', 'c')$$);
SELECT pg_temp.error($$INSERT INTO cfp.storage_current (key) VALUES ('perm')$$);
SELECT pg_temp.error($$UPDATE cfp.storage_current SET value = '1' WHERE key = 'perm'$$);
SELECT pg_temp.error($$DELETE FROM cfp.storage_current WHERE key = 'perm'$$);
SELECT pg_temp.error($$SELECT * FROM cfp.storage_latest$$);
RESET ROLE;

-- a writer that may not read
SET ROLE cfp_writer;
SELECT cfp.cfp_store('perm', '{}', 'w', 'c', 1);
INSERT INTO cfp.storage_current (key, item_name) VALUES ('perm', 'w');
SELECT pg_temp.error($$SELECT cfp.cfp_get('perm', 'w', 'c')$$);
SELECT pg_temp.error($$SELECT cfp.cfp_delete('perm', 'w', 'c')$$);
RESET ROLE;

-- UPDATE alone also stores; DELETE alone deletes; SELECT on the history
REVOKE INSERT ON cfp.storage_current FROM cfp_writer;
SET ROLE cfp_writer;
SELECT pg_temp.error($$SELECT cfp.cfp_store('perm', '{}', 'w', 'c', 2)$$);
RESET ROLE;
GRANT UPDATE, DELETE ON cfp.storage_current TO cfp_writer;
GRANT SELECT ON cfp.storage_history TO cfp_writer;
SET ROLE cfp_writer;
SELECT cfp.cfp_store('perm', '{}', 'w', 'c', 2);
SELECT cfp.cfp_delete('perm', 'w', 'c');
SELECT cfp.cfp_delete_collection('perm');
SELECT version, value_int FROM cfp.cfp_history('perm', 'w', 'c');
RESET ROLE;

-- taken back: noticed at once
REVOKE SELECT ON cfp.storage_current FROM cfp_reader;
SET ROLE cfp_reader;
SELECT pg_temp.error($$SELECT cfp.cfp_get('perm', 'i', 'c')$$);
RESET ROLE;
-- through membership, and its end
CREATE ROLE cfp_readers;
GRANT SELECT ON cfp.storage_current TO cfp_readers;
GRANT cfp_readers TO cfp_reader;
SET ROLE cfp_reader;
SELECT cfp.cfp_get_value('perm', 'i', 'c');
RESET ROLE;
REVOKE cfp_readers FROM cfp_reader;
SET ROLE cfp_reader;
SELECT pg_temp.error($$SELECT cfp.cfp_get_value('perm', 'i', 'c')$$);
RESET ROLE;
-- pg_read_all_data and pg_write_all_data
GRANT pg_read_all_data, pg_write_all_data TO cfp_reader;
SET ROLE cfp_reader;
SELECT cfp.cfp_get_value('perm', 'i', 'c'), cfp.cfp_store('perm', '{}', 'all', 'c');
RESET ROLE;
REVOKE pg_read_all_data, pg_write_all_data FROM cfp_reader;
-- who may store and not read learns nothing from a conflict
SELECT cfp.cfp_store('perm', '{}', 'conflict', 'c', username => 'ann');
SELECT pg_temp.error($$SELECT cfp.cfp_store('perm', '{}', 'conflict', 'c', expected_version => 0)$$);
SET ROLE cfp_writer;
SELECT pg_temp.error($$SELECT cfp.cfp_store('perm', '{}', 'conflict', 'c', expected_version => 0)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store('perm', '{}', 'never', 'c', expected_version => 5)$$);
SELECT pg_temp.error($$SELECT cfp.cfp_store_many('perm', '{"conflict": {"expected_version": 0}, "never": {"expected_version": 5}}', 'c')$$);
RESET ROLE;
SELECT cfp.cfp_delete('perm', 'conflict', 'c');
-- to PUBLIC
GRANT SELECT ON cfp.storage_current TO PUBLIC;
SET ROLE cfp_nobody;
SELECT cfp.cfp_get_value('perm', 'i', 'c');
RESET ROLE;
REVOKE SELECT ON cfp.storage_current FROM PUBLIC;

-- functions of somebody else's, and views of theirs
GRANT SELECT ON cfp.storage_current TO cfp_reader;
CREATE SCHEMA cfp_app;
GRANT CREATE, USAGE ON SCHEMA cfp_app TO cfp_reader, cfp_nobody;
-- own records of a transaction, stored by a function that may: only where a
-- view over storage_current shows them
CREATE FUNCTION cfp_app.keep_secret() RETURNS integer LANGUAGE sql SECURITY DEFINER AS $$ SELECT cfp.cfp_store('perm', '{"secret": 1}', 'kept', 'c', 7) $$;
CREATE VIEW cfp_app.kept AS SELECT value_int FROM cfp.storage_current WHERE key = 'perm' AND item_name = 'kept';
GRANT SELECT ON cfp_app.kept TO cfp_nobody;
SET ROLE cfp_nobody;
BEGIN;
SELECT cfp_app.keep_secret();
SELECT pg_temp.error($$SELECT * FROM cfp.storage_current$$);
SELECT * FROM cfp_app.kept;
ROLLBACK;
RESET ROLE;
DROP VIEW cfp_app.kept;
DROP FUNCTION cfp_app.keep_secret();

SET ROLE cfp_reader;
CREATE FUNCTION cfp_app.answer() RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS $$ SELECT cfp.cfp_get_value('perm', 'i', 'c') $$;
CREATE VIEW cfp_app.answers AS SELECT item_name, value FROM cfp.storage_current WHERE key = 'perm' AND collection_name = 'c';
GRANT SELECT ON cfp_app.answers TO cfp_nobody;
SET ROLE cfp_nobody;
SELECT cfp_app.answer();
SELECT * FROM cfp_app.answers ORDER BY 1;
RESET ROLE;
DROP SCHEMA cfp_app CASCADE;

-- maintenance and statistics are granted
GRANT EXECUTE ON FUNCTION cfp.cfp_flush(), cfp.cfp_warm(text, text), cfp.cfp_evict(text, text) TO cfp_nobody;
GRANT pg_monitor TO cfp_nobody;
SET ROLE cfp_nobody;
SELECT cfp.cfp_flush() >= 0 AS flushed, cfp.cfp_warm('perm', 'c') > 0 AS warmed, cfp.cfp_evict('perm', 'c') AS evicted;
SELECT count(*) FROM cfp.cfp_stat;
SELECT count(*) FROM cfp.cfp_stat_collections WHERE key = 'none';
SELECT count(*) FROM cfp.cfp_stat_progress WHERE total < 0;
RESET ROLE;

-- row security: refused, not let past
ALTER TABLE cfp.storage_latest ENABLE ROW LEVEL SECURITY;
SET ROLE cfp_reader;
SELECT pg_temp.error($$SELECT cfp.cfp_get('perm', 'i', 'c')$$);
SELECT pg_temp.error($$SELECT * FROM cfp.storage_current$$);
RESET ROLE;
SELECT cfp.cfp_get_value('perm', 'i', 'c') AS owner_is_exempt;
ALTER TABLE cfp.storage_latest DISABLE ROW LEVEL SECURITY;
ALTER TABLE cfp.storage_history ENABLE ROW LEVEL SECURITY;
SET ROLE cfp_reader;
SELECT pg_temp.error($$SELECT cfp.cfp_items('perm', 'c')$$);
SELECT pg_temp.error($$SELECT * FROM cfp.storage_current$$);
RESET ROLE;
ALTER TABLE cfp.storage_history DISABLE ROW LEVEL SECURITY;
SET ROLE cfp_reader;
SELECT cfp.cfp_get_value('perm', 'i', 'c');
RESET ROLE;

DROP OWNED BY cfp_nobody, cfp_reader, cfp_readers, cfp_writer, "cfp ""odd"" role";
DROP ROLE cfp_nobody, cfp_reader, cfp_readers, cfp_writer, "cfp ""odd"" role";
