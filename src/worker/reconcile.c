/*-------------------------------------------------------------------------
 *
 * reconcile.c
 *		Reconciling: what was changed by hand is compared, and storage_dirty
 *		completed.
 *
 * Called by the worker only, when the database is marked: by a change of the
 * tables by hand (gate.c), or by a flush that has found rows which no
 * transaction of this cluster can have written (flush.c).
 *
 * In one transaction, behind the gate, such rows get the frozen txid, and every
 * item is put into storage_dirty whose newest record in the history is ahead of
 * that in storage_latest, or differs from it at the same version.  Then the
 * mark is cleared, unless somebody raised it meanwhile: then the DELETE of the
 * mark fails, and all of it is done again later.
 *
 * It is due once the mark has not changed for cfp.flush_interval and no
 * transaction changes the tables by hand.
 *
 * Locks: as a fold (statement.c).
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "base/process.h"
#include "base/settings.h"
#include "record/record.h"
#include "shared/database.h"
#include "tables/given_up.h"
#include "tables/latest.h"
#include "tables/new_rows.h"
#include "tables/scan.h"
#include "tables/state.h"
#include "tables/statement.h"
#include "tables/table_write.h"
#include "tables/tables.h"
#include "worker/flush.h"
#include "worker/reconcile.h"

#define MARK_INTERVAL		30000	/* ms between looks for the mark, without
									 * cause */

/* What the worker knows about the mark. */
static struct
{
	bool		set;
	bool		triggers_on;	/* reconciled without being asked only then */
	int64		counter;
	TimestampTz changed_at;
	TimestampTz looked_at;
	uint64		generation;
	uint64		flushes;		/* a flush may find a reason to reconcile */
}			mark;

/* Is the database marked?  *counter: of the mark.  In no transaction. */
static bool
reconcile_needed(int64 *counter)
{
	bool		found;

	cfp_worker_begin(false, false);
	found = cfp_state_marked(counter);
	cfp_worker_commit();
	return found;
}

/* The row with the frozen txid. */
static void
freeze_row(CfpTableWriter *writer, TupleTableSlot *row)
{
	Datum		values[CFP_NCOLS];
	bool		nulls[CFP_NCOLS];

	slot_getsomeattrs(row, CFP_NCOLS);
	memcpy(values, row->tts_values, sizeof(values));
	memcpy(nulls, row->tts_isnull, sizeof(nulls));
	values[CFP_COL_TXID] = FullTransactionIdGetDatum(FullTransactionIdFromEpochAndXid(0, FrozenTransactionId));
	cfp_writer_update(writer, row, CFP_NCOLS, values, nulls);
}

/* Rows with a txid from the future get the frozen one. */
static void
freeze_history(const CfpTables *tables, uint64 xmax)
{
	TableScan	scan;
	CfpTableWriter *writer;
	ScanKeyData key;

	if (!cfp_sees_rows_from(tables->history, tables->history_txid, xmax))
		return;
	scan_open(&scan, tables->history, tables->history_txid, GetActiveSnapshot(), 1);
	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_XID8GE, UInt64GetDatum(xmax));
	scan_start(&scan, &key);
	writer = cfp_writer_begin(tables->history, 1 << CMD_UPDATE);
	while (scan_next(&scan, ForwardScanDirection))
		freeze_row(writer, scan.slot);
	cfp_writer_end(writer);
	scan_close(&scan);
}

/* Latest has no index on txid. */
static void
freeze_latest(const CfpTables *tables, uint64 xmax)
{
	Relation	latest = table_open(tables->latest, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(latest, NULL);
	TableScanDesc scan = table_beginscan(latest, GetActiveSnapshot(), 0, NULL);
	CfpTableWriter *writer = NULL;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getsomeattrs(slot, CFP_NCOLS);
		if (DatumGetUInt64(slot->tts_values[CFP_COL_TXID]) < xmax)
			continue;
		if (writer == NULL)
			writer = cfp_writer_begin(tables->latest, 1 << CMD_UPDATE);
		freeze_row(writer, slot);
	}
	if (writer != NULL)
		cfp_writer_end(writer);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(latest, NoLock);
}

/* A walk along a primary key, beside that of the history. */
typedef struct Beside
{
	TableScan	scan;
	bool		more;
} Beside;

static void
beside_open(Beside *beside, Oid table, Oid pkey)
{
	scan_open(&beside->scan, table, pkey, GetActiveSnapshot(), 0);
	scan_start(&beside->scan, NULL);
	beside->more = scan_next(&beside->scan, ForwardScanDirection);
}

static inline void
beside_next(Beside *beside)
{
	beside->more = scan_next(&beside->scan, ForwardScanDirection);
}

/* Go on to the item of the row; does the table have it? */
static bool
beside_has(Beside *beside, TupleTableSlot *row)
{
	int			cmp = 1;

	while (beside->more && (cmp = compare_slots(beside->scan.slot, row)) < 0)
		beside_next(beside);
	return beside->more && cmp == 0;
}

/* The history has not got the version of the row of latest: it stays taken. */
static void
keep_version(TupleTableSlot *latest)
{
	slot_getsomeattrs(latest, CFP_COL_ITEM + 1);
	cfp_given_up_versions(slot_text(latest, CFP_COL_KEY), slot_text(latest, CFP_COL_COLLECTION),
						  slot_version(latest));
}

/*
 * Is latest behind this newest record of an item, or without the item?  What
 * latest alone has until then, or has newer, is noted.
 */
static bool
compare_latest(Beside *latest, TupleTableSlot *newest, int32 *highest)
{
	bool		behind = true;
	int			cmp;

	*highest = Max(*highest, cfp_floor_of(slot_version(newest)));
	while (latest->more && (cmp = compare_slots(latest->scan.slot, newest)) <= 0)
	{
		int32		version = slot_version(latest->scan.slot);

		*highest = Max(*highest, cfp_floor_of(version));
		if (cmp < 0 || version > slot_version(newest))
			keep_version(latest->scan.slot);
		if (cmp == 0)
			behind = cfp_latest_behind(latest->scan.slot, newest);
		beside_next(latest);
	}
	return behind;
}

/*
 * Each item whose newest record of the history is not that of latest goes into
 * storage_dirty.  All tables are walked through in the order of their primary
 * keys, in which an item's newest record is the last of its records.
 *
 * A version that latest alone has is noted in storage_floors, since a TRUNCATE of
 * latest does not look; and the highest of all in cfp_state, which a TRUNCATE
 * of the history asks (floors.c).
 */
static void
complete_dirty(const CfpTables *tables)
{
	int32		highest = 0;
	TableScan	history;
	TupleTableSlot *newest;
	Beside		latest;
	Beside		dirty;
	CfpTableWriter *writer = cfp_writer_begin(tables->dirty, 1 << CMD_INSERT);
	bool		more;

	beside_open(&latest, tables->latest, tables->latest_pkey);
	beside_open(&dirty, tables->dirty, tables->dirty_pkey);
	scan_open(&history, tables->history, tables->history_pkey, GetActiveSnapshot(), 0);
	newest = table_slot_create(history.table, NULL);
	scan_start(&history, NULL);
	more = scan_next(&history, ForwardScanDirection);
	while (more)
	{
		TupleTableSlot *row = history.slot;

		history.slot = newest;
		newest = row;
		more = scan_next(&history, ForwardScanDirection);
		if (more && compare_slots(newest, history.slot) == 0)
			continue;
		if (compare_latest(&latest, newest, &highest) && !beside_has(&dirty, newest))
			cfp_writer_insert(writer, 3, newest->tts_values, newest->tts_isnull);
	}
	for (; latest.more; beside_next(&latest))
	{
		highest = Max(highest, cfp_floor_of(slot_version(latest.scan.slot)));
		keep_version(latest.scan.slot);
	}
	cfp_writer_end(writer);
	ExecDropSingleTupleTableSlot(newest);
	scan_close(&history);
	scan_close(&dirty.scan);
	scan_close(&latest.scan);

	cfp_given_up_save();
	cfp_state_raise_version(highest);
}

/* Throws 40001 or 55P03 when a change by hand came meanwhile. */
static void
reconcile_run(void)
{
	CfpTables	tables;
	uint64		xmax;
	int64		dirty_items;

	Assert(!IsTransactionState());
	cfp_flush_forget();
	cfp_publish_dirty_items(-1);

	cfp_worker_begin(true, true);
	tables = *cfp_tables();
	/* First: a backup that ends meanwhile waits, and does not make this fail. */
	cfp_state_break_chain();
	xmax = DatumGetUInt64(OidFunctionCall1(F_PG_SNAPSHOT_XMAX,
										   OidFunctionCall0(F_PG_CURRENT_SNAPSHOT)));
	freeze_history(&tables, xmax);
	freeze_latest(&tables, xmax);
	complete_dirty(&tables);
	cfp_state_clear_mark();
	PushActiveSnapshot(GetLatestSnapshot());
	dirty_items = cfp_count_dirty(tables.dirty);
	PopActiveSnapshot();
	cfp_worker_commit();
	cfp_publish_dirty_items(dirty_items);
}

void
cfp_reconcile(void)
{
	int64		counter;

	if (reconcile_needed(&counter))
	{
		if (pg_atomic_read_u32(&cfp_my_database()->hand_changes) > 0)
			cfp_raise_hand_change();
		cfp_publish_state(CFP_WORKER_RECONCILING);
		reconcile_run();
	}
	mark.set = false;
}

/*-------------------------------------------------------------------------
 * When it is due
 *-------------------------------------------------------------------------
 */

void
cfp_reconcile_look(bool triggers_on)
{
	TimestampTz now = GetCurrentTimestamp();
	uint64		generation = pg_atomic_read_u64(&cfp_my_database()->generation);
	bool		was_set = mark.set;
	int64		counter;

	Assert(!IsTransactionState());
	mark.triggers_on = triggers_on;
	if (!mark.set && triggers_on && generation == mark.generation &&
		mark.flushes == cfp_flushes &&
		!cfp_time_has_come(TimestampTzPlusMilliseconds(mark.looked_at, MARK_INTERVAL),
						   MARK_INTERVAL, now))
		return;

	/* Changes by hand go unseen while the triggers do not fire. */
	if (!triggers_on && !mark.set)
	{
		cfp_worker_begin(false, false);
		cfp_state_mark_reconcile();
		cfp_worker_commit();
	}
	mark.set = reconcile_needed(&counter);
	if (!was_set || counter != mark.counter || generation != mark.generation)
		mark.changed_at = now;
	mark.counter = counter;
	mark.generation = generation;
	mark.looked_at = now;
	mark.flushes = cfp_flushes;
}

bool
cfp_reconcile_marked(void)
{
	return mark.set;
}

bool
cfp_reconcile_due(TimestampTz now, TimestampTz *next)
{
	TimestampTz due;

	if (!mark.set || !mark.triggers_on)
		return false;
	due = TimestampTzPlusMilliseconds(mark.changed_at, cfp_flush_interval);
	if (pg_atomic_read_u32(&cfp_my_database()->hand_changes) > 0)
		due = TimestampTzPlusMilliseconds(now, cfp_flush_interval);
	if (cfp_time_has_come(due, cfp_flush_interval, now))
		return true;
	*next = Min(*next, due);
	return false;
}

CfpPieceEnd
cfp_reconcile_piece(int64 *rows)
{
	cfp_reconcile();
	return CFP_PIECE_DONE;
}
