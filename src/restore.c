/*-------------------------------------------------------------------------
 *
 * restore.c
 *		Verifying a backup, and bringing the storage tables back to one.
 *
 * cfp_verify_backup() and cfp_restore_backup() ask the job worker (jobs.c),
 * which runs the two jobs here.
 *
 * Restoring is one transaction.  First all files are verified, and meanwhile,
 * unless newer records may go, the version each item has in them is noted in
 * a sort.  Only then are the tables locked, and the sort is compared with
 * them.  The tables are emptied, loaded as heaps, and reindexed.  The rows get
 * the frozen txid, as whatever was not stored here.
 *
 * The history of a backup that builds on others is the history of all of them
 * back to a full one.  Where that chain is broken the history cannot be loaded
 * whole: then it keeps what it has, but for what is newer than the backup, and
 * the rows of the files there are replace its own.
 *
 * To those who store and read, this is a change by hand (gate.c): they wait,
 * the cache is dropped, and the worker compares the tables afterwards.
 *
 * Locks: ACCESS EXCLUSIVE on storage_history, then storage_latest, then the
 * gate.  The snapshot is taken after them.
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type.h"
#include "commands/copy.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"
#include "utils/xid8.h"

#include "backup.h"
#include "day_dir.h"
#include "gate.h"
#include "jobs.h"
#include "record.h"
#include "sql_api.h"
#include "tables.h"
#include "worker.h"

#define BATCH_ROWS			1000	/* handed to the table at once, at most */
#define BATCH_BYTES			(1024 * 1024)	/* and so much memory, roughly */
#define PROGRESS_ROWS		10000	/* between two reports */

PG_FUNCTION_INFO_V1(cfp_verify_backup);
PG_FUNCTION_INFO_V1(cfp_restore_backup);

/* The state of one job. */
typedef struct Restore
{
	CfpManifest manifest;		/* of the date asked for */
	List	   *history;		/* of CfpManifest: the dates whose history
								 * counts, newest first */
	bool		broken;			/* they do not go back to a full one */
	int64		done;			/* rows */
	int64		total;
	Tuplesortstate *known;		/* items of the files; NULL: not needed */
	TupleTableSlot *known_slot; /* what goes into it */
	TupleTableSlot *known_next; /* what comes out of it */
} Restore;

/* An item of the sort or of the tables. */
typedef struct ItemVersion
{
	text	   *name[3];
	int32		version;
} ItemVersion;

static CfpStatement truncate_both = {
	.sql = "TRUNCATE @schema@.storage_history, @schema@.storage_latest",
};

static CfpStatement truncate_latest = {
	.sql = "TRUNCATE @schema@.storage_latest",
};

static CfpStatement reindex_history = {
	.sql = "REINDEX TABLE @schema@.storage_history",
};

static CfpStatement reindex_latest = {
	.sql = "REINDEX TABLE @schema@.storage_latest",
};

static CfpStatement delete_newer = {
	.sql = "DELETE FROM @schema@.storage_history"
	" WHERE key = $1 AND collection_name = $2 AND item_name = $3 AND version > $4",
	.nargs = 4,
	.argtypes = {TEXTOID, TEXTOID, TEXTOID, INT4OID},
};

static CfpStatement delete_same = {
	.sql = "DELETE FROM @schema@.storage_history h"
	" USING unnest($1, $2, $3, $4) AS u(k, c, i, v)"
	" WHERE h.key = u.k AND h.collection_name = u.c AND h.item_name = u.i AND h.version = u.v",
	.nargs = 4,
	.argtypes = {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID},
};

/*-------------------------------------------------------------------------
 * Which files
 *-------------------------------------------------------------------------
 */

/* The dates that have a backup, for an error's DETAIL. */
static char *
backups_there_are(void)
{
	StringInfoData text;
	List	   *dates = cfp_list_backups();
	ListCell   *lc;

	if (dates == NIL)
		return pstrdup("There is no backup of this database.");
	initStringInfo(&text);
	appendStringInfoString(&text, "There are backups of:");
	foreach(lc, dates)
		appendStringInfo(&text, " %s", cfp_date_text(lfirst_int(lc)));
	appendStringInfoChar(&text, '.');
	return text.data;
}

/* The manifest of the date asked for.  Throws 58P01 or XX001. */
static void
required_manifest(DateADT date, CfpManifest *manifest)
{
	char	   *problem;

	if (cfp_read_manifest(date, manifest, &problem))
		return;
	if (problem == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("there is no complete backup of %s", cfp_date_text(date)),
				 errdetail_internal("%s", backups_there_are())));
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("cannot use manifest \"%s\"", cfp_date_file(date, CFP_MANIFEST_FILE)),
			 errdetail_internal("%s", problem),
			 errhint("Use the backup of another date, or restore its files by hand with COPY.")));
}

/* Follow the chain back from the date asked for. */
static void
find_history(Restore *restore)
{
	bool		whole;

	restore->history = cfp_backup_chain(&restore->manifest, &whole);
	restore->broken = !whole;
}

/* Tell the asker from where on the history is that of the backups. */
static void
warn_if_broken(const Restore *restore, bool restoring)
{
	const CfpManifest *first;

	if (!restore->broken)
		return;
	if (restore->history == NIL)
	{
		if (restoring)
			cfp_job_warn("the backup has no storage_history: the history keeps what it has");
		return;
	}
	first = llast(restore->history);
	cfp_job_warn(psprintf("the backup builds on that of %s, which is missing or damaged: "
						  "its history begins with the records of %s%s",
						  cfp_date_text(first->builds_on), cfp_date_text(first->date),
						  restoring ? "; of earlier ones the table keeps what it has" : ""));
}

/* Files that are damaged may have more rows than their manifests say. */
static void
report_progress(const Restore *restore)
{
	cfp_job_progress(restore->done, Max(restore->done, restore->total));
}

static void
note_row(Restore *restore)
{
	if (++restore->done % PROGRESS_ROWS == 0)
		report_progress(restore);
}

/*-------------------------------------------------------------------------
 * Verifying
 *-------------------------------------------------------------------------
 */

/* Note the item of a row in the sort. */
static void
know_item(Restore *restore, const CfpCopyField *fields)
{
	TupleTableSlot *slot = restore->known_slot;
	uint32		version;

	ExecClearTuple(slot);
	for (int i = 0; i < 3; i++)
	{
		slot->tts_values[i] =
			PointerGetDatum(cstring_to_text_with_len(fields[CFP_COL_KEY + i].data,
													 fields[CFP_COL_KEY + i].len));
		slot->tts_isnull[i] = false;
	}
	memcpy(&version, fields[CFP_COL_VERSION].data, sizeof(version));
	slot->tts_values[3] = Int32GetDatum((int32) pg_ntoh32(version));
	slot->tts_isnull[3] = false;
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(restore->known, slot);
	for (int i = 0; i < 3; i++)
		pfree(DatumGetPointer(slot->tts_values[i]));
}

/* Are the columns that know_item() reads what they must be? */
static bool
names_item(const CfpCopyField *fields)
{
	return fields[CFP_COL_KEY].len >= 0 && fields[CFP_COL_COLLECTION].len >= 0 &&
		fields[CFP_COL_ITEM].len >= 0 && fields[CFP_COL_VERSION].len == sizeof(int32);
}

/* Throws 58P01 or XX001 with the file's name. */
static void
verify_file(Restore *restore, const CfpManifest *manifest, const char *name,
			const CfpCopySums *sums)
{
	char	   *path = cfp_date_file(manifest->date, name);
	CfpCopyReader *reader = cfp_copy_open(path, manifest->compressed);
	CfpCopyField fields[CFP_NCOLS];
	int64		rows = 0;

	while (cfp_copy_next_row(reader, fields))
	{
		if (!names_item(fields))
			cfp_copy_damaged(path, "A row has no name or no version.");
		if (restore->known != NULL)
			know_item(restore, fields);
		rows++;
		note_row(restore);
	}
	cfp_copy_check(reader, rows, sums);
}

int64
cfp_verify_backup_job(const CfpJobArgs *args)
{
	Restore		restore = {0};
	CfpManifest *manifest = &restore.manifest;

	cfp_worker_begin(false, false);
	required_manifest(args->from, manifest);
	find_history(&restore);
	restore.total = manifest->latest.rows + manifest->history.rows;
	report_progress(&restore);

	verify_file(&restore, manifest, CFP_LATEST_BACKUP, &manifest->latest);
	if (manifest->history_kind != CFP_BACKUP_KIND_OFF)
		verify_file(&restore, manifest, CFP_HISTORY_BACKUP, &manifest->history);
	warn_if_broken(&restore, false);
	cfp_worker_commit();
	return restore.done;
}

/* Verify all that will be loaded, noting the items if they will be compared. */
static void
verify_all(Restore *restore, bool compare)
{
	ListCell   *lc;

	if (compare)
	{
		TupleDesc	desc = CreateTemplateTupleDesc(4);
		AttrNumber	columns[] = {1, 2, 3, 4};
		Oid			operators[] = {TextLessOperator, TextLessOperator, TextLessOperator, Int4LessOperator};
		Oid			collations[] = {C_COLLATION_OID, C_COLLATION_OID, C_COLLATION_OID, InvalidOid};
		bool		nulls_first[4] = {0};

		TupleDescInitEntry(desc, 1, "key", TEXTOID, -1, 0);
		TupleDescInitEntry(desc, 2, "collection_name", TEXTOID, -1, 0);
		TupleDescInitEntry(desc, 3, "item_name", TEXTOID, -1, 0);
		TupleDescInitEntry(desc, 4, "version", INT4OID, -1, 0);
		restore->known_slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
		restore->known_next = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
		restore->known = tuplesort_begin_heap(desc, 4, columns, operators, collations,
											  nulls_first, maintenance_work_mem, NULL,
											  TUPLESORT_NONE);
	}
	verify_file(restore, &restore->manifest, CFP_LATEST_BACKUP, &restore->manifest.latest);
	foreach(lc, restore->history)
	{
		const CfpManifest *manifest = lfirst(lc);

		verify_file(restore, manifest, CFP_HISTORY_BACKUP, &manifest->history);
	}
}

/*-------------------------------------------------------------------------
 * Newer records
 *-------------------------------------------------------------------------
 */

static int
compare_items(const ItemVersion *a, const ItemVersion *b)
{
	int			cmp = 0;

	for (int i = 0; i < 3 && cmp == 0; i++)
		cmp = cfp_compare_names(VARDATA_ANY(a->name[i]), VARSIZE_ANY_EXHDR(a->name[i]),
								VARDATA_ANY(b->name[i]), VARSIZE_ANY_EXHDR(b->name[i]));
	return cmp;
}

/* The next of the sort; false after the last.  Its names are good until then. */
static bool
next_known(Restore *restore, ItemVersion *item)
{
	TupleTableSlot *slot = restore->known_next;

	if (!tuplesort_gettupleslot(restore->known, true, false, slot, NULL))
		return false;
	slot_getallattrs(slot);
	for (int i = 0; i < 3; i++)
		item->name[i] = DatumGetTextPP(slot->tts_values[i]);
	item->version = DatumGetInt32(slot->tts_values[3]);
	return true;
}

/* Remove the item's records above this version from the history. */
static void
discard_item(const ItemVersion *item, int32 version)
{
	Datum		values[4];

	for (int i = 0; i < 3; i++)
		values[i] = PointerGetDatum(item->name[i]);
	values[3] = Int32GetDatum(version);
	cfp_statement_run(&delete_newer, values, NULL);
}

/*
 * The number of items of which the tables have a higher version than the
 * backup; with discard, their newer records leave the history.  Both sides
 * come in the order of their names.
 */
static int64
newer_items(Restore *restore, bool discard)
{
	const char *schema = quote_identifier(get_namespace_name(cfp_tables()->schema));
	char	   *sql = psprintf("SELECT key, collection_name, item_name, max(version) FROM"
							   " (SELECT key, collection_name, item_name, version FROM %s.storage_history"
							   " UNION ALL"
							   " SELECT key, collection_name, item_name, version FROM %s.storage_latest) t"
							   " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3", schema, schema);
	Portal		portal;
	ItemVersion known;
	bool		have_known;
	int64		newer = 0;

	tuplesort_performsort(restore->known);
	have_known = next_known(restore, &known);
	portal = SPI_cursor_open_with_args(NULL, sql, 0, NULL, NULL, NULL, false, 0);
	for (;;)
	{
		SPITupleTable *rows;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, BATCH_ROWS);
		rows = SPI_tuptable;
		if (SPI_processed == 0)
			break;
		for (uint64 r = 0; r < rows->numvals; r++)
		{
			ItemVersion item;
			int32		version = 0;
			bool		isnull;

			for (int i = 0; i < 3; i++)
				item.name[i] = DatumGetTextPP(SPI_getbinval(rows->vals[r], rows->tupdesc, i + 1, &isnull));
			item.version = DatumGetInt32(SPI_getbinval(rows->vals[r], rows->tupdesc, 4, &isnull));

			/* The last of equal ones is the highest. */
			while (have_known)
			{
				int			cmp = compare_items(&known, &item);

				if (cmp > 0)
					break;
				if (cmp == 0)
					version = known.version;
				have_known = next_known(restore, &known);
			}
			if (item.version > version)
			{
				newer++;
				if (discard)
					discard_item(&item, version);
			}
		}
		SPI_freetuptable(rows);
	}
	SPI_cursor_close(portal);
	return newer;
}

/*
 * Throws 55000 when the tables have what the backup has not, and when they
 * cannot be read says what helps.
 */
static void
look_for_newer(Restore *restore, bool discard)
{
	MemoryContext context = CurrentMemoryContext;
	int64		newer = 0;

	PG_TRY();
	{
		newer = newer_items(restore, discard);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INTERNAL_ERROR ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_SYSTEM_ERROR)
			error->hint = restore->broken ?
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
							   cfp_date_text(restore->manifest.date), (long long) newer),
				 errhint("Call it with discard_newer := true to lose them. Those in day files can be brought back with cfp_rebuild_history_from_wal().")));
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

/* Remove the rows of the history that these will replace. */
static void
remove_same(TupleTableSlot **slots, int n)
{
	Datum		values[4];
	Datum	   *elements = palloc(sizeof(Datum) * n);

	for (int i = 0; i < 4; i++)
	{
		int			column = i < 3 ? CFP_COL_KEY + i : CFP_COL_VERSION;

		for (int row = 0; row < n; row++)
			elements[row] = slots[row]->tts_values[column];
		values[i] = PointerGetDatum(i < 3 ?
									construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT) :
									construct_array(elements, n, INT4OID, 4, true, TYPALIGN_INT));
	}
	cfp_statement_run(&delete_same, values, NULL);
}

/*
 * Add a file's rows to the table, not to its indexes.  With replace those
 * that are there already go first, found by the primary key as it was before.
 */
static void
load_table(Restore *restore, const CfpManifest *manifest, const char *name,
		  const CfpCopySums *sums, Oid relid, bool replace)
{
	Relation	rel = table_open(relid, NoLock);
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *target = makeNode(ResultRelInfo);
	TupleTableSlot **slots = palloc(sizeof(TupleTableSlot *) * BATCH_ROWS);
	BulkInsertState bistate = GetBulkInsertState();
	bool		generated = rel->rd_att->constr && rel->rd_att->constr->has_generated_stored;
	Datum		frozen = FullTransactionIdGetDatum(FullTransactionIdFromEpochAndXid(0, FrozenTransactionId));
	CopyFromState copy;
	int64		rows = 0;
	bool		more = true;

	InitResultRelInfo(target, rel, 0, NULL, 0);
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
			note_row(restore);
		}
		if (n > 0 && replace)
			remove_same(slots, n);
		if (n > 0)
			table_multi_insert(rel, slots, n, GetCurrentCommandId(true),
							   TABLE_INSERT_SKIP_FSM, bistate);
		rows += n;
		MemoryContextSwitchTo(old);
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
	FreeExecutorState(estate);
	table_close(rel, NoLock);
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
	Restore		restore = {0};
	CfpManifest *manifest = &restore.manifest;
	CfpTables	tables;
	int64		verified;
	bool		compare;
	ListCell   *lc;

	cfp_worker_begin(false, false);
	required_manifest(args->from, manifest);
	find_history(&restore);
	compare = !args->discard_newer || restore.broken;
	restore.total = manifest->latest.rows;
	foreach(lc, restore.history)
		restore.total += ((CfpManifest *) lfirst(lc))->history.rows;
	restore.total *= 2;			/* verified, then loaded */
	report_progress(&restore);
	verify_all(&restore, compare);
	verified = restore.done;
	report_progress(&restore);

	lock_tables();
	if (compare)
	{
		look_for_newer(&restore, args->discard_newer);
		tuplesort_end(restore.known);
	}

	/* COPY's binary format is in the client's encoding. */
	cfp_set_local("client_encoding", GetDatabaseEncodingName());
	tables = *cfp_tables();
	cfp_statement_run(restore.broken ? &truncate_latest : &truncate_both, NULL, NULL);
	load_table(&restore, manifest, CFP_LATEST_BACKUP, &manifest->latest, tables.latest, false);
	foreach(lc, restore.history)
	{
		const CfpManifest *link = lfirst(lc);

		load_table(&restore, link, CFP_HISTORY_BACKUP, &link->history, tables.history,
				  restore.broken);
	}
	report_progress(&restore);
	CommandCounterIncrement();
	cfp_statement_run(&reindex_latest, NULL, NULL);
	if (restore.history != NIL)
		cfp_statement_run(&reindex_history, NULL, NULL);
	warn_if_broken(&restore, true);
	cfp_worker_commit();
	return restore.done - verified;
}

/*-------------------------------------------------------------------------
 * SQL functions
 *-------------------------------------------------------------------------
 */

/* cfp_verify_backup(date): rows */
Datum
cfp_verify_backup(PG_FUNCTION_ARGS)
{
	CfpJobArgs	args = {0};

	cfp_require_preload();
	args.from = cfp_date_argument(fcinfo, 0);
	PG_RETURN_INT64(cfp_job_run(CFP_JOB_VERIFY_BACKUP, &args));
}

/*
 * What the restore will discard should be in the day files, as far as the
 * tables can still be read.
 */
static void
flush_before_discarding(void)
{
	CfpRequest	outcome;

	cfp_request_outcome(CFP_REQUEST_FLUSH, &outcome);
	if (outcome.state == CFP_REQUEST_FAILED)
		ereport(WARNING,
				(errmsg("could not flush before restoring: %s", outcome.message),
				 errdetail("What was committed since the last flush is in no day file, and is discarded.")));
}

/* cfp_restore_backup(date, discard_newer): rows */
Datum
cfp_restore_backup(PG_FUNCTION_ARGS)
{
	CfpJobArgs	args = {0};
	int64		rows;

	cfp_require_preload();
	args.from = cfp_date_argument(fcinfo, 0);
	args.discard_newer = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	if (args.discard_newer)
		flush_before_discarding();
	rows = cfp_job_run(CFP_JOB_RESTORE_BACKUP, &args);
	(void) cfp_request(CFP_REQUEST_RECONCILE);
	PG_RETURN_INT64(rows);
}
