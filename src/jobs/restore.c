/*-------------------------------------------------------------------------
 *
 * restore.c
 *		Bringing the storage tables back to a backup.
 *
 * cfp_restore_backup() asks the job worker (jobs.c), which runs the job here.
 *
 * It is one transaction.  First all files are verified (verify.c), and meanwhile
 * the version each item has in them is noted in a sort.  Only then are the
 * tables locked, and the sort is compared with them: newer records are not
 * lost unless the caller says so, and their versions stay taken (given_up.c).
 * Tables that cannot be read may be lost with what they have; then all versions
 * up to the highest that is known stay taken.  The tables are emptied, loaded
 * as heaps, and reindexed.  The rows get the frozen txid, as whatever was not
 * stored here.
 *
 * The history of a backup that builds on others is the history of all of them
 * back to a full one.  Where that chain is broken the history cannot be loaded
 * whole: then it keeps what it has, but for what is newer than the backup, and
 * the rows of the files there are replace its own.
 *
 * What the backup does not have is given up (forget.c), so that a later
 * rebuild, after more was stored, does not bring it back.
 *
 * To those who store and read, this is a change by hand (gate.c): they wait,
 * the cache is dropped, and the worker compares the tables afterwards.
 * Snapshots taken before find no history then; who reads with one is told
 * (rewritten.c).
 *
 * Locks: ACCESS EXCLUSIVE on storage_history, then storage_latest, then the
 * gate.  The snapshot is taken after them.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "catalog/pg_trigger.h"
#include "commands/copy.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"
#include "utils/xid8.h"

#include "base/attempt.h"
#include "base/calendar.h"
#include "files/day_dir.h"
#include "files/manifest.h"
#include "jobs/restore.h"
#include "jobs/verify_int.h"
#include "record/record.h"
#include "shared/database.h"
#include "shared/jobs.h"
#include "tables/forget.h"
#include "tables/gate.h"
#include "tables/given_up.h"
#include "tables/references.h"
#include "tables/scan.h"
#include "tables/state.h"
#include "tables/statement.h"
#include "tables/table_write.h"
#include "tables/tables.h"

/*
 * An item that was pruned whole after the backup was made comes back with an
 * older record, and must not go on from there.
 */
static CfpStatement floors_level = {
	.table = "storage_floors",
	.sql = "UPDATE @schema@.storage_floors SET all_items = new_items"
	" WHERE all_items < new_items",
};

#define BATCH_ROWS			1000	/* handed to the table at once, at most */
#define BATCH_BYTES			(1024 * 1024)	/* and so much memory, roughly */

/*-------------------------------------------------------------------------
 * Newer records
 *-------------------------------------------------------------------------
 */

static int
compare_items(const CfpItemVersion *a, const CfpItemVersion *b)
{
	int			cmp = 0;

	for (int i = 0; i < 3 && cmp == 0; i++)
		cmp = cfp_compare_names(VARDATA_ANY(a->name[i]), VARSIZE_ANY_EXHDR(a->name[i]),
								VARDATA_ANY(b->name[i]), VARSIZE_ANY_EXHDR(b->name[i]));
	return cmp;
}

/* The items of both tables, in the order of their names. */
typedef struct Items
{
	TableScan	scans[2];		/* of the history and of latest */
	bool		more[2];
	TupleTableSlot *seen[2];	/* the last row of an item */
} Items;

static void
items_open(Items *items)
{
	CfpTables	tables = *cfp_tables();

	scan_open(&items->scans[0], tables.history, tables.history_pkey, GetActiveSnapshot(), 0);
	scan_open(&items->scans[1], tables.latest, tables.latest_pkey, GetActiveSnapshot(), 0);
	for (int i = 0; i < 2; i++)
	{
		items->seen[i] = table_slot_create(items->scans[i].table, NULL);
		scan_start(&items->scans[i], NULL);
		items->more[i] = scan_next(&items->scans[i], ForwardScanDirection);
	}
}

static void
items_close(Items *items)
{
	for (int i = 0; i < 2; i++)
	{
		ExecDropSingleTupleTableSlot(items->seen[i]);
		scan_close(&items->scans[i]);
	}
}

/* Pass over an item's rows in one of the tables; the last one is seen[i]. */
static void
items_pass(Items *items, int i)
{
	TableScan  *scan = &items->scans[i];

	do
	{
		TupleTableSlot *row = scan->slot;

		scan->slot = items->seen[i];
		items->seen[i] = row;
		items->more[i] = scan_next(scan, ForwardScanDirection);
	} while (items->more[i] && compare_slots(scan->slot, items->seen[i]) == 0);
}

/*
 * The next item, with its highest version in either table; false after the
 * last.  Its names are good until the next call.
 */
static bool
items_next(Items *items, CfpItemVersion *item)
{
	int			cmp;
	TupleTableSlot *row;

	if (!items->more[0] && !items->more[1])
		return false;
	cmp = !items->more[0] ? 1 : !items->more[1] ? -1 :
		compare_slots(items->scans[0].slot, items->scans[1].slot);
	if (cmp <= 0)
		items_pass(items, 0);
	if (cmp >= 0)
		items_pass(items, 1);
	row = items->seen[cmp <= 0 ? 0 : 1];
	item->version = slot_version(row);
	if (cmp == 0)
		item->version = Max(item->version, slot_version(items->seen[1]));
	for (int i = 0; i < 3; i++)
		item->name[i] = slot_text(row, CFP_COL_KEY + i);
	return true;
}

/* Remove the item's records above this version from the history. */
static void
discard_item(CfpTableWriter *writer, TableScan *history, const CfpItemVersion *item, int32 version)
{
	ScanKeyData keys[4];
	Datum		names[3];

	for (int i = 0; i < 3; i++)
		names[i] = PointerGetDatum(item->name[i]);
	names_keys(keys, names);
	ScanKeyInit(&keys[3], 4, BTGreaterStrategyNumber, F_INT4GT, Int32GetDatum(version));
	scan_start(history, keys);
	while (scan_next(history, ForwardScanDirection))
		cfp_writer_delete(writer, &history->slot->tts_tid);
}

/*
 * The number of items of which the tables have a higher version than the
 * backup; with discard, those versions stay taken, and of a history that is not
 * loaded whole the newer records go.  Both sides come in the order of their
 * names.
 */
static int64
newer_items(CfpVerify *verify, bool discard)
{
	CfpTables	tables = *cfp_tables();
	CfpTableWriter *writer = NULL;
	TableScan	history = {0};
	Items		items;
	CfpItemVersion item;
	CfpItemVersion known;
	bool		have_known;
	bool		replaces = discard && verify->broken;
	int64		newer = 0;

	have_known = cfp_verified_next(verify, &known);
	items_open(&items);
	if (replaces)
	{
		scan_open(&history, tables.history, tables.history_pkey, GetActiveSnapshot(), 4);
		writer = cfp_writer_begin(tables.history, 1 << CMD_DELETE);
	}
	while (items_next(&items, &item))
	{
		int32		version = 0;

		/* The last of equal ones is the highest. */
		while (have_known)
		{
			int			cmp = compare_items(&known, &item);

			if (cmp > 0)
				break;
			if (cmp == 0)
				version = known.version;
			have_known = cfp_verified_next(verify, &known);
		}
		if (item.version > version)
		{
			newer++;
			if (discard)
				cfp_given_up_versions(item.name[0], item.name[1], item.version);
			if (replaces)
				discard_item(writer, &history, &item, version);
		}
	}
	if (replaces)
	{
		cfp_writer_end(writer);
		scan_close(&history);
	}
	items_close(&items);
	return newer;
}

/*
 * Throws 55000 when the tables have what the backup has not, and when they
 * cannot be read says what helps.
 */
static void
look_for_newer(CfpVerify *verify, bool discard)
{
	MemoryContext context = CurrentMemoryContext;
	int64		newer = 0;

	PG_TRY();
	{
		newer = newer_items(verify, discard);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INTERNAL_ERROR ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_SYSTEM_ERROR)
			error->hint = verify->broken ?
				"The backup has not the whole history. Save what can be read of storage_history, and TRUNCATE it." :
				"With discard_newer := true the tables are not looked at for newer records.";
		ReThrowError(error);
	}
	PG_END_TRY();

	if (newer > 0 && !discard)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg_plural("restoring the backup of %s would lose newer records of %lld item",
							   "restoring the backup of %s would lose newer records of %lld items",
							   (unsigned long) newer,
							   cfp_date_text(verify->manifest.date), (long long) newer),
				 errhint("Call it with discard_newer := true to lose them. Those in day files can be brought back with cfp_rebuild_history_from_wal().")));
}

/* What cannot be compared: all that may go along stays taken. */
static void
take_all_versions(void)
{
	Oid			relids[] = {cfp_tables()->history, cfp_tables()->latest};

	for (int i = 0; i < lengthof(relids); i++)
	{
		Relation	rel = table_open(relids[i], NoLock);

		cfp_given_up_table(rel);
		table_close(rel, NoLock);
	}
}

static void
note_newer_items(void *verify)
{
	(void) newer_items(verify, true);
}

/*
 * The tables will be replaced whole, whatever they have; their versions stay
 * taken, by collection where they can be read.
 */
static void
discard_newer(CfpVerify *verify)
{
	ErrorData  *error = cfp_attempt(note_newer_items, verify);

	if (error == NULL)
		return;
	ereport(LOG,
			(errmsg("cfp: the storage tables cannot be compared with the backup: %s",
					error->message),
			 errdetail("All items go on above the highest version that is known.")));
	take_all_versions();
}

/*-------------------------------------------------------------------------
 * Loading
 *-------------------------------------------------------------------------
 */

/* What COPY's callback reads from. */
static CfpCopyReader *loading;

static int
load_bytes(void *to, int min, int max)
{
	return cfp_copy_read(loading, to, min, max);
}

/* Begin COPY table (columns of a storage table) FROM loading (FORMAT binary). */
static CopyFromState
begin_copy(Relation rel)
{
	List	   *columns = NIL;
	List	   *options = list_make1(makeDefElem("format", (Node *) makeString("binary"), -1));

	for (int i = 0; i < CFP_NCOLS; i++)
		columns = lappend(columns, makeString(NameStr(TupleDescAttr(RelationGetDescr(rel), i)->attname)));
	return BeginCopyFrom(NULL, rel, NULL, NULL, false, load_bytes, columns, options);
}

/*
 * Remove the rows of the history that these will replace, found by the primary
 * key as it was before.
 */
static void
remove_same(TupleTableSlot **slots, int n)
{
	CfpTables	tables = *cfp_tables();
	CfpTableWriter *writer = cfp_writer_begin(tables.history, 1 << CMD_DELETE);
	TableScan	history = {0};

	Assert(n <= BATCH_ROWS);
	scan_open(&history, tables.history, tables.history_pkey, GetActiveSnapshot(), 4);
	for (int row = 0; row < n; row++)
	{
		ScanKeyData keys[4];

		names_keys(keys, &slots[row]->tts_values[CFP_COL_KEY]);
		ScanKeyInit(&keys[3], 4, BTEqualStrategyNumber, F_INT4EQ,
					slots[row]->tts_values[CFP_COL_VERSION]);
		scan_start(&history, keys);
		if (scan_next(&history, ForwardScanDirection))
			cfp_writer_delete(writer, &history.slot->tts_tid);
	}
	scan_close(&history);
	cfp_writer_end(writer);
}

/* Of the copy of the table's triggers, leave those that check foreign keys of its own. */
static bool
only_foreign_keys(TriggerDesc *triggers)
{
	bool		found = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (RI_FKey_trigger_type(trigger->tgfoid) != RI_TRIGGER_FK)
			trigger->tgenabled = TRIGGER_DISABLED;
		else
			found |= trigger->tgenabled != TRIGGER_DISABLED;
	}
	cfp_enforce_constraints(triggers);
	return found;
}

/*
 * Add a file's rows to the table, not to its indexes, as the table's owner.
 * With replace those that are there already go first.  No triggers are fired,
 * but CHECKs and foreign keys hold; what is unique, the indexes will tell.
 */
static void
load_table(CfpVerify *verify, const CfpManifest *manifest, const char *name,
		   const CfpCopySums *sums, Oid relid, bool replace)
{
	Relation	rel = table_open(relid, NoLock);
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *target = makeNode(ResultRelInfo);
	TupleTableSlot **slots = palloc(sizeof(TupleTableSlot *) * BATCH_ROWS);
	BulkInsertState bistate = GetBulkInsertState();
	bool		generated = rel->rd_att->constr && rel->rd_att->constr->has_generated_stored;
	Datum		frozen = FullTransactionIdGetDatum(FullTransactionIdFromEpochAndXid(0, FrozenTransactionId));
	CfpOwner	owner;
	CopyFromState copy;
	int64		rows = 0;
	bool		more = true;
	bool		foreign_keys;

	Assert(CheckRelationLockedByMe(rel, AccessExclusiveLock, false));
	cfp_owner_enter(rel->rd_rel->relowner, &owner);
	InitResultRelInfo(target, rel, 0, NULL, 0);
	estate->es_opened_result_relations = list_make1(target);
	foreign_keys = only_foreign_keys(target->ri_TrigDesc);
	for (int i = 0; i < BATCH_ROWS; i++)
		slots[i] = table_slot_create(rel, NULL);

	loading = cfp_copy_open(cfp_date_file(manifest->date, name), manifest->compressed);
	copy = begin_copy(rel);
	while (more)
	{
		MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
		int			n = 0;

		while (n < BATCH_ROWS && MemoryContextMemAllocated(CurrentMemoryContext, false) < BATCH_BYTES)
		{
			TupleTableSlot *slot = slots[n];

			ExecClearTuple(slot);
			more = NextCopyFrom(copy, GetPerTupleExprContext(estate),
								slot->tts_values, slot->tts_isnull);
			if (!more)
				break;
			slot->tts_values[CFP_COL_TXID] = frozen;
			ExecStoreVirtualTuple(slot);
			slot->tts_tableOid = relid;
			if (generated)
				ExecComputeStoredGenerated(target, estate, slot, CMD_INSERT);
			if (rel->rd_att->constr)
				ExecConstraints(target, slot, estate);
			n++;
			cfp_verified_row(verify);
		}
		if (n > 0 && replace)
			remove_same(slots, n);
		if (n > 0)
			table_multi_insert(rel, slots, n, GetCurrentCommandId(true),
							   TABLE_INSERT_SKIP_FSM, bistate);
		rows += n;
		MemoryContextSwitchTo(old);
		if (foreign_keys && n > 0)
		{
			AfterTriggerBeginQuery();
			for (int i = 0; i < n; i++)
				ExecARInsertTriggers(estate, target, slots[i], NIL, NULL);
			AfterTriggerEndQuery(estate);
		}
		for (int i = 0; i < n; i++)
			ExecClearTuple(slots[i]);
		ResetPerTupleExprContext(estate);
		CHECK_FOR_INTERRUPTS();
	}
	EndCopyFrom(copy);
	cfp_copy_check(loading, rows, sums);

	FreeBulkInsertState(bistate);
	table_finish_bulk_insert(rel, TABLE_INSERT_SKIP_FSM);
	for (int i = 0; i < BATCH_ROWS; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	ExecResetTupleTable(estate->es_tupleTable, false);	/* of triggers */
	FreeExecutorState(estate);
	table_close(rel, NoLock);
	cfp_owner_leave(&owner);
}

/* TRUNCATE, as the table's owner. */
static void
truncate_table(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	CfpOwner	owner;

	Assert(CheckRelationLockedByMe(rel, AccessExclusiveLock, false));
	CheckTableNotInUse(rel, "TRUNCATE");
	cfp_owner_enter(rel->rd_rel->relowner, &owner);
	cfp_truncate(rel);
	cfp_owner_leave(&owner);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * Of rows of one name and version the one that was loaded first stays.  The
 * indexes have not got the rows.  Returns how many have gone.
 */
static uint64
delete_twice(Oid relid)
{
	Relation	history = table_open(relid, NoLock);
	TupleDesc	desc = cfp_item_version_columns(5);
	AttrNumber	columns[] = {1, 2, 3, 4, 5};
	Oid			operators[] = {TextLessOperator, TextLessOperator, TextLessOperator, Int4LessOperator, TIDLessOperator};
	Oid			collations[] = {C_COLLATION_OID, C_COLLATION_OID, C_COLLATION_OID, InvalidOid, InvalidOid};
	bool		nulls_first[5] = {0};
	TupleTableSlot *row = table_slot_create(history, NULL);
	TupleTableSlot *entry;
	TupleTableSlot *first;
	Tuplesortstate *sort;
	TableScanDesc scan;
	CfpTableWriter *writer;
	uint64		deleted = 0;

	TupleDescInitEntry(desc, 5, "ctid", TIDOID, -1, 0);
	entry = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	sort = tuplesort_begin_heap(desc, 5, columns, operators, collations, nulls_first,
								maintenance_work_mem, NULL, TUPLESORT_NONE);
	PushActiveSnapshot(GetLatestSnapshot());
	scan = table_beginscan(history, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, row))
	{
		CHECK_FOR_INTERRUPTS();
		ExecClearTuple(entry);
		slot_getsomeattrs(row, CFP_COL_VERSION + 1);
		for (int i = 0; i < 3; i++)
			entry->tts_values[i] = row->tts_values[CFP_COL_KEY + i];
		entry->tts_values[3] = row->tts_values[CFP_COL_VERSION];
		entry->tts_values[4] = PointerGetDatum(&row->tts_tid);
		memset(entry->tts_isnull, false, 5 * sizeof(bool));
		ExecStoreVirtualTuple(entry);
		tuplesort_puttupleslot(sort, entry);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(entry);
	ExecDropSingleTupleTableSlot(row);

	tuplesort_performsort(sort);
	entry = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	first = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	writer = cfp_writer_begin(relid, 1 << CMD_DELETE);
	while (tuplesort_gettupleslot(sort, true, true, entry, NULL))
	{
		slot_getallattrs(entry);
		if (!TTS_EMPTY(first) && same_names(entry->tts_values, first->tts_values, CFP_NAME_COLUMNS) &&
			DatumGetInt32(entry->tts_values[3]) == DatumGetInt32(first->tts_values[3]))
		{
			cfp_writer_delete(writer, (ItemPointer) DatumGetPointer(entry->tts_values[4]));
			deleted++;
		}
		else
		{
			ExecCopySlot(first, entry);
			slot_getallattrs(first);
		}
	}
	cfp_writer_end(writer);
	tuplesort_end(sort);
	ExecDropSingleTupleTableSlot(entry);
	ExecDropSingleTupleTableSlot(first);
	PopActiveSnapshot();
	table_close(history, NoLock);
	return deleted;
}

static void
reindex_table(void *relid)
{
	cfp_reindex_table(*(Oid *) relid);
}

/*
 * Make the indexes of the history, as its owner.  Its rows come from the newest
 * backup first, so where two have one name and version, as in backups of older
 * builds, the newer one stays: what is wrong with one record must not cost all
 * of them.
 */
static void
reindex_history_once(Oid history)
{
	ErrorData  *error = cfp_attempt(reindex_table, &history);
	uint64		deleted;

	if (error == NULL)
		return;
	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
		ReThrowError(error);

	deleted = delete_twice(history);
	if (deleted == 0)
		ReThrowError(error);
	CommandCounterIncrement();
	cfp_reindex_table(history);
	cfp_job_warn(psprintf("the backups have " UINT64_FORMAT " records of the name and version of another one; "
						  "the newer were taken", deleted));
}

/* Lock the tables against everybody, as a change by hand. */
static void
lock_tables(void)
{
	CfpTables	tables = *cfp_tables();

	LockRelationOid(tables.history, AccessExclusiveLock);
	LockRelationOid(tables.latest, AccessExclusiveLock);
	cfp_gate_pass();
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
}

int64
cfp_restore_backup_job(const CfpJobArgs *args)
{
	CfpVerify	verify;
	CfpManifest *manifest = &verify.manifest;
	CfpTables	tables;
	int64		verified;
	ListCell   *lc;

	Assert(!IsTransactionState());
	cfp_worker_begin(false, false);
	cfp_refuse_references();
	cfp_worker_commit();

	cfp_worker_begin(false, false);
	cfp_verify_begin(&verify, args->from);
	verify.total = manifest->latest.rows;
	foreach(lc, verify.history)
		verify.total += ((CfpManifest *) lfirst(lc))->history.rows;
	verify.total *= 2;			/* verified, then loaded */
	cfp_verify_progress(&verify);
	cfp_verify_all(&verify);
	verified = verify.done;
	cfp_verify_progress(&verify);

	if (manifest->other_incarnation)
		cfp_job_warn("the backup was made before the extension was dropped and created again");
	lock_tables();
	cfp_forget_restore(manifest->date, manifest->snapshot);

	/*
	 * Backups made after this one, and before now, are of a past that is
	 * given up.
	 */
	cfp_state_save_restored(manifest->date);
	cfp_statement_run(&floors_level, NULL, NULL);
	if (args->discard_newer && !verify.broken)
		discard_newer(&verify);
	else
		look_for_newer(&verify, args->discard_newer);
	tuplesort_end(verify.known);

	tables = *cfp_tables();
	truncate_table(tables.latest);
	if (!verify.broken)
		truncate_table(tables.history);
	load_table(&verify, manifest, CFP_LATEST_BACKUP, &manifest->latest, tables.latest, false);
	foreach(lc, verify.history)
	{
		const CfpManifest *link = lfirst(lc);

		load_table(&verify, link, CFP_HISTORY_BACKUP, &link->history, tables.history,
				   verify.broken);
	}
	cfp_verify_progress(&verify);
	CommandCounterIncrement();
	/* The server does it as the table's owner. */
	cfp_reindex_table(tables.latest);
	cfp_verify_warn(&verify, true);
	if (verify.history != NIL)
		reindex_history_once(tables.history);
	cfp_worker_commit();
	return verify.done - verified;
}
