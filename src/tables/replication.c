/*-------------------------------------------------------------------------
 *
 * replication.c
 *		What logical replication applies to the extension's tables.
 *
 * A publisher may send all tables (FOR ALL TABLES), or history alone.  The
 * subscriber has cfp, too, so its worker folds what is applied to the history,
 * and keeps the tables of its own: what a row that comes is to change may be
 * there already, or not yet, or stand for something else.  So in the processes
 * of a subscription (gate.c and sql_triggers.c tell):
 *
 *	- The tables in which the worker says where it stands are not changed.
 *	- storage_latest takes a row that is newer than its own, and passes over
 *	  others: both come from the same history.
 *	- What leaves the history leaves latest, if that has no better reason to
 *	  have the item: on the publisher it has gone (prune, a restore, DELETE,
 *	  TRUNCATE), and here it may have been folded.
 *	- storage_floors takes the higher number (floors.c).  What goes from the
 *	  tables here is noted as for a change by hand, so versions go on also
 *	  where floors are not published.
 *
 * Everything that comes marks the database to be reconciled (gate.c), so that
 * storage_dirty is made of what the tables have here.
 *
 * Locks: ROW EXCLUSIVE on latest, after the gate.  Nobody waits for the gate
 * with latest locked against that, but a TRUNCATE, which has locked the
 * history before.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "record/record.h"
#include "tables/replication.h"
#include "tables/tables.h"

static inline bool
is_table(Relation rel, const char *name)
{
	return strcmp(RelationGetRelationName(rel), name) == 0;
}

static int32
row_version(Relation rel, HeapTuple row)
{
	bool		isnull;

	return DatumGetInt32(heap_getattr(row, CFP_COL_VERSION + 1, RelationGetDescr(rel), &isnull));
}

/*
 * Begin a scan of the table's primary key for the item of a row (of a table
 * with the same columns).
 */
static IndexScanDesc
begin_item_scan(Relation rel, Oid index_oid, Snapshot snapshot, Relation row_rel, HeapTuple row)
{
	IndexScanDesc scan = cfp_index_beginscan(rel, index_open(index_oid, AccessShareLock),
											 snapshot, 3);
	ScanKeyData keys[3];

	for (int i = 0; i < 3; i++)
	{
		bool		isnull;

		ScanKeyInit(&keys[i], i + 1, BTEqualStrategyNumber, F_TEXTEQ,
					heap_getattr(row, i + 1, RelationGetDescr(row_rel), &isnull));
		keys[i].sk_collation = C_COLLATION_OID;
	}
	index_rescan(scan, keys, lengthof(keys), NULL, 0);
	return scan;
}

static void
end_item_scan(IndexScanDesc scan)
{
	Relation	index = scan->indexRelation;

	index_endscan(scan);
	index_close(index, NoLock);
}

/* What latest has of the item of a row; false when it has nothing. */
static bool
find_latest(Relation latest, Relation row_rel, HeapTuple row, Snapshot snapshot,
			int32 *version, ItemPointer tid)
{
	IndexScanDesc scan = begin_item_scan(latest, cfp_tables()->latest_pkey, snapshot,
										 row_rel, row);
	TupleTableSlot *slot = table_slot_create(latest, NULL);
	bool		found = index_getnext_slot(scan, ForwardScanDirection, slot);

	if (found)
	{
		bool		isnull;

		*version = DatumGetInt32(slot_getattr(slot, CFP_COL_VERSION + 1, &isnull));
		*tid = slot->tts_tid;
	}
	end_item_scan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return found;
}

/* Has the history a record of the row's item beside the row? */
static bool
history_has_other(Relation history, HeapTuple row, Snapshot snapshot)
{
	IndexScanDesc scan = begin_item_scan(history, cfp_tables()->history_pkey, snapshot,
										 history, row);
	TupleTableSlot *slot = table_slot_create(history, NULL);
	bool		found = false;

	while (!found && index_getnext_slot(scan, ForwardScanDirection, slot))
		found = !ItemPointerEquals(&slot->tts_tid, &row->t_self);
	end_item_scan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return found;
}

static void
delete_row(Relation rel, ItemPointer tid, Snapshot snapshot)
{
	simple_table_tuple_delete(rel, tid, snapshot);
	CommandCounterIncrement();
}

/*
 * A record goes from the history.  Latest loses the item when nothing is left
 * of it, or when it has that record: the fold brings what comes next.
 */
static void
follow_history(Relation history, HeapTuple row)
{
	Relation	latest = table_open(cfp_tables()->latest, RowExclusiveLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int32		version;
	ItemPointerData tid;

	if (find_latest(latest, history, row, snapshot, &version, &tid) &&
		(version == row_version(history, row) || !history_has_other(history, row, snapshot)))
		delete_row(latest, &tid, snapshot);
	UnregisterSnapshot(snapshot);
	table_close(latest, NoLock);
}

/* A row comes to an item of latest: false when that has one as new. */
static bool
replace_latest(Relation latest, HeapTuple row)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	int32		version;
	ItemPointerData tid;
	bool		found = find_latest(latest, latest, row, snapshot, &version, &tid);
	bool		newer = !found || row_version(latest, row) > version;

	if (found && newer)
		delete_row(latest, &tid, snapshot);
	UnregisterSnapshot(snapshot);
	return newer;
}

bool
cfp_replication_row(const TriggerData *trigger, bool gives_up)
{
	Relation	rel = trigger->tg_relation;

	Assert(IsLogicalWorker() && TRIGGER_FIRED_FOR_ROW(trigger->tg_event));

	if (is_table(rel, "storage_history"))
	{
		if (gives_up)
			follow_history(rel, trigger->tg_trigtuple);
		return true;
	}
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		return true;
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return replace_latest(rel, trigger->tg_trigtuple);
	if (cfp_updates_same_item(trigger))
		return row_version(rel, trigger->tg_newtuple) >= row_version(rel, trigger->tg_trigtuple);
	if (replace_latest(rel, trigger->tg_newtuple))
		return true;
	/* It has gone to a name that has better. */
	delete_row(rel, &trigger->tg_trigtuple->t_self, GetActiveSnapshot());
	return false;
}

/*
 * Row by row: a TRUNCATE of both tables, which this may be, has latest open, and
 * another is not possible then.
 */
void
cfp_replication_truncate(Relation rel)
{
	Relation	latest;
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;

	if (!is_table(rel, "storage_history"))
		return;
	latest = table_open(cfp_tables()->latest, RowExclusiveLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan(latest, snapshot, 0, NULL);
	slot = table_slot_create(latest, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		simple_table_tuple_delete(latest, &slot->tts_tid, snapshot);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	CommandCounterIncrement();
	table_close(latest, NoLock);
}
