-- cfp 1.0: tables, functions, views and triggers.

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION cfp" to load this file. \quit

----------------------------------------------------------------------------
-- Tables
----------------------------------------------------------------------------

CREATE TYPE @extschema@.cfp_operation AS ENUM ('create', 'update', 'delete');
COMMENT ON TYPE @extschema@.cfp_operation IS 'what a record did to its item: create (there was none, or a deleted one), update, delete (a tombstone)';

CREATE TABLE @extschema@.storage_history (
	key text COLLATE "C" NOT NULL,
	collection_name text COLLATE "C" NOT NULL,
	item_name text COLLATE "C" NOT NULL,
	data jsonb,
	value_int bigint,
	value_float double precision,
	value_string text,
	timestamp timestamptz,
	status text,
	status_int integer,
	username text,
	updated_at timestamptz NOT NULL,
	version integer NOT NULL,
	operation @extschema@.cfp_operation NOT NULL,
	txid xid8 NOT NULL DEFAULT '2',
	CONSTRAINT storage_history_pkey PRIMARY KEY (key, collection_name, item_name, version),
	CONSTRAINT storage_history_one_value CHECK (num_nonnulls(value_int, value_float, value_string) <= 1)
);
CREATE INDEX storage_history_txid ON @extschema@.storage_history (txid);

COMMENT ON TABLE @extschema@.storage_history IS 'every record ever stored: one row for each version of each item';
COMMENT ON COLUMN @extschema@.storage_history.key IS 'first part of the name of the item';
COMMENT ON COLUMN @extschema@.storage_history.collection_name IS 'collection of the item; empty: the key''s unnamed collection';
COMMENT ON COLUMN @extschema@.storage_history.item_name IS 'name of the item in its collection; empty: the unnamed item';
COMMENT ON COLUMN @extschema@.storage_history.data IS 'a JSON object, as given; NULL in a tombstone';
COMMENT ON COLUMN @extschema@.storage_history.value_int IS 'the value, when it is an integer';
COMMENT ON COLUMN @extschema@.storage_history.value_float IS 'the value, when it is a floating-point number';
COMMENT ON COLUMN @extschema@.storage_history.value_string IS 'the value, when it is a string';
COMMENT ON COLUMN @extschema@.storage_history.timestamp IS 'time the record is about: given, or in data, or the time of the transaction';
COMMENT ON COLUMN @extschema@.storage_history.status IS 'data.status';
COMMENT ON COLUMN @extschema@.storage_history.status_int IS 'data.status_int';
COMMENT ON COLUMN @extschema@.storage_history.username IS 'who stored: given, or in data, or the setting cfp.username';
COMMENT ON COLUMN @extschema@.storage_history.updated_at IS 'when cfp_store was called';
COMMENT ON COLUMN @extschema@.storage_history.version IS 'number of the record among those of its item, from 1; a rollback may leave a gap';
COMMENT ON COLUMN @extschema@.storage_history.operation IS 'what the record did to its item; in a row written by hand without it, or with one that it cannot be, what it must have been';
COMMENT ON COLUMN @extschema@.storage_history.txid IS 'transaction that stored the record; 2 when it was written by hand or restored';
COMMENT ON INDEX @extschema@.storage_history_txid IS 'finds the records committed since the last flush';

CREATE TABLE @extschema@.storage_latest (
	key text COLLATE "C" NOT NULL,
	collection_name text COLLATE "C" NOT NULL,
	item_name text COLLATE "C" NOT NULL,
	data jsonb,
	value_int bigint,
	value_float double precision,
	value_string text,
	timestamp timestamptz,
	status text,
	status_int integer,
	username text,
	updated_at timestamptz NOT NULL,
	version integer NOT NULL,
	operation @extschema@.cfp_operation NOT NULL,
	txid xid8 NOT NULL DEFAULT '2',
	CONSTRAINT storage_latest_pkey PRIMARY KEY (key, collection_name, item_name),
	CONSTRAINT storage_latest_one_value CHECK (num_nonnulls(value_int, value_float, value_string) <= 1)
) WITH (fillfactor = 85);

COMMENT ON TABLE @extschema@.storage_latest IS 'newest record of each item as of the last fold, tombstones included';
COMMENT ON COLUMN @extschema@.storage_latest.key IS 'first part of the name of the item';
COMMENT ON COLUMN @extschema@.storage_latest.collection_name IS 'collection of the item; empty: the key''s unnamed collection';
COMMENT ON COLUMN @extschema@.storage_latest.item_name IS 'name of the item in its collection; empty: the unnamed item';
COMMENT ON COLUMN @extschema@.storage_latest.data IS 'a JSON object, as given; NULL in a tombstone';
COMMENT ON COLUMN @extschema@.storage_latest.value_int IS 'the value, when it is an integer';
COMMENT ON COLUMN @extschema@.storage_latest.value_float IS 'the value, when it is a floating-point number';
COMMENT ON COLUMN @extschema@.storage_latest.value_string IS 'the value, when it is a string';
COMMENT ON COLUMN @extschema@.storage_latest.timestamp IS 'time the record is about';
COMMENT ON COLUMN @extschema@.storage_latest.status IS 'data.status';
COMMENT ON COLUMN @extschema@.storage_latest.status_int IS 'data.status_int';
COMMENT ON COLUMN @extschema@.storage_latest.username IS 'who stored the record';
COMMENT ON COLUMN @extschema@.storage_latest.updated_at IS 'when cfp_store was called';
COMMENT ON COLUMN @extschema@.storage_latest.version IS 'number of the record among those of its item';
COMMENT ON COLUMN @extschema@.storage_latest.operation IS 'what the record did to its item; in a row written by hand without it, or with one that it cannot be, what it must have been';
COMMENT ON COLUMN @extschema@.storage_latest.txid IS 'transaction that stored the record; 2 when it was written by hand or restored';

CREATE TABLE @extschema@.storage_dirty (
	key text COLLATE "C" NOT NULL,
	collection_name text COLLATE "C" NOT NULL,
	item_name text COLLATE "C" NOT NULL,
	CONSTRAINT storage_dirty_pkey PRIMARY KEY (key, collection_name, item_name)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

COMMENT ON TABLE @extschema@.storage_dirty IS 'items flushed since the last fold: their newest record is in storage_history only';
COMMENT ON COLUMN @extschema@.storage_dirty.key IS 'first part of the name of the item';
COMMENT ON COLUMN @extschema@.storage_dirty.collection_name IS 'collection of the item';
COMMENT ON COLUMN @extschema@.storage_dirty.item_name IS 'name of the item in its collection';

CREATE TABLE @extschema@.storage_floors (
	key text COLLATE "C",
	collection_name text COLLATE "C",
	new_items integer NOT NULL DEFAULT 0,
	all_items integer NOT NULL DEFAULT 0,
	CONSTRAINT storage_floors_scope UNIQUE NULLS NOT DISTINCT (key, collection_name),
	CONSTRAINT storage_floors_names CHECK ((key IS NULL) = (collection_name IS NULL))
);
ALTER TABLE @extschema@.storage_floors REPLICA IDENTITY FULL;

COMMENT ON TABLE @extschema@.storage_floors IS 'versions that stay taken although their records are gone: one row for each collection that has lost some';
COMMENT ON COLUMN @extschema@.storage_floors.key IS 'key of the collection; NULL, with collection_name: all collections';
COMMENT ON COLUMN @extschema@.storage_floors.collection_name IS 'name of the collection';
COMMENT ON COLUMN @extschema@.storage_floors.new_items IS 'an item that is in neither storage table begins above this version';
COMMENT ON COLUMN @extschema@.storage_floors.all_items IS 'the next version of any item is above this one';

CREATE TABLE @extschema@.storage_days (
	date date NOT NULL,
	started timestamptz,
	finished timestamptz,
	records bigint,
	items_folded bigint,
	backup_bytes bigint,
	error text,
	CONSTRAINT storage_days_pkey PRIMARY KEY (date)
);

COMMENT ON TABLE @extschema@.storage_days IS 'one row for each business date that was closed';
COMMENT ON COLUMN @extschema@.storage_days.date IS 'the business date';
COMMENT ON COLUMN @extschema@.storage_days.started IS 'when its close began';
COMMENT ON COLUMN @extschema@.storage_days.finished IS 'when its close ended; NULL: it goes on, or is being tried again';
COMMENT ON COLUMN @extschema@.storage_days.records IS 'records flushed since the previous close';
COMMENT ON COLUMN @extschema@.storage_days.items_folded IS 'items folded by the close';
COMMENT ON COLUMN @extschema@.storage_days.backup_bytes IS 'size of the backup''s two files; NULL when there is no backup';
COMMENT ON COLUMN @extschema@.storage_days.error IS 'what went wrong, or why the date was skipped, or that its close was going on when it was dumped';

CREATE TABLE @extschema@.cfp_state (
	name text COLLATE "C" NOT NULL,
	system_identifier bigint,
	database_oid oid,
	snapshot pg_snapshot,
	counter bigint,
	date date,
	file integer,
	length bigint,
	at timestamptz,
	version integer,
	incarnation uuid,
	CONSTRAINT cfp_state_pkey PRIMARY KEY (name)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

COMMENT ON TABLE @extschema@.cfp_state IS 'where the worker of cfp stands; not dumped, valid for one database of one cluster';
COMMENT ON COLUMN @extschema@.cfp_state.name IS 'what the row is about: dirty (the flush), files (the day files), reconcile (a mark), day (the end of day), begin (when the days began), backup (the last backup), restored (the last restore), incarnation (of the extension)';
COMMENT ON COLUMN @extschema@.cfp_state.system_identifier IS 'cluster the row belongs to';
COMMENT ON COLUMN @extschema@.cfp_state.database_oid IS 'database the row belongs to';
COMMENT ON COLUMN @extschema@.cfp_state.snapshot IS 'what the last flush, the day files, the last backup have seen';
COMMENT ON COLUMN @extschema@.cfp_state.counter IS 'reconcile: raised by each transaction that changes the storage tables by hand; dirty: records flushed since the last close; backup: raised when something else than stores has changed the history';
COMMENT ON COLUMN @extschema@.cfp_state.date IS 'day: the last business date whose end was reached; begin: the last one before the days began; files: the date of the day file; backup, restored: the date of the backup';
COMMENT ON COLUMN @extschema@.cfp_state.file IS 'files: number of the day file being written, 0 before the first of the date';
COMMENT ON COLUMN @extschema@.cfp_state.length IS 'files: its length in bytes up to what the last flush has saved';
COMMENT ON COLUMN @extschema@.cfp_state.at IS 'when the row was written; begin: when the days began; backup: when the backup was finished, as its manifest has it';
COMMENT ON COLUMN @extschema@.cfp_state.version IS 'dirty: the highest version that the last flush, or a reconciliation, has seen of any item';
COMMENT ON COLUMN @extschema@.cfp_state.incarnation IS 'incarnation: made by CREATE EXTENSION, and in day files and manifests, which so belong to it';

INSERT INTO @extschema@.cfp_state (name, incarnation, at)
VALUES ('incarnation', pg_catalog.gen_random_uuid(), pg_catalog.now());

CREATE TABLE @extschema@.cfp_pruned (
	key text COLLATE "C",
	collection_name text COLLATE "C",
	superseded_before timestamptz NOT NULL,
	deleted_before timestamptz,
	at timestamptz NOT NULL,
	CONSTRAINT cfp_pruned_scope UNIQUE NULLS NOT DISTINCT (key, collection_name)
);

COMMENT ON TABLE @extschema@.cfp_pruned IS 'what cfp_prune_history was allowed to remove, so that it is not missed when a date directory is to go; not dumped';
ALTER TABLE @extschema@.cfp_pruned REPLICA IDENTITY FULL;
COMMENT ON COLUMN @extschema@.cfp_pruned.key IS 'in this key only; NULL: in all';
COMMENT ON COLUMN @extschema@.cfp_pruned.collection_name IS 'in collections of this name only; NULL: in all';
COMMENT ON COLUMN @extschema@.cfp_pruned.superseded_before IS 'records stored before, when their item has a newer one';
COMMENT ON COLUMN @extschema@.cfp_pruned.deleted_before IS 'all records of deleted items, when stored before';
COMMENT ON COLUMN @extschema@.cfp_pruned.at IS 'when cfp_prune_history was last called so';

CREATE TABLE @extschema@.cfp_forgotten (
	id bigint GENERATED ALWAYS AS IDENTITY,
	kind text NOT NULL,
	key text COLLATE "C",
	collection_name text COLLATE "C",
	item_name text COLLATE "C",
	from_version integer,
	version integer,
	date date,
	snapshot pg_snapshot,
	seen pg_snapshot NOT NULL,
	txid xid8 NOT NULL,
	at timestamptz NOT NULL,
	from_id bigint,
	to_id bigint,
	CONSTRAINT cfp_forgotten_pkey PRIMARY KEY (id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

COMMENT ON TABLE @extschema@.cfp_forgotten IS 'what was given up and is not in the day files yet; emptied by each flush that writes them; not dumped';
COMMENT ON COLUMN @extschema@.cfp_forgotten.id IS 'the order in which things were given up';
COMMENT ON COLUMN @extschema@.cfp_forgotten.kind IS 'item (versions of an item, changed or deleted by hand), prune (a deleted item), all (a TRUNCATE), restore (what a backup gone back to does not have); rebuild (records that had been given up were brought back), gap (records were stored while cfp.wal_files was off)';
COMMENT ON COLUMN @extschema@.cfp_forgotten.key IS 'item, prune: key of the item';
COMMENT ON COLUMN @extschema@.cfp_forgotten.collection_name IS 'item, prune: collection of the item';
COMMENT ON COLUMN @extschema@.cfp_forgotten.item_name IS 'item, prune: name of the item in its collection';
COMMENT ON COLUMN @extschema@.cfp_forgotten.from_version IS 'item, prune: its first version given up';
COMMENT ON COLUMN @extschema@.cfp_forgotten.version IS 'item, prune: its last version given up';
COMMENT ON COLUMN @extschema@.cfp_forgotten.date IS 'restore: the date of the backup';
COMMENT ON COLUMN @extschema@.cfp_forgotten.snapshot IS 'restore: what the backup has';
COMMENT ON COLUMN @extschema@.cfp_forgotten.seen IS 'what had been committed by then: those records come before this in the day files, later ones after it';
COMMENT ON COLUMN @extschema@.cfp_forgotten.txid IS 'transaction that has given it up';
COMMENT ON COLUMN @extschema@.cfp_forgotten.at IS 'when';
COMMENT ON COLUMN @extschema@.cfp_forgotten.from_id IS 'rebuild: the first id that counts no more';
COMMENT ON COLUMN @extschema@.cfp_forgotten.to_id IS 'rebuild: the last one';

CREATE TABLE @extschema@.cfp_gate (nothing boolean);

COMMENT ON TABLE @extschema@.cfp_gate IS 'always empty; its lock keeps stores and changes of the storage tables by hand apart';
COMMENT ON COLUMN @extschema@.cfp_gate.nothing IS 'there since tools that read schemas refuse a table without a column';

REVOKE ALL ON @extschema@.storage_history, @extschema@.storage_latest, @extschema@.storage_dirty,
	@extschema@.storage_floors, @extschema@.storage_days, @extschema@.cfp_state, @extschema@.cfp_pruned, @extschema@.cfp_forgotten,
	@extschema@.cfp_gate FROM PUBLIC;
REVOKE ALL ON SEQUENCE @extschema@.cfp_forgotten_id_seq FROM PUBLIC;
COMMENT ON SEQUENCE @extschema@.cfp_forgotten_id_seq IS 'numbers the rows of cfp_forgotten';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.storage_history', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.storage_latest', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.storage_floors', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.storage_days', '');

----------------------------------------------------------------------------
-- Changes of the storage tables by hand
----------------------------------------------------------------------------

CREATE FUNCTION @extschema@.cfp_gate_trigger() RETURNS trigger
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.cfp_gate_trigger() IS 'waits for stores, drops the cache and has the database reconciled when a storage table is changed by hand';

CREATE FUNCTION @extschema@.cfp_stamp_trigger() RETURNS trigger
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.cfp_stamp_trigger() IS 'gives rows written by hand the frozen txid 2; for logical replication also what cfp_gate_trigger() does';

CREATE FUNCTION @extschema@.cfp_floor_trigger() RETURNS trigger
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.cfp_floor_trigger() IS 'merges what is inserted into storage_floors with what is there; for logical replication also what cfp_gate_trigger() does';

CREATE FUNCTION @extschema@.cfp_local_trigger() RETURNS trigger
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.cfp_local_trigger() IS 'keeps logical replication from changing what the worker of this database writes';

REVOKE ALL ON FUNCTION @extschema@.cfp_gate_trigger(), @extschema@.cfp_stamp_trigger(),
	@extschema@.cfp_floor_trigger(), @extschema@.cfp_local_trigger() FROM PUBLIC;

CREATE TRIGGER cfp_gate BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.storage_history
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.cfp_gate_trigger();
CREATE TRIGGER cfp_gate_truncate BEFORE TRUNCATE ON @extschema@.storage_history
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.cfp_gate_trigger();
CREATE TRIGGER cfp_stamp BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.storage_history
	FOR EACH ROW EXECUTE FUNCTION @extschema@.cfp_stamp_trigger();
CREATE TRIGGER cfp_gate BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.storage_latest
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.cfp_gate_trigger();
CREATE TRIGGER cfp_gate_truncate BEFORE TRUNCATE ON @extschema@.storage_latest
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.cfp_gate_trigger();
CREATE TRIGGER cfp_stamp BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.storage_latest
	FOR EACH ROW EXECUTE FUNCTION @extschema@.cfp_stamp_trigger();

ALTER TABLE @extschema@.storage_history
	ENABLE ALWAYS TRIGGER cfp_gate,
	ENABLE ALWAYS TRIGGER cfp_gate_truncate,
	ENABLE ALWAYS TRIGGER cfp_stamp;
ALTER TABLE @extschema@.storage_latest
	ENABLE ALWAYS TRIGGER cfp_gate,
	ENABLE ALWAYS TRIGGER cfp_gate_truncate,
	ENABLE ALWAYS TRIGGER cfp_stamp;

COMMENT ON TRIGGER cfp_gate ON @extschema@.storage_history IS 'a change by hand: waits for stores, drops the cache, has the database reconciled';
COMMENT ON TRIGGER cfp_gate_truncate ON @extschema@.storage_history IS 'a change by hand: waits for stores, drops the cache, has the database reconciled';
COMMENT ON TRIGGER cfp_stamp ON @extschema@.storage_history IS 'rows written by hand carry the frozen txid 2, so that they are not flushed as new';
COMMENT ON TRIGGER cfp_gate ON @extschema@.storage_latest IS 'a change by hand: waits for stores, drops the cache, has the database reconciled';
COMMENT ON TRIGGER cfp_gate_truncate ON @extschema@.storage_latest IS 'a change by hand: waits for stores, drops the cache, has the database reconciled';
COMMENT ON TRIGGER cfp_stamp ON @extschema@.storage_latest IS 'rows written by hand carry the frozen txid 2';

CREATE TRIGGER cfp_gate BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.storage_floors
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.cfp_gate_trigger();
CREATE TRIGGER cfp_gate_truncate BEFORE TRUNCATE ON @extschema@.storage_floors
	FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.cfp_gate_trigger();
CREATE TRIGGER cfp_floor BEFORE INSERT OR UPDATE ON @extschema@.storage_floors
	FOR EACH ROW EXECUTE FUNCTION @extschema@.cfp_floor_trigger();

ALTER TABLE @extschema@.storage_floors
	ENABLE ALWAYS TRIGGER cfp_gate,
	ENABLE ALWAYS TRIGGER cfp_gate_truncate,
	ENABLE ALWAYS TRIGGER cfp_floor;

COMMENT ON TRIGGER cfp_gate ON @extschema@.storage_floors IS 'a change by hand: waits for stores, drops the cache';
COMMENT ON TRIGGER cfp_gate_truncate ON @extschema@.storage_floors IS 'a change by hand: waits for stores, drops the cache';
COMMENT ON TRIGGER cfp_floor ON @extschema@.storage_floors IS 'an INSERT raises a row that is there, logical replication lowers none';

-- What the worker writes is of this database: its publisher's is not applied.
CREATE TRIGGER cfp_local BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.storage_dirty
	FOR EACH ROW EXECUTE FUNCTION @extschema@.cfp_local_trigger();
CREATE TRIGGER cfp_local BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.storage_days
	FOR EACH ROW EXECUTE FUNCTION @extschema@.cfp_local_trigger();
CREATE TRIGGER cfp_local BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.cfp_state
	FOR EACH ROW EXECUTE FUNCTION @extschema@.cfp_local_trigger();
CREATE TRIGGER cfp_local BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.cfp_pruned
	FOR EACH ROW EXECUTE FUNCTION @extschema@.cfp_local_trigger();
CREATE TRIGGER cfp_local BEFORE INSERT OR UPDATE OR DELETE ON @extschema@.cfp_forgotten
	FOR EACH ROW EXECUTE FUNCTION @extschema@.cfp_local_trigger();

ALTER TABLE @extschema@.storage_dirty ENABLE ALWAYS TRIGGER cfp_local;
ALTER TABLE @extschema@.storage_days ENABLE ALWAYS TRIGGER cfp_local;
ALTER TABLE @extschema@.cfp_state ENABLE ALWAYS TRIGGER cfp_local;
ALTER TABLE @extschema@.cfp_pruned ENABLE ALWAYS TRIGGER cfp_local;
ALTER TABLE @extschema@.cfp_forgotten ENABLE ALWAYS TRIGGER cfp_local;

COMMENT ON TRIGGER cfp_local ON @extschema@.storage_dirty IS 'rows that logical replication would change stay as they are';
COMMENT ON TRIGGER cfp_local ON @extschema@.storage_days IS 'rows that logical replication would change stay as they are';
COMMENT ON TRIGGER cfp_local ON @extschema@.cfp_state IS 'rows that logical replication would change stay as they are';
COMMENT ON TRIGGER cfp_local ON @extschema@.cfp_pruned IS 'rows that logical replication would change stay as they are';
COMMENT ON TRIGGER cfp_local ON @extschema@.cfp_forgotten IS 'rows that logical replication would change stay as they are';

----------------------------------------------------------------------------
-- Writing
----------------------------------------------------------------------------

CREATE FUNCTION @extschema@.cfp_store(
	key text, data jsonb DEFAULT '{}', item_name text DEFAULT NULL, collection_name text DEFAULT NULL,
	value "any" DEFAULT NULL, ts timestamptz DEFAULT NULL, username text DEFAULT NULL,
	expected_version bigint DEFAULT NULL)
	RETURNS integer
	AS 'MODULE_PATHNAME', 'cfp_store_any' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 20;
COMMENT ON FUNCTION @extschema@.cfp_store(text, jsonb, text, text, "any", timestamptz, text, bigint)
	IS 'store a record of an item; returns its version';

CREATE FUNCTION @extschema@.cfp_store(
	key text, data jsonb, item_name text, collection_name text,
	value text, ts timestamptz DEFAULT NULL, username text DEFAULT NULL,
	expected_version bigint DEFAULT NULL)
	RETURNS integer
	AS 'MODULE_PATHNAME', 'cfp_store_text' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 20;
COMMENT ON FUNCTION @extschema@.cfp_store(text, jsonb, text, text, text, timestamptz, text, bigint)
	IS 'store a record of an item, its value a string or an untyped parameter; returns its version';

CREATE FUNCTION @extschema@.cfp_store_json(
	key text, data jsonb DEFAULT '{}', item_name text DEFAULT NULL, collection_name text DEFAULT NULL,
	value jsonb DEFAULT NULL, ts timestamptz DEFAULT NULL, username text DEFAULT NULL,
	expected_version bigint DEFAULT NULL)
	RETURNS integer
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 20;
COMMENT ON FUNCTION @extschema@.cfp_store_json(text, jsonb, text, text, jsonb, timestamptz, text, bigint)
	IS 'store a record of an item, its value a JSON scalar; returns its version; for drivers, mappers and API generators';

CREATE FUNCTION @extschema@.cfp_store_many(
	key text, items jsonb, collection_name text DEFAULT NULL, username text DEFAULT NULL)
	RETURNS integer
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION @extschema@.cfp_store_many(text, jsonb, text, text)
	IS 'store records of many items of a collection, all or none: {item_name: {"data", "value", "ts", "expected_version"}}; returns how many';

CREATE FUNCTION @extschema@.cfp_delete(
	key text, item_name text DEFAULT NULL, collection_name text DEFAULT NULL,
	ts timestamptz DEFAULT NULL, username text DEFAULT NULL, expected_version bigint DEFAULT NULL)
	RETURNS integer
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 20;
COMMENT ON FUNCTION @extschema@.cfp_delete(text, text, text, timestamptz, text, bigint)
	IS 'store a tombstone; returns its version, NULL if there was nothing to delete';

CREATE FUNCTION @extschema@.cfp_delete_collection(
	key text, collection_name text DEFAULT NULL, username text DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION @extschema@.cfp_delete_collection(text, text, text)
	IS 'delete all items of a collection; returns how many';

CREATE FUNCTION @extschema@.cfp_lock(
	key text, item_name text DEFAULT NULL, collection_name text DEFAULT NULL,
	shared boolean DEFAULT false, nowait boolean DEFAULT false, skip_locked boolean DEFAULT false)
	RETURNS integer
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 20;
COMMENT ON FUNCTION @extschema@.cfp_lock(text, text, text, boolean, boolean, boolean)
	IS 'lock an item to the end of the transaction; returns its version, 0 when absent or deleted, NULL when skipped';

----------------------------------------------------------------------------
-- Reading
----------------------------------------------------------------------------

CREATE FUNCTION @extschema@.cfp_get(
	key text, item_name text DEFAULT NULL, collection_name text DEFAULT NULL)
	RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED COST 5;
COMMENT ON FUNCTION @extschema@.cfp_get(text, text, text)
	IS 'newest record of an item; NULL when absent or deleted';

CREATE FUNCTION @extschema@.cfp_get_value(
	key text, item_name text DEFAULT NULL, collection_name text DEFAULT NULL)
	RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED COST 5;
COMMENT ON FUNCTION @extschema@.cfp_get_value(text, text, text)
	IS 'value of an item as a jsonb scalar';

CREATE FUNCTION @extschema@.cfp_get_text(
	key text, item_name text DEFAULT NULL, collection_name text DEFAULT NULL)
	RETURNS text
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED COST 5;
COMMENT ON FUNCTION @extschema@.cfp_get_text(text, text, text)
	IS 'value of an item as text';

CREATE FUNCTION @extschema@.cfp_get_data(
	key text, item_name text DEFAULT NULL, collection_name text DEFAULT NULL)
	RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED COST 5;
COMMENT ON FUNCTION @extschema@.cfp_get_data(text, text, text)
	IS 'data of an item';

CREATE FUNCTION @extschema@.cfp_item(
	key text, item_name text DEFAULT NULL, collection_name text DEFAULT NULL)
	RETURNS @extschema@.storage_latest
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED COST 10;
COMMENT ON FUNCTION @extschema@.cfp_item(text, text, text)
	IS 'newest record of an item as a row; NULL when absent or deleted';

CREATE FUNCTION @extschema@.cfp_get_collection(
	key text, collection_name text DEFAULT NULL)
	RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED COST 200;
COMMENT ON FUNCTION @extschema@.cfp_get_collection(text, text)
	IS 'newest records of a collection: {item_name: record}';

CREATE FUNCTION @extschema@.cfp_get_values(
	key text, collection_name text DEFAULT NULL)
	RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED COST 200;
COMMENT ON FUNCTION @extschema@.cfp_get_values(text, text)
	IS 'values of a collection: {item_name: value}';

CREATE FUNCTION @extschema@.cfp_get_key(key text)
	RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000;
COMMENT ON FUNCTION @extschema@.cfp_get_key(text)
	IS 'all collections of a key: {collection_name: {item_name: record}}';

CREATE FUNCTION @extschema@.cfp_get_many(
	key text, item_names text[], collection_name text DEFAULT NULL)
	RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED COST 50;
COMMENT ON FUNCTION @extschema@.cfp_get_many(text, text[], text)
	IS 'newest records of some items of a collection: {item_name: record}, absent and deleted ones left out';

CREATE FUNCTION @extschema@.cfp_get_collection_json(
	key text, collection_name text DEFAULT NULL, if_none_match text DEFAULT NULL)
	RETURNS json
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED COST 100;
COMMENT ON FUNCTION @extschema@.cfp_get_collection_json(text, text, text)
	IS 'a collection as ready-made json text with an etag: {"etag": ..., "items": {item_name: record}}; NULL when the etag matches';

CREATE FUNCTION @extschema@.cfp_items(
	key text, collection_name text DEFAULT NULL, from_item text DEFAULT NULL, to_item text DEFAULT NULL,
	max_items integer DEFAULT NULL, include_deleted boolean DEFAULT false)
	RETURNS SETOF @extschema@.storage_latest
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED COST 200 ROWS 100;
COMMENT ON FUNCTION @extschema@.cfp_items(text, text, text, text, integer, boolean)
	IS 'newest records of a collection as rows, in byte order of item_name';

CREATE FUNCTION @extschema@.cfp_history(
	key text, item_name text DEFAULT NULL, collection_name text DEFAULT NULL, max_versions integer DEFAULT NULL)
	RETURNS SETOF @extschema@.storage_history
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED COST 100 ROWS 20;
COMMENT ON FUNCTION @extschema@.cfp_history(text, text, text, integer)
	IS 'all records of an item, newest first';

----------------------------------------------------------------------------
-- Running it
----------------------------------------------------------------------------

CREATE FUNCTION @extschema@.cfp_flush() RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION @extschema@.cfp_flush() IS 'have the worker flush now; returns the number of records';

CREATE FUNCTION @extschema@.cfp_fold() RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION @extschema@.cfp_fold() IS 'have the worker flush and fold now; returns the number of items';

CREATE FUNCTION @extschema@.cfp_close_day() RETURNS SETOF @extschema@.storage_days
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000 ROWS 1;
COMMENT ON FUNCTION @extschema@.cfp_close_day() IS 'have the worker close the business dates that are due now, backup included; returns their rows';

CREATE FUNCTION @extschema@.cfp_prune_history(
	older_than timestamptz DEFAULT NULL, keep_versions integer DEFAULT NULL,
	key text DEFAULT NULL, collection_name text DEFAULT NULL, dry_run boolean DEFAULT false)
	RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION @extschema@.cfp_prune_history(timestamptz, integer, text, text, boolean)
	IS 'remove superseded records from storage_history; returns how many';

CREATE FUNCTION @extschema@.cfp_warm(key text, collection_name text DEFAULT NULL) RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION @extschema@.cfp_warm(text, text) IS 'load a collection into the cache, also one that did not fit before, dropping others where it fits; returns the number of its items, deleted ones included, NULL when it cannot be cached';

CREATE FUNCTION @extschema@.cfp_evict(key text, collection_name text DEFAULT NULL) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10;
COMMENT ON FUNCTION @extschema@.cfp_evict(text, text) IS 'drop a collection from the cache; false when it is not there or a transaction stores into it or has locks in it';

REVOKE ALL ON FUNCTION @extschema@.cfp_flush(), @extschema@.cfp_fold(), @extschema@.cfp_close_day(),
	@extschema@.cfp_prune_history(timestamptz, integer, text, text, boolean),
	@extschema@.cfp_warm(text, text), @extschema@.cfp_evict(text, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.cfp_backup() RETURNS date
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION @extschema@.cfp_backup() IS 'make a full backup now, in the directory of the open business date; returns the date';

CREATE FUNCTION @extschema@.cfp_verify_backup(date date) RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION @extschema@.cfp_verify_backup(date) IS 'read the backup of a date and compare it with its manifest; returns the number of rows';

CREATE FUNCTION @extschema@.cfp_restore_backup(date date, discard_newer boolean DEFAULT false) RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION @extschema@.cfp_restore_backup(date, boolean) IS 'bring both storage tables back to the backup of a date; returns the number of rows';

REVOKE ALL ON FUNCTION @extschema@.cfp_backup(), @extschema@.cfp_verify_backup(date), @extschema@.cfp_restore_backup(date, boolean) FROM PUBLIC;

CREATE FUNCTION @extschema@.cfp_next_end_of_day(now timestamptz DEFAULT now()) RETURNS timestamptz
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL RESTRICTED COST 10;
COMMENT ON FUNCTION @extschema@.cfp_next_end_of_day(timestamptz) IS 'the first end of day after a time';

----------------------------------------------------------------------------
-- storage_current
----------------------------------------------------------------------------

CREATE FUNCTION @extschema@.cfp_fdw_handler() RETURNS fdw_handler
	AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION @extschema@.cfp_fdw_handler() IS 'the foreign data wrapper cfp';
CREATE FUNCTION @extschema@.cfp_fdw_validator(text[], oid) RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION @extschema@.cfp_fdw_validator(text[], oid) IS 'checks the options of the foreign data wrapper cfp';

CREATE FOREIGN DATA WRAPPER cfp HANDLER @extschema@.cfp_fdw_handler VALIDATOR @extschema@.cfp_fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER cfp IS 'items as tables, in this database';
CREATE SERVER cfp FOREIGN DATA WRAPPER cfp;
COMMENT ON SERVER cfp IS 'this database';

CREATE FOREIGN TABLE @extschema@.storage_current (
	key text COLLATE "C" NOT NULL,
	collection_name text COLLATE "C" NOT NULL,
	item_name text COLLATE "C" NOT NULL,
	data jsonb,
	value_int bigint,
	value_float double precision,
	value_string text,
	timestamp timestamptz,
	status text,
	status_int integer,
	username text,
	updated_at timestamptz,
	version integer,
	operation @extschema@.cfp_operation,
	txid xid8,
	value jsonb
) SERVER cfp;

COMMENT ON FOREIGN TABLE @extschema@.storage_current IS 'newest record of each item, this transaction''s own included; INSERT, UPDATE and DELETE store and delete; its privileges are those of the functions';
COMMENT ON COLUMN @extschema@.storage_current.key IS 'first part of the name of the item';
COMMENT ON COLUMN @extschema@.storage_current.collection_name IS 'collection of the item; empty: the key''s unnamed collection';
COMMENT ON COLUMN @extschema@.storage_current.item_name IS 'name of the item in its collection; empty: the unnamed item';
COMMENT ON COLUMN @extschema@.storage_current.data IS 'a JSON object, as given';
COMMENT ON COLUMN @extschema@.storage_current.value_int IS 'the value, when it is an integer';
COMMENT ON COLUMN @extschema@.storage_current.value_float IS 'the value, when it is a floating-point number';
COMMENT ON COLUMN @extschema@.storage_current.value_string IS 'the value, when it is a string';
COMMENT ON COLUMN @extschema@.storage_current.timestamp IS 'time the record is about';
COMMENT ON COLUMN @extschema@.storage_current.status IS 'data.status';
COMMENT ON COLUMN @extschema@.storage_current.status_int IS 'data.status_int';
COMMENT ON COLUMN @extschema@.storage_current.username IS 'who stored the record';
COMMENT ON COLUMN @extschema@.storage_current.updated_at IS 'when cfp_store was called';
COMMENT ON COLUMN @extschema@.storage_current.version IS 'number of the record among those of its item; UPDATE and DELETE fail if it has changed';
COMMENT ON COLUMN @extschema@.storage_current.operation IS 'what the record did to its item; ignored in INSERT and UPDATE';
COMMENT ON COLUMN @extschema@.storage_current.txid IS 'transaction that stored the record; 2 when it was written by hand or restored';
COMMENT ON COLUMN @extschema@.storage_current.value IS 'the value as a JSON number or string';

REVOKE ALL ON @extschema@.storage_current FROM PUBLIC;

----------------------------------------------------------------------------
-- Day files: looking at them, rebuilding from them
----------------------------------------------------------------------------

CREATE FUNCTION @extschema@.cfp_read_wal(date date) RETURNS SETOF @extschema@.storage_history
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000 ROWS 100000;
COMMENT ON FUNCTION @extschema@.cfp_read_wal(date) IS 'the records in the day files of a date, as far as they are flushed';

CREATE FUNCTION @extschema@.cfp_wal_files_rows(
	OUT date date, OUT file text, OUT bytes bigint, OUT records bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000 ROWS 100;
COMMENT ON FUNCTION @extschema@.cfp_wal_files_rows() IS 'what cfp_wal_files shows';

CREATE VIEW @extschema@.cfp_wal_files AS
SELECT date, file, bytes, records FROM @extschema@.cfp_wal_files_rows();

COMMENT ON VIEW @extschema@.cfp_wal_files IS 'the day files there are, as far as they are flushed; reads them to count their records';
COMMENT ON COLUMN @extschema@.cfp_wal_files.date IS 'business date whose directory the file is in';
COMMENT ON COLUMN @extschema@.cfp_wal_files.file IS 'name of the file';
COMMENT ON COLUMN @extschema@.cfp_wal_files.bytes IS 'its size, as far as it is flushed';
COMMENT ON COLUMN @extschema@.cfp_wal_files.records IS 'its lines but the first, which says what the file is';

CREATE FUNCTION @extschema@.cfp_rebuild_history_from_wal(date date) RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION @extschema@.cfp_rebuild_history_from_wal(date)
	IS 'add the records of a date''s day files that storage_history has not got; returns how many';

CREATE FUNCTION @extschema@.cfp_rebuild_history_from_wal(from_date date, to_date date,
	include_forgotten boolean DEFAULT false) RETURNS bigint
	AS 'MODULE_PATHNAME', 'cfp_rebuild_history_from_wal_range' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION @extschema@.cfp_rebuild_history_from_wal(date, date, boolean)
	IS 'the same for all dates from the first to the last that have day files';

CREATE FUNCTION @extschema@.cfp_rebuild_latest_from_history() RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION @extschema@.cfp_rebuild_latest_from_history()
	IS 'bring storage_latest up to the newest records of storage_history; returns the number of rows changed';

REVOKE ALL ON FUNCTION @extschema@.cfp_read_wal(date), @extschema@.cfp_wal_files_rows(),
	@extschema@.cfp_rebuild_history_from_wal(date), @extschema@.cfp_rebuild_history_from_wal(date, date, boolean),
	@extschema@.cfp_rebuild_latest_from_history() FROM PUBLIC;
REVOKE ALL ON @extschema@.cfp_wal_files FROM PUBLIC;

----------------------------------------------------------------------------
-- Statistics
----------------------------------------------------------------------------

CREATE FUNCTION @extschema@.cfp_stat_row(
	OUT worker_pid integer, OUT worker_state text,
	OUT stores bigint, OUT gets bigint, OUT hits bigint, OUT misses bigint,
	OUT table_reads_serializable bigint, OUT table_reads_old_snapshot bigint,
	OUT table_reads_pruned bigint, OUT table_reads_bypassed bigint,
	OUT table_reads_hand_change bigint, OUT table_reads_recovery bigint,
	OUT table_reads_other bigint,
	OUT loads bigint, OUT evictions bigint,
	OUT cache_size bigint, OUT cache_used bigint, OUT cache_largest_free bigint,
	OUT cached_collections bigint, OUT cached_bytes bigint,
	OUT unflushed_records bigint, OUT unflushed_since timestamptz, OUT dirty_items bigint,
	OUT progress_done bigint, OUT progress_total bigint,
	OUT last_flush timestamptz, OUT last_fold timestamptz,
	OUT last_error text, OUT last_error_at timestamptz,
	OUT wal_behind bigint, OUT wal_error text, OUT wal_error_at timestamptz, OUT stats_reset timestamptz)
	RETURNS record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION @extschema@.cfp_stat_row() IS 'what cfp_stat and cfp_stat_progress show';

CREATE FUNCTION @extschema@.cfp_stat_collections_rows(
	OUT key text, OUT collection_name text, OUT state text,
	OUT items bigint, OUT bytes bigint, OUT hits bigint, OUT last_use timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100 ROWS 1000;
COMMENT ON FUNCTION @extschema@.cfp_stat_collections_rows() IS 'what cfp_stat_collections shows';

CREATE FUNCTION @extschema@.cfp_stat_job_row(
	OUT worker_pid integer, OUT job text, OUT progress_done bigint, OUT progress_total bigint)
	RETURNS record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION @extschema@.cfp_stat_job_row() IS 'what cfp_stat_progress shows of the job worker';

CREATE FUNCTION @extschema@.cfp_stat_reset() RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION @extschema@.cfp_stat_reset() IS 'the counters of cfp_stat begin anew, for this database';
REVOKE ALL ON FUNCTION @extschema@.cfp_stat_reset() FROM PUBLIC;

CREATE VIEW @extschema@.cfp_stat AS
SELECT s.worker_pid, s.worker_state,
	@extschema@.cfp_next_end_of_day(pg_catalog.clock_timestamp()) AS next_end_of_day,
	greatest((SELECT max(d.date) FROM @extschema@.storage_days d WHERE d.finished IS NOT NULL),
			 (SELECT t.date FROM @extschema@.cfp_state t WHERE t.name = 'day')) AS last_closed_date,
	s.stores, s.gets, s.hits, s.misses,
	s.table_reads_serializable, s.table_reads_old_snapshot, s.table_reads_pruned, s.table_reads_bypassed,
	s.table_reads_hand_change, s.table_reads_recovery, s.table_reads_other,
	s.loads, s.evictions, s.cache_size, s.cache_used, s.cache_largest_free,
	s.cached_collections, s.cached_bytes,
	s.unflushed_records, pg_catalog.clock_timestamp() - s.unflushed_since AS unflushed_age, s.dirty_items,
	s.last_flush, s.last_fold, s.last_error, s.last_error_at,
	s.wal_behind, s.wal_error, s.wal_error_at, s.stats_reset
FROM @extschema@.cfp_stat_row() s;

COMMENT ON VIEW @extschema@.cfp_stat IS 'cfp in this database: its worker, its counters, its memory (one row)';
COMMENT ON COLUMN @extschema@.cfp_stat.worker_pid IS 'process of the worker; NULL when there is none';
COMMENT ON COLUMN @extschema@.cfp_stat.worker_state IS 'starting, idle, flushing, folding, reconciling, retrying (after an error); without a worker: not running, no slot (raise max_worker_processes), stepped aside (for a command on the database)';
COMMENT ON COLUMN @extschema@.cfp_stat.next_end_of_day IS 'next time at which a business date may end, by the settings of this session';
COMMENT ON COLUMN @extschema@.cfp_stat.last_closed_date IS 'last business date whose end was reached';
COMMENT ON COLUMN @extschema@.cfp_stat.stores IS 'records stored, tombstones and those rolled back included';
COMMENT ON COLUMN @extschema@.cfp_stat.gets IS 'items and collections asked for';
COMMENT ON COLUMN @extschema@.cfp_stat.hits IS 'of them answered from the cache';
COMMENT ON COLUMN @extschema@.cfp_stat.misses IS 'of them for which the collection had to be loaded, or could not be used for its size or the snapshot''s age; reads that may not use the cache at all count in neither';
COMMENT ON COLUMN @extschema@.cfp_stat.table_reads_serializable IS 'reads from the tables: the transaction is SERIALIZABLE';
COMMENT ON COLUMN @extschema@.cfp_stat.table_reads_old_snapshot IS 'reads from the tables: the snapshot is older than the cached collection';
COMMENT ON COLUMN @extschema@.cfp_stat.table_reads_pruned IS 'reads from the tables: the version wanted was no longer in memory';
COMMENT ON COLUMN @extschema@.cfp_stat.table_reads_bypassed IS 'reads from the tables: the collection did not fit into the cache';
COMMENT ON COLUMN @extschema@.cfp_stat.table_reads_hand_change IS 'reads from the tables: the storage tables were being changed by hand, or their triggers are off';
COMMENT ON COLUMN @extschema@.cfp_stat.table_reads_recovery IS 'reads from the tables: the server is a standby';
COMMENT ON COLUMN @extschema@.cfp_stat.table_reads_other IS 'reads from the tables for other reasons';
COMMENT ON COLUMN @extschema@.cfp_stat.loads IS 'collections loaded into the cache';
COMMENT ON COLUMN @extschema@.cfp_stat.evictions IS 'collections dropped to make room';
COMMENT ON COLUMN @extschema@.cfp_stat.cache_size IS 'cfp.cache_size in bytes';
COMMENT ON COLUMN @extschema@.cfp_stat.cache_used IS 'bytes of it in use, by all databases';
COMMENT ON COLUMN @extschema@.cfp_stat.cache_largest_free IS 'the largest piece of it that is free, in bytes';
COMMENT ON COLUMN @extschema@.cfp_stat.cached_collections IS 'collections of this database in the cache';
COMMENT ON COLUMN @extschema@.cfp_stat.cached_bytes IS 'bytes they use';
COMMENT ON COLUMN @extschema@.cfp_stat.unflushed_records IS 'committed records the worker has not flushed yet';
COMMENT ON COLUMN @extschema@.cfp_stat.unflushed_age IS 'how long the first of them has waited';
COMMENT ON COLUMN @extschema@.cfp_stat.dirty_items IS 'items flushed and not folded yet; NULL when not known';
COMMENT ON COLUMN @extschema@.cfp_stat.last_flush IS 'end of the last flush';
COMMENT ON COLUMN @extschema@.cfp_stat.last_fold IS 'end of the last fold';
COMMENT ON COLUMN @extschema@.cfp_stat.last_error IS 'last error of the worker';
COMMENT ON COLUMN @extschema@.cfp_stat.last_error_at IS 'when it happened';
COMMENT ON COLUMN @extschema@.cfp_stat.wal_behind IS 'records flushed that are not in the day files yet';
COMMENT ON COLUMN @extschema@.cfp_stat.wal_error IS 'why the day files are not written at the moment; NULL when they are';
COMMENT ON COLUMN @extschema@.cfp_stat.wal_error_at IS 'when they were tried last';
COMMENT ON COLUMN @extschema@.cfp_stat.stats_reset IS 'when the counters began';

CREATE VIEW @extschema@.cfp_stat_collections AS
SELECT c.key, c.collection_name, c.state, c.items, c.bytes, c.hits, c.last_use
FROM @extschema@.cfp_stat_collections_rows() c;

COMMENT ON VIEW @extschema@.cfp_stat_collections IS 'the collections of this database that are in the cache';
COMMENT ON COLUMN @extschema@.cfp_stat_collections.key IS 'key of the collection';
COMMENT ON COLUMN @extschema@.cfp_stat_collections.collection_name IS 'name of the collection';
COMMENT ON COLUMN @extschema@.cfp_stat_collections.state IS 'cached, loading, or bypassed (memory ran out; read from the tables until the stores in flight have ended)';
COMMENT ON COLUMN @extschema@.cfp_stat_collections.items IS 'items in memory, tombstones included';
COMMENT ON COLUMN @extschema@.cfp_stat_collections.bytes IS 'memory it uses';
COMMENT ON COLUMN @extschema@.cfp_stat_collections.hits IS 'reads it has answered since it was loaded';
COMMENT ON COLUMN @extschema@.cfp_stat_collections.last_use IS 'when it was last used';

CREATE VIEW @extschema@.cfp_stat_progress AS
SELECT s.worker_pid, s.worker_state, s.progress_done AS done, s.progress_total AS total
FROM @extschema@.cfp_stat_row() s
WHERE s.worker_state IN ('flushing', 'folding', 'reconciling')
UNION ALL
SELECT j.worker_pid, j.job, j.progress_done, j.progress_total
FROM @extschema@.cfp_stat_job_row() j
WHERE j.worker_pid IS NOT NULL;

COMMENT ON VIEW @extschema@.cfp_stat_progress IS 'what the worker and the job worker are doing now (no row for one that does nothing)';
COMMENT ON COLUMN @extschema@.cfp_stat_progress.worker_pid IS 'process of the worker or job worker';
COMMENT ON COLUMN @extschema@.cfp_stat_progress.worker_state IS 'what it is doing: flushing, folding, reconciling; backup, verify backup, restore backup, prune history, rebuild history, rebuild latest';
COMMENT ON COLUMN @extschema@.cfp_stat_progress.done IS 'records, items or rows done; rebuild history: bytes read';
COMMENT ON COLUMN @extschema@.cfp_stat_progress.total IS 'the same in all, as far as known; 0: not known';

REVOKE ALL ON FUNCTION @extschema@.cfp_stat_row(), @extschema@.cfp_stat_collections_rows(), @extschema@.cfp_stat_job_row() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.cfp_stat_row(), @extschema@.cfp_stat_collections_rows(), @extschema@.cfp_stat_job_row() TO pg_monitor;
REVOKE ALL ON @extschema@.cfp_stat, @extschema@.cfp_stat_collections, @extschema@.cfp_stat_progress FROM PUBLIC;
GRANT SELECT ON @extschema@.cfp_stat, @extschema@.cfp_stat_collections, @extschema@.cfp_stat_progress TO pg_monitor;
