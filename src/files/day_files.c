/*-------------------------------------------------------------------------
 *
 * day_files.c
 *		The day files: every record that was flushed, once, in order.
 *
 * Called by flush.c in the worker, within the flush's transaction.  The row
 * 'files' of cfp_state says what the files have (a snapshot, which flush.c
 * compares with its own) and where they end: date, number of the last file,
 * its length.  The row is saved in the transaction whose records were written
 * and synced before, so the files never have less than the row says.  How the
 * disk is brought to that, and written, is day_disk.c; here is what goes into
 * the files, and what becomes of it when there is trouble.
 *
 * What is beyond the row is looked for before the first write of a worker, and
 * after a flush that failed.  A row of another cluster or database, or none: a
 * new file is begun, and nothing removed.
 *
 * A record belongs to the date that is open when it is written.  The close of
 * day switches the date by changing the row, between two flushes; not while
 * the disk may have more than was saved, which only the row tells: then the
 * first flush that finds the files working goes on with the open date.
 *
 * Within a flush records come in the order of updated_at and version, and what
 * was given up meanwhile (forget.c) comes between those that it is about and
 * those stored later, whatever the clock says.  It leaves cfp_forgotten in the
 * flush's transaction.  While cfp.wal_files is off it waits there, as long as
 * there is a day file; that records come into none is noted there as well.
 *
 * Trouble with the files must not stop the flush, nor must their sort.  What
 * touches them runs in a subtransaction; an error in it is logged (the same
 * one once a minute) and kept for cfp_stat, the disk is put back, the row
 * stays as it is, and so a later flush finds the missing records by the row's
 * snapshot.  It is tried after 1 s, doubling to 60 s, when somebody asks for a
 * flush, and when the lock on cfp.base_dir is got.
 *
 * One flush has one CfpDayFiles, in the memory of the worker's turn, since it
 * is asked once more when the transaction has committed.  What outlives the
 * flush is in `worker`.
 *
 * Locks: none of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

#include "base/attempt.h"
#include "base/process.h"
#include "base/retry.h"
#include "base/settings.h"
#include "base/transcode.h"
#include "files/day_dir.h"
#include "files/day_disk_int.h"
#include "files/day_files.h"
#include "files/instance_lock.h"
#include "record/forgotten.h"
#include "record/line_format.h"
#include "record/line_write.h"
#include "record/record.h"
#include "shared/database.h"
#include "tables/days.h"
#include "tables/forget.h"
#include "tables/state.h"
#include "tables/statement.h"

#define FORGETS				1000	/* read at once */

/* What one transaction has given up. */
typedef struct ForgetGroup
{
	Datum		seen;			/* as text */
	CfpSeen		before;			/* `seen`, taken apart */
	int64		first_id;
	int64		last_id;
} ForgetGroup;

/* How far the flush has come with the files; each is asked in its turn. */
typedef enum FilesStage
{
	FILES_BEGUN,				/* takes records */
	FILES_WRITTEN,				/* cfp_day_files_write() was called */
	FILES_SAVED					/* so was cfp_day_files_save() */
} FilesStage;

/* The files in one flush. */
struct CfpDayFiles
{
	FilesStage	stage;
	CfpDayDisk	disk;
	bool		taking;			/* records are written, not only counted */
	bool		unwanted;		/* cfp.wal_files is off */
	int64		nadded;
	ForgetGroup *groups;		/* in the order of id, which is that of `seen` */
	int			ngroups;
	bool		file_found;		/* by look_for_file() */
	bool		gap_noted;		/* the last is that records come into no file */
	Tuplesortstate *sort;		/* NULL: nothing to write */
	ResourceOwner sort_owner;	/* of its temporary files */
	MemoryContext sort_context;
	TupleDesc	descriptor;
	TupleTableSlot *segmented;	/* with groups: what goes into the sort */
};

/* What the worker remembers between flushes. */
static struct
{
	bool		as_saved;		/* files beyond the row are gone */
	int64		behind;			/* records missing in the files; -1 unknown */
	CfpBackoff	backoff;
	bool		waits_for_lock; /* it was missing when there was trouble */
	CfpLogged	logged;
}			worker = {.behind = -1};

static CfpStatement forget_groups = {
	.table = "cfp_forgotten",
	.sql = "SELECT seen::text, min(id), max(id), (array_agg(kind ORDER BY id DESC))[1] = 'gap'"
	" FROM @schema@.cfp_forgotten GROUP BY seen::text ORDER BY 2",
};

static CfpStatement forget_read = {
	.table = "cfp_forgotten",
	.sql = "SELECT " CFP_FORGET_READ " FROM @schema@.cfp_forgotten"
	" WHERE id > $1 AND id <= $2 AND seen::text = $3"
	" ORDER BY id LIMIT " CppAsString2(FORGETS),
	.nargs = 3,
	.argtypes = {INT8OID, INT8OID, TEXTOID},
};

static CfpStatement forget_clear = {
	.table = "cfp_forgotten",
	.sql = "DELETE FROM @schema@.cfp_forgotten",
};

/*-------------------------------------------------------------------------
 * Trouble
 *-------------------------------------------------------------------------
 */

/* Log the error, keep it for cfp_stat, and set the time to try again. */
static void
note_trouble(const ErrorData *error)
{
	CfpDatabase *db = cfp_my_database();
	TimestampTz now = GetCurrentTimestamp();
	const char *message = cfp_valid_text(error->message);

	cfp_backoff_failed(&worker.backoff, now);
	worker.waits_for_lock = !cfp_instance_lock_held();

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	cfp_clip_text(db->wal_error, sizeof(db->wal_error), message);
	db->wal_error_at = now;
	LWLockRelease(&db->lock);

	if (!cfp_log_again(&worker.logged, error->message, now))
		return;
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("cfp: day files are not written: %s", error->message),
			 error->detail != NULL ? errdetail_internal("%s", error->detail) : 0,
			 error->hint != NULL ? errhint("%s", error->hint) :
			 errhint("Stores and reads go on. The files are completed from storage_history when this is remedied.")));
}

/* Do what touches files.  False when there was trouble; open files are then closed. */
static bool
do_guarded(CfpDayFiles *files, void (*step) (void *files))
{
	ErrorData  *error = cfp_attempt(step, files);

	if (error == NULL)
		return true;
	/* At a shutdown the launcher may be gone, and the lock with it. */
	if (!ShutdownRequestPending || cfp_instance_lock_held())
		note_trouble(error);
	return false;
}

TimestampTz
cfp_day_files_due(TimestampTz now)
{
	if (worker.backoff.wait == 0 || !cfp_wal_files)
		return 0;
	if ((worker.waits_for_lock && cfp_instance_lock_held()) ||
		cfp_backoff_over(&worker.backoff, now))
		return now;
	return worker.backoff.at;
}

bool
cfp_day_files_as_saved(void)
{
	return worker.as_saved || !cfp_wal_files;
}

void
cfp_day_files_retry(void)
{
	worker.backoff.at = 0;
}

/*-------------------------------------------------------------------------
 * What there is
 *-------------------------------------------------------------------------
 */

static void
read_end(CfpStateFiles *saved)
{
	cfp_state_read_files(saved);
	/* The count is of the date. */
	if (saved->file == 0)
		saved->records = 0;
}

/* What waits in cfp_forgotten. */
static void
read_groups(CfpDayFiles *files)
{
	bool		isnull;

	files->ngroups = cfp_statement_run(&forget_groups, NULL, NULL);
	files->gap_noted = false;
	files->groups = NULL;
	if (files->ngroups == 0)
		return;
	files->groups = palloc(files->ngroups * sizeof(ForgetGroup));
	for (int i = 0; i < files->ngroups; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Datum		seen = SPI_getbinval(row, desc, 1, &isnull);

		files->groups[i].seen = PointerGetDatum(DatumGetTextPCopy(seen));
		cfp_seen_parse(&files->groups[i].before, TextDatumGetCString(seen));
		files->groups[i].first_id = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
		files->groups[i].last_id = DatumGetInt64(SPI_getbinval(row, desc, 3, &isnull));
		files->gap_noted = DatumGetBool(SPI_getbinval(row, desc, 4, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Is there a day file at all? */
static void
look_for_file(void *arg)
{
	CfpDayFiles *files = arg;
	ListCell   *lc;

	files->file_found = false;
	foreach(lc, cfp_list_date_dirs())
		files->file_found |= cfp_list_day_files(lfirst_int(lc)) != NIL;
}

/* May files be written, and is the disk as the row says? */
static void
prepare_files(void *arg)
{
	CfpDayDisk *disk = &((CfpDayFiles *) arg)->disk;

	cfp_require_instance_lock(disk->end.date);
	if (!worker.as_saved)
	{
		(void) cfp_make_date_dir(disk->end.date);
		if (disk->saved.ours)
			cfp_disk_remove_unsaved(disk);
		worker.as_saved = true;
	}
	cfp_disk_require_space(disk);
}

CfpDayFiles *
cfp_day_files_begin(void)
{
	CfpDayFiles *files = MemoryContextAllocZero(cfp_worker_context, sizeof(CfpDayFiles));
	TimestampTz now = GetCurrentTimestamp();
	DateADT		open;

	Assert(ActiveSnapshotSet());
	files->unwanted = !cfp_wal_files;
	read_end(&files->disk.saved);
	read_groups(files);
	files->disk.end = files->disk.saved;
	if (files->unwanted)
		return files;
	open = cfp_open_date();
	if (!files->disk.saved.ours || files->disk.saved.date < open)
	{
		memset(&files->disk.end, 0, sizeof(files->disk.end));
		files->disk.end.date = open;
	}

	if (cfp_day_files_due(now) <= now)
		files->taking = do_guarded(files, prepare_files);
	return files;
}

bool
cfp_day_files_wanting(const CfpDayFiles *files)
{
	return files->taking || !(files->unwanted || worker.behind >= 0);
}

/*-------------------------------------------------------------------------
 * The records
 *-------------------------------------------------------------------------
 */

static void
begin_sort(CfpDayFiles *files, TupleTableSlot *slot)
{
	int			natts = slot->tts_tupleDescriptor->natts;
	int			first = files->ngroups > 0 ? 0 : 1; /* no segments without
													 * groups */
	AttrNumber	columns[] = {natts + 1, CFP_COL_UPDATED_AT + 1, CFP_COL_VERSION + 1};
	Oid			integer_lt = lookup_type_cache(INT4OID, TYPECACHE_LT_OPR)->lt_opr;
	Oid			operators[] = {
		integer_lt,
		lookup_type_cache(TIMESTAMPTZOID, TYPECACHE_LT_OPR)->lt_opr,
		integer_lt
	};
	Oid			collations[] = {InvalidOid, InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false, false};
	MemoryContext old;

	StaticAssertStmt(lengthof(columns) == lengthof(operators) &&
					 lengthof(columns) == lengthof(collations) &&
					 lengthof(columns) == lengthof(nulls_first), "one of each for a column");
	Assert(files->sort == NULL && files->taking);
	files->sort_owner = ResourceOwnerCreate(CurrentResourceOwner, "cfp day files sort");
	files->sort_context = AllocSetContextCreate(CurrentMemoryContext, "cfp day files sort",
												ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(files->sort_context);
	if (files->ngroups == 0)
		files->descriptor = CreateTupleDescCopy(slot->tts_tupleDescriptor);
	else
	{
		files->descriptor = CreateTemplateTupleDesc(natts + 1);
		for (int i = 1; i <= natts; i++)
			TupleDescCopyEntry(files->descriptor, i, slot->tts_tupleDescriptor, i);
		TupleDescInitEntry(files->descriptor, natts + 1, "segment", INT4OID, -1, 0);
		files->segmented = MakeSingleTupleTableSlot(files->descriptor, &TTSOpsVirtual);
	}
	files->sort = tuplesort_begin_heap(files->descriptor, lengthof(columns) - first,
									   columns + first, operators + first, collations + first,
									   nulls_first + first, work_mem, NULL, TUPLESORT_NONE);
	MemoryContextSwitchTo(old);
}

/* The row with how many groups it comes after: those that have not seen it. */
static TupleTableSlot *
with_segment(CfpDayFiles *files, TupleTableSlot *slot)
{
	int			natts = slot->tts_tupleDescriptor->natts;
	int			low = 0;
	int			high = files->ngroups;
	uint64		txid;

	slot_getallattrs(slot);
	txid = DatumGetUInt64(slot->tts_values[CFP_COL_TXID]);
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (cfp_seen_sees(&files->groups[middle].before, txid))
			high = middle;
		else
			low = middle + 1;
	}
	ExecClearTuple(files->segmented);
	memcpy(files->segmented->tts_values, slot->tts_values, natts * sizeof(Datum));
	memcpy(files->segmented->tts_isnull, slot->tts_isnull, natts * sizeof(bool));
	files->segmented->tts_values[natts] = Int32GetDatum(low);
	files->segmented->tts_isnull[natts] = false;
	return ExecStoreVirtualTuple(files->segmented);
}

/* Not by tuplesort_end(), which writes once more to the temporary files. */
static void
end_sort(CfpDayFiles *files)
{
	ResourceOwnerRelease(files->sort_owner, RESOURCE_RELEASE_BEFORE_LOCKS, false, false);
	ResourceOwnerRelease(files->sort_owner, RESOURCE_RELEASE_LOCKS, false, false);
	ResourceOwnerRelease(files->sort_owner, RESOURCE_RELEASE_AFTER_LOCKS, false, false);
	ResourceOwnerDelete(files->sort_owner);
	MemoryContextDelete(files->sort_context);
	files->sort = NULL;
}

/*
 * A subtransaction for each record would be dear.  All that the sort can leave
 * behind when it fails is memory and temporary files.
 */
void
cfp_day_files_add(CfpDayFiles *files, TupleTableSlot *slot)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *error;

	Assert(files->stage == FILES_BEGUN);
	files->nadded++;
	if (!files->taking)
		return;
	if (files->sort == NULL)
		begin_sort(files, slot);

	PG_TRY();
	{
		CurrentResourceOwner = files->sort_owner;
		tuplesort_puttupleslot(files->sort, files->ngroups > 0 ? with_segment(files, slot) : slot);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		CurrentResourceOwner = owner;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		FlushErrorState();
		end_sort(files);
		note_trouble(error);
		files->taking = false;
	}
	PG_END_TRY();
}

/*-------------------------------------------------------------------------
 * Writing
 *-------------------------------------------------------------------------
 */

/* The lines of a group. */
static void
write_forgets(CfpDayDisk *disk, StringInfo buf, const ForgetGroup *group,
			  MemoryContext line_context)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		values[3];
	uint64		n;

	values[0] = Int64GetDatum(group->first_id - 1);
	values[1] = Int64GetDatum(group->last_id);
	values[2] = group->seen;
	do
	{
		n = cfp_statement_run(&forget_read, values, NULL);
		for (uint64 i = 0; i < n; i++)
		{
			CfpForget	forget;
			int			before = buf->len;

			MemoryContextSwitchTo(line_context);
			cfp_forget_take(i, &forget);
			cfp_line_write_forget(buf, &forget);
			MemoryContextSwitchTo(context);
			MemoryContextReset(line_context);
			values[0] = Int64GetDatum(forget.id);
			cfp_disk_line(disk, buf, before);
		}
		SPI_freetuptable(SPI_tuptable);
	} while (n == FORGETS);
}

/* The last column of a row that is sorted: how many groups it comes after. */
static int
segment_of(const CfpDayFiles *files, TupleTableSlot *slot)
{
	return files->ngroups == 0 ? 0 :
		DatumGetInt32(slot->tts_values[slot->tts_tupleDescriptor->natts - 1]);
}

/* Write all records that were added, and what was given up. */
static void
write_day_records(void *arg)
{
	CfpDayFiles *files = arg;
	MemoryContext context = CurrentMemoryContext;
	MemoryContext line_context = AllocSetContextCreate(context, "cfp day file line",
													   ALLOCSET_DEFAULT_SIZES);
	StringInfoData buf;
	int			group = 0;

	initStringInfo(&buf);
	cfp_disk_open(&files->disk);
	if (files->sort != NULL)
	{
		TupleTableSlot *slot = MakeSingleTupleTableSlot(files->descriptor, &TTSOpsMinimalTuple);

		tuplesort_performsort(files->sort);
		while (tuplesort_gettupleslot(files->sort, true, false, slot, NULL))
		{
			int			before;

			slot_getallattrs(slot);
			while (group < segment_of(files, slot))
				write_forgets(&files->disk, &buf, &files->groups[group++], line_context);
			before = buf.len;
			MemoryContextSwitchTo(line_context);
			cfp_line_write(&buf, slot->tts_values, slot->tts_isnull);
			MemoryContextSwitchTo(context);
			MemoryContextReset(line_context);
			files->disk.end.records++;
			cfp_disk_line(&files->disk, &buf, before);
		}
		ExecDropSingleTupleTableSlot(slot);
	}
	while (group < files->ngroups)
		write_forgets(&files->disk, &buf, &files->groups[group++], line_context);
	cfp_disk_finish(&files->disk, &buf);

	MemoryContextDelete(line_context);
	pfree(buf.data);
}

bool
cfp_day_files_write(CfpDayFiles *files)
{
	bool		written = files->taking || files->unwanted;

	Assert(files->stage == FILES_BEGUN);
	files->stage = FILES_WRITTEN;
	if (files->sort == NULL && (files->ngroups == 0 || !files->taking))
		return written;

	written = do_guarded(files, write_day_records);
	if (files->sort != NULL)
		end_sort(files);
	if (!written)
	{
		worker.as_saved = false;
		cfp_disk_put_back(&files->disk);
	}
	return written;
}

bool
cfp_day_files_forgot(const CfpDayFiles *files)
{
	Assert(files->stage == FILES_WRITTEN);
	return files->ngroups > 0 && files->taking;
}

/*-------------------------------------------------------------------------
 * Saving
 *-------------------------------------------------------------------------
 */

/* After what was written, or when there is no file it could be about. */
static void
clear_forgets(CfpDayFiles *files, int64 records)
{
	if (files->unwanted)
	{
		if (files->gap_noted || (files->ngroups == 0 && records == 0))
			return;
		if (!do_guarded(files, look_for_file) || files->file_found)
		{
			if (records > 0)
				cfp_forget_gap();
			return;
		}
	}
	if (files->ngroups > 0)
		cfp_statement_run(&forget_clear, NULL, NULL);
}

void
cfp_day_files_save(CfpDayFiles *files, int64 records)
{
	CfpStateFiles end = files->disk.end;

	Assert(files->stage == FILES_WRITTEN);
	files->stage = FILES_SAVED;
	/* Without a date nothing on the disk counts as this server's. */
	end.ours = files->disk.saved.ours || !files->unwanted;
	cfp_state_save_files(&end);
	clear_forgets(files, records);
}

void
cfp_day_files_committed(const CfpDayFiles *files, bool written, bool all, int64 records)
{
	CfpDatabase *db = cfp_my_database();

	Assert(files->stage == FILES_SAVED || files->stage == FILES_WRITTEN);
	Assert(!IsTransactionState());
	if (written)
	{
		if (worker.backoff.wait != 0 && !files->unwanted)
			ereport(LOG,
					(errmsg("cfp: day files are complete again"),
					 errdetail("%lld records were added.", (long long) files->nadded)));
		worker.backoff.wait = 0;
		worker.behind = 0;
	}
	else
		worker.behind = all ? files->nadded : worker.behind + records;

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->wal_behind = worker.behind;
	if (written)
	{
		db->wal_error[0] = '\0';
		db->wal_error_at = 0;
	}
	LWLockRelease(&db->lock);
}

void
cfp_day_files_failed(void)
{
	worker.as_saved = false;
	worker.behind = -1;
}
