/*-------------------------------------------------------------------------
 *
 * state.c
 *		cfp_state, in which cfp keeps where it stands, by rows that have names.
 *
 * It is not dumped.  Read directly where no privilege may be asked for; written
 * by statements of the worker and the job worker, and by the triggers (gate.c).
 *
 * A row with a system identifier and a database's oid counts only where both
 * are those of this database: a copy of the database's files has another's.
 *
 * Locks: ACCESS SHARE on what is read, for the cursors to the end of the
 * transaction; those of the statements.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type_d.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "tables/rewritten.h"
#include "tables/scan.h"
#include "tables/state.h"
#include "tables/state_columns.h"
#include "tables/statement.h"
#include "tables/table_write.h"
#include "tables/tables.h"

/* The columns' numbers, from 0; an AttrNumber is one more. */
#define COLUMN_NUMBER(id, name, type) STATE_##id,
enum
{
	CFP_STATE_COLUMNS(COLUMN_NUMBER)
	STATE_NCOLS
};

#define COLUMN_TYPE(id, name, type) [STATE_##id] = type,
static const Oid column_types[STATE_NCOLS] = {
	CFP_STATE_COLUMNS(COLUMN_TYPE)
};

/* The row whose presence marks the database to be reconciled. */
#define MARK				"reconcile"

/*-------------------------------------------------------------------------
 * Reading rows
 *-------------------------------------------------------------------------
 */

/* Does the row belong to this database? */
static bool
state_is_ours(const Datum *values, const bool *nulls)
{
	return !nulls[STATE_SYSTEM_IDENTIFIER] && !nulls[STATE_DATABASE_OID] &&
		(uint64) DatumGetInt64(values[STATE_SYSTEM_IDENTIFIER]) == GetSystemIdentifier() &&
		DatumGetObjectId(values[STATE_DATABASE_OID]) == MyDatabaseId;
}

/* A row by name, for the scan to stand at; false when the snapshot sees none. */
static bool
state_row(TableScan *scan, const char *name)
{
	ScanKeyData key;

	text_key(&key, STATE_NAME + 1, BTEqualStrategyNumber, cstring_to_text(name));
	scan_start(scan, &key);
	if (!scan_next(scan, ForwardScanDirection))
		return false;
	slot_getallattrs(scan->slot);
	return true;
}

/*
 * A row by its name, a copy; NULL when the snapshot sees none.  Gets along with
 * a table that has lost its primary key, which the caller has open.
 */
static HeapTuple
state_tuple(Relation state, const char *name, Snapshot snapshot)
{
	Oid			index = cfp_primary_key_index(state);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	Assert(CheckRelationLockedByMe(state, AccessShareLock, true));

	text_key(&key, STATE_NAME + 1, BTEqualStrategyNumber, cstring_to_text(name));
	scan = systable_beginscan(state, index, OidIsValid(index), snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	return tuple;
}

/*
 * A row for those who may have to tell what is wrong with the tables: whatever
 * state they are in.  What there is no such column of is NULL.  False when
 * there is no row.
 */
static bool
state_values(Snapshot snapshot, const char *name, Datum *values, bool *nulls)
{
	Oid			relid = cfp_table_oid("cfp_state");
	Relation	state;
	TupleDesc	desc;
	HeapTuple	tuple;

	if (!OidIsValid(relid))
		return false;
	state = table_open(relid, AccessShareLock);
	desc = RelationGetDescr(state);
	tuple = state_tuple(state, name, snapshot);
	for (int i = 0; i < STATE_NCOLS && tuple != NULL; i++)
	{
		nulls[i] = true;
		if (i < desc->natts && TupleDescAttr(desc, i)->atttypid == column_types[i])
			values[i] = heap_getattr(tuple, i + 1, desc, &nulls[i]);
	}
	table_close(state, AccessShareLock);
	return tuple != NULL;
}

char *
cfp_incarnation(Snapshot snapshot)
{
	Datum		values[STATE_NCOLS];
	bool		nulls[STATE_NCOLS];

	if (!state_values(snapshot, "incarnation", values, nulls) || nulls[STATE_INCARNATION])
		return NULL;
	return OidOutputFunctionCall(F_UUID_OUT, values[STATE_INCARNATION]);
}

bool
cfp_last_restore(Snapshot snapshot, DateADT *date, TimestampTz *at)
{
	Datum		values[STATE_NCOLS];
	bool		nulls[STATE_NCOLS];

	if (!state_values(snapshot, "restored", values, nulls) ||
		nulls[STATE_DATE] || nulls[STATE_AT])
		return false;
	*date = DatumGetDateADT(values[STATE_DATE]);
	*at = DatumGetTimestampTz(values[STATE_AT]);
	return true;
}

bool
cfp_state_flushed_version(Snapshot snapshot, int32 *version)
{
	Datum		values[STATE_NCOLS];
	bool		nulls[STATE_NCOLS];

	Assert(IsTransactionState());

	*version = 0;
	if (!state_values(snapshot, "dirty", values, nulls))
		return false;
	if (!nulls[STATE_VERSION])
		*version = DatumGetInt32(values[STATE_VERSION]);
	return state_is_ours(values, nulls);
}

bool
cfp_cursor_read_file(Snapshot snapshot, DateADT *date, int32 *file, int64 *length)
{
	CfpTables	tables = cfp_tables_locked();
	TableScan	state;
	bool		found;

	scan_open(&state, tables.state, tables.state_pkey, snapshot, 1);
	found = state_row(&state, "files");
	if (found)
	{
		const Datum *values = state.slot->tts_values;
		const bool *nulls = state.slot->tts_isnull;

		found = state_is_ours(values, nulls) && !nulls[STATE_DATE] &&
			!nulls[STATE_FILE] && !nulls[STATE_LENGTH];
		if (found)
		{
			*date = DatumGetDateADT(values[STATE_DATE]);
			*file = DatumGetInt32(values[STATE_FILE]);
			*length = DatumGetInt64(values[STATE_LENGTH]);
		}
	}
	scan_close(&state);
	return found;
}

void
cfp_cursor_read(Snapshot snapshot, CfpCursor *cursor)
{
	CfpTables	tables = cfp_tables_for(snapshot);
	TableScan	state;

	/* Never flushed: everything but what is frozen is new. */
	cursor->seen.xmin = cursor->seen.xmax = FirstNormalTransactionId;
	cursor->seen.nxip = 0;
	cursor->seen.xip = NULL;

	scan_open(&state, tables.state, tables.state_pkey, snapshot, 1);
	cursor->whole_history = state_row(&state, MARK);
	if (state_row(&state, "dirty"))
	{
		const Datum *values = state.slot->tts_values;
		const bool *nulls = state.slot->tts_isnull;

		if (nulls[STATE_SNAPSHOT] || !state_is_ours(values, nulls))
			cursor->whole_history = true;
		else
			cfp_seen_parse(&cursor->seen, OidOutputFunctionCall(F_PG_SNAPSHOT_OUT,
																values[STATE_SNAPSHOT]));
	}
	scan_close(&state);

	/* An older snapshot finds less in them than it saw. */
	if (cfp_rewritten(tables.latest, snapshot) || cfp_rewritten(tables.dirty, snapshot) ||
		cfp_rewritten(tables.state, snapshot))
		cursor->whole_history = true;
}

/*-------------------------------------------------------------------------
 * The mark
 *-------------------------------------------------------------------------
 */

HeapTuple
cfp_state_mark(Relation state, Snapshot snapshot)
{
	return state_tuple(state, MARK, snapshot);
}

/*
 * Done directly, as the table's owner: the role that changes the storage tables
 * needs no privilege on cfp_state.
 */
void
cfp_state_write_mark(Relation state, Snapshot snapshot, HeapTuple old)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(state), &TTSOpsHeapTuple);
	Datum		values[STATE_NCOLS] = {0};
	bool		nulls[STATE_NCOLS];
	int64		counter = 0;
	CfpTableWriter *writer;

	Assert(CheckRelationLockedByMe(state, RowExclusiveLock, true));

	memset(nulls, true, sizeof(nulls));
	if (old == NULL)
	{
		values[STATE_NAME] = CStringGetTextDatum(MARK);
		nulls[STATE_NAME] = false;
	}
	else
	{
		ExecStoreHeapTuple(old, slot, false);
		slot_getsomeattrs(slot, STATE_NCOLS);
		memcpy(values, slot->tts_values, sizeof(values));
		memcpy(nulls, slot->tts_isnull, sizeof(nulls));
		if (!nulls[STATE_COUNTER])
			counter = DatumGetInt64(values[STATE_COUNTER]);
	}
	values[STATE_COUNTER] = Int64GetDatum(counter + 1);
	values[STATE_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
	nulls[STATE_COUNTER] = nulls[STATE_AT] = false;

	PushActiveSnapshot(snapshot);
	writer = cfp_writer_begin(RelationGetRelid(state), 1 << (old == NULL ? CMD_INSERT : CMD_UPDATE));
	if (old == NULL)
		cfp_writer_insert(writer, STATE_NCOLS, values, nulls);
	else
		cfp_writer_update(writer, slot, STATE_NCOLS, values, nulls);
	cfp_writer_end(writer);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(slot);
}

/*-------------------------------------------------------------------------
 * Statements: the mark
 *-------------------------------------------------------------------------
 */

static CfpStatement mark_set = {
	.table = "cfp_state",
	.sql = "INSERT INTO @schema@.cfp_state (name, counter, at) VALUES ('reconcile', 1, now())"
	" ON CONFLICT (name) DO NOTHING",
};

static CfpStatement mark_read = {
	.table = "cfp_state",
	.sql = "SELECT counter FROM @schema@.cfp_state WHERE name = 'reconcile'",
};

static CfpStatement mark_clear = {
	.table = "cfp_state",
	.sql = "DELETE FROM @schema@.cfp_state WHERE name = 'reconcile'",
};

void
cfp_state_mark_reconcile(void)
{
	cfp_statement_run(&mark_set, NULL, NULL);
}

bool
cfp_state_marked(int64 *counter)
{
	bool		isnull;

	*counter = 0;
	if (cfp_statement_run(&mark_read, NULL, NULL) == 0)
		return false;
	*counter = DatumGetInt64(cfp_statement_value(1, &isnull));
	return true;
}

void
cfp_state_clear_mark(void)
{
	cfp_statement_run(&mark_clear, NULL, NULL);
}

/*-------------------------------------------------------------------------
 * Statements: what has been seen
 *-------------------------------------------------------------------------
 */

static CfpStatement cursor_read = {
	.table = "cfp_state",
	.sql = "SELECT c.name IS NOT NULL, c.system_identifier, c.database_oid, c.snapshot::text,"
	" pg_snapshot_xmax(c.snapshot), pg_snapshot_xmax(s.now),"
	" ARRAY(SELECT x FROM pg_snapshot_xip(c.snapshot) x WHERE pg_visible_in_snapshot(x, s.now))"
	" FROM (SELECT pg_current_snapshot() AS now) s"
	" LEFT JOIN @schema@.cfp_state c ON c.name = $1",
	.nargs = 1,
	.argtypes = {TEXTOID},
};

static CfpStatement seen_read = {
	.table = "cfp_state",
	.sql = "SELECT snapshot::text FROM @schema@.cfp_state WHERE name = $1 AND snapshot IS NOT NULL",
	.nargs = 1,
	.argtypes = {TEXTOID},
};

static CfpStatement dirty_save = {
	.table = "cfp_state",
	.sql = "INSERT INTO @schema@.cfp_state AS c"
	" (name, system_identifier, database_oid, snapshot, counter, at, version)"
	" VALUES ('dirty', $1, $2, pg_current_snapshot(), $3, now(), $4)"
	" ON CONFLICT (name) DO UPDATE SET system_identifier = excluded.system_identifier,"
	" database_oid = excluded.database_oid, snapshot = excluded.snapshot,"
	" counter = coalesce(c.counter, 0) + excluded.counter, at = excluded.at,"
	" version = greatest(c.version, excluded.version)",
	.nargs = 4,
	.argtypes = {INT8OID, OIDOID, INT8OID, INT4OID},
};

static CfpStatement version_save = {
	.table = "cfp_state",
	.sql = "UPDATE @schema@.cfp_state SET version = greatest(version, $1) WHERE name = 'dirty'",
	.nargs = 1,
	.argtypes = {INT4OID},
};

static CfpStatement records_read = {
	.table = "cfp_state",
	.sql = "SELECT coalesce(sum(counter), 0)::bigint FROM @schema@.cfp_state WHERE name = 'dirty'",
};

static CfpStatement records_reset = {
	.table = "cfp_state",
	.sql = "UPDATE @schema@.cfp_state SET counter = 0 WHERE name = 'dirty'",
};

/* The first two arguments of statements that name this database. */
static void
put_ours(Datum *values)
{
	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
}

/* Are they this database's in the row that was read, where they begin with the column? */
static bool
result_is_ours(int column)
{
	Datum		system_identifier;
	Datum		database_oid;
	bool		isnull[2];

	system_identifier = cfp_statement_value(column, &isnull[0]);
	database_oid = cfp_statement_value(column + 1, &isnull[1]);
	return !isnull[0] && !isnull[1] &&
		(uint64) DatumGetInt64(system_identifier) == GetSystemIdentifier() &&
		DatumGetObjectId(database_oid) == MyDatabaseId;
}

/* A column that is an array of txids. */
static void
result_xids(int column, Datum **xip, int *nxip)
{
	bool		isnull;

	deconstruct_array(DatumGetArrayTypeP(cfp_statement_value(column, &isnull)),
					  XID8OID, sizeof(uint64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  xip, NULL, nxip);
}

uint64
cfp_state_read_cursor(const char *name, CfpStateCursor *cursor)
{
	Datum		argument = CStringGetTextDatum(name);
	Datum		xmax;
	bool		isnull;
	uint64		now_xmax;

	cfp_statement_run(&cursor_read, &argument, NULL);
	cursor->first = !DatumGetBool(cfp_statement_value(1, &isnull));
	now_xmax = DatumGetUInt64(cfp_statement_value(6, &isnull));
	cursor->xmax = FirstNormalTransactionId;
	if (cursor->first)
		return now_xmax;

	xmax = cfp_statement_value(5, &isnull);
	if (isnull || !result_is_ours(2))
	{
		cursor->foreign = true;
		return now_xmax;
	}
	cursor->xmax = DatumGetUInt64(xmax);
	cursor->snapshot = TextDatumGetCString(cfp_statement_value(4, &isnull));
	result_xids(7, &cursor->xip, &cursor->nxip);
	return now_xmax;
}

bool
cfp_state_read_seen(const char *name, CfpSeen *seen)
{
	Datum		argument = CStringGetTextDatum(name);
	bool		isnull;

	if (cfp_statement_run(&seen_read, &argument, NULL) == 0)
		return false;
	cfp_seen_parse(seen, TextDatumGetCString(cfp_statement_value(1, &isnull)));
	return true;
}

void
cfp_state_save_dirty(int64 records, int32 version)
{
	Datum		values[4];

	put_ours(values);
	values[2] = Int64GetDatum(records);
	values[3] = Int32GetDatum(version);
	cfp_statement_run(&dirty_save, values, NULL);
}

void
cfp_state_raise_version(int32 version)
{
	Datum		value = Int32GetDatum(version);

	cfp_statement_run(&version_save, &value, NULL);
}

int64
cfp_state_records(void)
{
	bool		isnull;

	cfp_statement_run(&records_read, NULL, NULL);
	return DatumGetInt64(cfp_statement_value(1, &isnull));
}

void
cfp_state_reset_records(void)
{
	cfp_statement_run(&records_reset, NULL, NULL);
}

/*-------------------------------------------------------------------------
 * Statements: the day files, and the days
 *-------------------------------------------------------------------------
 */

static CfpStatement files_read = {
	.table = "cfp_state",
	.sql = "SELECT system_identifier, database_oid, date, file, length, counter"
	" FROM @schema@.cfp_state WHERE name = 'files'",
};

static CfpStatement files_save = {
	.table = "cfp_state",
	.sql = "INSERT INTO @schema@.cfp_state"
	" (name, system_identifier, database_oid, snapshot, date, file, length, counter, at)"
	" VALUES ('files', $1, $2, pg_current_snapshot(), $3, $4, $5, $6, now())"
	" ON CONFLICT (name) DO UPDATE SET system_identifier = excluded.system_identifier,"
	" database_oid = excluded.database_oid, snapshot = excluded.snapshot,"
	" date = excluded.date, file = excluded.file, length = excluded.length,"
	" counter = excluded.counter, at = excluded.at",
	.nargs = 6,
	.argtypes = {INT8OID, OIDOID, DATEOID, INT4OID, INT8OID, INT8OID},
};

static CfpStatement files_switch = {
	.table = "cfp_state",
	.sql = "UPDATE @schema@.cfp_state SET date = $1, file = 0, length = 0, counter = 0, at = now()"
	" WHERE name = 'files' AND date IS NOT NULL",
	.nargs = 1,
	.argtypes = {DATEOID},
};

static CfpStatement incarnation_make = {
	.table = "cfp_state",
	.sql = "INSERT INTO @schema@.cfp_state AS c (name, incarnation, at)"
	" VALUES ('incarnation', pg_catalog.gen_random_uuid(), now())"
	" ON CONFLICT (name) DO UPDATE SET incarnation = coalesce(c.incarnation, excluded.incarnation)"
	" RETURNING incarnation::text",
};

static CfpStatement day_read = {
	.table = "cfp_state",
	.sql = "SELECT max(date), count(*) > 0 FROM @schema@.cfp_state WHERE name = 'day'",
};

static CfpStatement begin_read = {
	.table = "cfp_state",
	.sql = "SELECT date, at FROM @schema@.cfp_state"
	" WHERE name = 'begin' AND date IS NOT NULL AND at IS NOT NULL",
};

static CfpStatement day_save = {
	.table = "cfp_state",
	.sql = "INSERT INTO @schema@.cfp_state (name, date, at) VALUES ('day', $1, now())"
	" ON CONFLICT (name) DO UPDATE SET date = excluded.date, at = excluded.at",
	.nargs = 1,
	.argtypes = {DATEOID},
};

static CfpStatement begin_save = {
	.table = "cfp_state",
	.sql = "INSERT INTO @schema@.cfp_state (name, date, at) VALUES ('begin', $1, now())"
	" ON CONFLICT (name) DO UPDATE SET date = excluded.date, at = excluded.at",
	.nargs = 1,
	.argtypes = {DATEOID},
};

static CfpStatement restored_save = {
	.table = "cfp_state",
	.sql = "INSERT INTO @schema@.cfp_state (name, date, at) VALUES ('restored', $1, clock_timestamp())"
	" ON CONFLICT (name) DO UPDATE SET date = excluded.date, at = excluded.at",
	.nargs = 1,
	.argtypes = {DATEOID},
};

void
cfp_state_read_files(CfpStateFiles *files)
{
	bool		isnull;
	Datum		date;

	memset(files, 0, sizeof(*files));
	if (cfp_statement_run(&files_read, NULL, NULL) == 0)
		return;
	date = cfp_statement_value(3, &isnull);
	if (isnull || !result_is_ours(1))
		return;
	files->ours = true;
	files->date = DatumGetDateADT(date);
	files->file = DatumGetInt32(cfp_statement_value(4, &isnull));
	files->length = DatumGetInt64(cfp_statement_value(5, &isnull));
	files->records = DatumGetInt64(cfp_statement_value(6, &isnull));
}

void
cfp_state_save_files(const CfpStateFiles *files)
{
	Datum		values[6];
	char		nulls[] = "      ";

	put_ours(values);
	values[2] = DateADTGetDatum(files->date);
	values[3] = Int32GetDatum(files->file);
	values[4] = Int64GetDatum(files->length);
	values[5] = Int64GetDatum(files->records);
	if (!files->ours)
		nulls[2] = 'n';
	cfp_statement_run(&files_save, values, nulls);
}

static void
save_date(CfpStatement *statement, DateADT date)
{
	Datum		value = DateADTGetDatum(date);

	cfp_statement_run(statement, &value, NULL);
}

void
cfp_state_switch_files(DateADT date)
{
	save_date(&files_switch, date);
}

char *
cfp_state_make_incarnation(void)
{
	bool		isnull;

	cfp_statement_run(&incarnation_make, NULL, NULL);
	return TextDatumGetCString(cfp_statement_value(1, &isnull));
}

bool
cfp_state_read_day(DateADT *date)
{
	bool		isnull;
	Datum		value;

	cfp_statement_run(&day_read, NULL, NULL);
	value = cfp_statement_value(1, &isnull);
	*date = isnull ? DATEVAL_NOBEGIN : DatumGetDateADT(value);
	return DatumGetBool(cfp_statement_value(2, &isnull));
}

void
cfp_state_save_day(DateADT date)
{
	save_date(&day_save, date);
}

bool
cfp_state_read_begin(DateADT *date, TimestampTz *at)
{
	bool		isnull;

	if (cfp_statement_run(&begin_read, NULL, NULL) == 0)
		return false;
	*date = DatumGetDateADT(cfp_statement_value(1, &isnull));
	*at = DatumGetTimestampTz(cfp_statement_value(2, &isnull));
	return true;
}

void
cfp_state_save_begin(DateADT date)
{
	save_date(&begin_save, date);
}

void
cfp_state_save_restored(DateADT date)
{
	save_date(&restored_save, date);
}

/*-------------------------------------------------------------------------
 * Statements: the backup
 *-------------------------------------------------------------------------
 */

static CfpStatement chain_break = {
	.table = "cfp_state",
	.sql = "INSERT INTO @schema@.cfp_state AS c (name, counter, at) VALUES ('backup', 1, now())"
	" ON CONFLICT (name) DO UPDATE SET counter = c.counter + 1, snapshot = NULL",
};

/* No snapshot: there is nothing to build on. */
static CfpStatement backup_read = {
	.table = "cfp_state",
	.sql = "SELECT coalesce(b.counter, 0), b.date, pg_snapshot_xmax(b.snapshot),"
	" ARRAY(SELECT x FROM pg_snapshot_xip(b.snapshot) x WHERE pg_visible_in_snapshot(x, s.now)),"
	" b.system_identifier, b.database_oid,"
	" EXISTS (SELECT FROM @schema@.cfp_state WHERE name = 'reconcile'),"
	" s.now::text, b.at, pg_snapshot_xmax(s.now)"
	" FROM (SELECT pg_current_snapshot() AS now) s"
	" LEFT JOIN @schema@.cfp_state b ON b.name = 'backup'",
};

static CfpStatement backup_save = {
	.table = "cfp_state",
	.sql = "INSERT INTO @schema@.cfp_state AS c"
	" (name, system_identifier, database_oid, snapshot, counter, date, at)"
	" VALUES ('backup', $1, $2, $3::pg_snapshot, $4, $5, $6)"
	" ON CONFLICT (name) DO UPDATE SET system_identifier = excluded.system_identifier,"
	" database_oid = excluded.database_oid, date = excluded.date, at = excluded.at,"
	" snapshot = CASE WHEN c.counter = excluded.counter THEN excluded.snapshot END",
	.nargs = 6,
	.argtypes = {INT8OID, OIDOID, TEXTOID, INT8OID, DATEOID, TIMESTAMPTZOID},
};

static CfpStatement backup_done = {
	.table = "cfp_state",
	.sql = "SELECT at FROM @schema@.cfp_state WHERE name = 'backup'"
	" AND system_identifier = $1 AND database_oid = $2 AND date = $3",
	.nargs = 3,
	.argtypes = {INT8OID, OIDOID, DATEOID},
};

void
cfp_state_break_chain(void)
{
	cfp_statement_run(&chain_break, NULL, NULL);
}

void
cfp_state_read_backup(CfpStateBackup *backup)
{
	bool		isnull;
	Datum		xmax;

	memset(backup, 0, sizeof(*backup));
	cfp_statement_run(&backup_read, NULL, NULL);
	backup->chain = DatumGetInt64(cfp_statement_value(1, &isnull));
	backup->now = TextDatumGetCString(cfp_statement_value(8, &isnull));
	backup->now_xmax = DatumGetUInt64(cfp_statement_value(10, &isnull));
	xmax = cfp_statement_value(3, &isnull);
	if (isnull || !result_is_ours(5) || DatumGetBool(cfp_statement_value(7, &isnull)))
		return;
	backup->of_ours = true;
	backup->date = DatumGetDateADT(cfp_statement_value(2, &isnull));
	backup->at = DatumGetTimestampTz(cfp_statement_value(9, &isnull));
	backup->xmax = DatumGetUInt64(xmax);
	result_xids(4, &backup->xip, &backup->nxip);
}

void
cfp_state_save_backup(const char *snapshot, int64 chain, DateADT date, TimestampTz at)
{
	Datum		values[6];

	put_ours(values);
	values[2] = CStringGetTextDatum(snapshot);
	values[3] = Int64GetDatum(chain);
	values[4] = DateADTGetDatum(date);
	values[5] = TimestampTzGetDatum(at);
	cfp_statement_run(&backup_save, values, NULL);
}

bool
cfp_state_backup_done(DateADT date, TimestampTz *at)
{
	Datum		values[3];
	bool		isnull;

	put_ours(values);
	values[2] = DateADTGetDatum(date);
	if (cfp_statement_run(&backup_done, values, NULL) == 0)
		return false;
	*at = DatumGetTimestampTz(cfp_statement_value(1, &isnull));
	return true;
}
