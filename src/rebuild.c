/*-------------------------------------------------------------------------
 *
 * rebuild.c
 *		Getting the tables back: history from day files, latest from history.
 *
 * The SQL functions ask for a job and wait for it (jobs.c); the jobs run in
 * the job worker, in many transactions, so that they may be cancelled and
 * begun again: what is there already is passed over.
 *
 * History from day files: a batch of lines is read, then inserted in one
 * transaction as a change by hand is made: stores are kept out by the gate
 * for as long as the insert takes, the cache is bypassed meanwhile and dropped
 * at the end, the database is marked to be reconciled, and the rows carry the
 * frozen txid, so that they come into no day file again.  Which rows are
 * missing is looked up behind the gate, when no store is in flight.  When the
 * job is done the worker reconciles: it puts the items whose newest record
 * came back into storage_dirty.  Latest is not touched.
 *
 * Files of another server or database are read, too: so a lost server's come
 * into a new one.  That they are there may as well be a mistake (two servers
 * had one base directory), so a WARNING names them.
 *
 * Latest from history: does what a fold does (fold.c), for each item of the
 * history instead of those in storage_dirty.  The history decides unless
 * latest has a higher version.  What is true of an item does not change by it
 * (history.c), so the cache stays as right as it was; the gate is passed as in
 * a fold, for the snapshot.
 *
 * Locks: ROW EXCLUSIVE on the history, then the gate in SHARE ROW EXCLUSIVE,
 * both for one batch.  Latest: as a fold.
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "day_dir.h"
#include "day_files.h"
#include "gate.h"
#include "history.h"
#include "jobs.h"
#include "latest.h"
#include "record.h"
#include "settings.h"
#include "wal_files.h"
#include "sql_api.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(cfp_rebuild_history_from_wal);
PG_FUNCTION_INFO_V1(cfp_rebuild_history_from_wal_range);
PG_FUNCTION_INFO_V1(cfp_rebuild_latest_from_history);

/*
 * A batch is what fits into maintenance_work_mem: the more rows are sorted, the
 * better they go into the index.  Stores wait while they are inserted.
 */
#define FIRST_ROWS		1024

/* Items of one chunk of latest. */
#define CHUNK			1000

/* Dates that a message names. */
#define DATES_NAMED		15

/*-------------------------------------------------------------------------
 * History
 *-------------------------------------------------------------------------
 */

/* The newest of the dates, for a message. */
static char *
date_names(List *dates)
{
	StringInfoData names;
	int			n = list_length(dates);

	initStringInfo(&names);
	if (n > DATES_NAMED)
		appendStringInfoString(&names, "..., ");
	for (int i = Max(n - DATES_NAMED, 0); i < n; i++)
		appendStringInfo(&names, "%s%s", cfp_date_text(list_nth_int(dates, i)),
						 i < n - 1 ? ", " : "");
	return names.data;
}

/*
 * The dates from first to last that have a directory; throws 58P01 when none
 * has.  *bytes: of their day files.
 */
static List *
dates_to_read(DateADT first, DateADT last, int64 *bytes)
{
	List	   *all = cfp_list_date_dirs();
	List	   *dates = NIL;
	ListCell   *lc;

	*bytes = 0;
	foreach(lc, all)
	{
		if (lfirst_int(lc) >= first && lfirst_int(lc) <= last)
		{
			dates = lappend_int(dates, lfirst_int(lc));
			*bytes += cfp_wal_bytes(lfirst_int(lc));
		}
	}
	if (dates == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 first == last ?
				 errmsg("there is no directory of %s", cfp_date_text(first)) :
				 errmsg("there is no directory of a date from %s to %s",
						cfp_date_text(first), cfp_date_text(last)),
				 all == NIL ?
				 errdetail("There is none of any date in \"%s\".", cfp_database_dir()) :
				 errdetail("There are those of %s.", date_names(all)),
				 errhint("The view cfp_wal_files shows the day files there are.")));
	return dates;
}

/* Copy a row, its values in one piece of memory. */
static void
copy_row(CfpHistoryColumns *to, const CfpHistoryColumns *from)
{
	static const int varlena[] = {
		CFP_COL_KEY, CFP_COL_COLLECTION, CFP_COL_ITEM, CFP_COL_DATA,
		CFP_COL_VALUE_STRING, CFP_COL_STATUS, CFP_COL_USERNAME
	};
	Size		size = 0;
	char	   *dst;

	*to = *from;
	for (int i = 0; i < lengthof(varlena); i++)
	{
		if (!from->nulls[varlena[i]])
			size += MAXALIGN(VARSIZE(DatumGetPointer(from->values[varlena[i]])));
	}
	dst = palloc(size);
	for (int i = 0; i < lengthof(varlena); i++)
	{
		struct varlena *value = (struct varlena *) DatumGetPointer(from->values[varlena[i]]);

		if (from->nulls[varlena[i]])
			continue;
		memcpy(dst, value, VARSIZE(value));
		to->values[varlena[i]] = PointerGetDatum(dst);
		dst += MAXALIGN(VARSIZE(value));
	}
}

/*
 * Read a batch of the date's records and insert those that are missing.
 * Returns how many; *more: whether there may be another batch.
 */
static int64
rebuild_batch(CfpWalReader *reader, MemoryContext batch, MemoryContext line, bool *more)
{
	CfpHistoryColumns row;
	int			allocated = FIRST_ROWS;
	int			n = 0;
	int64		added = 0;
	CfpHistoryColumns *rows;
	MemoryContext old;

	cfp_worker_begin(false, false);
	old = MemoryContextSwitchTo(batch);
	rows = palloc(allocated * sizeof(CfpHistoryColumns));
	*more = true;
	while (MemoryContextMemAllocated(batch, false) < maintenance_work_mem * (Size) 1024)
	{
		/* A line leaves behind many times what its row needs. */
		MemoryContextReset(line);
		MemoryContextSwitchTo(line);
		*more = cfp_wal_reader_next(reader, row.values, row.nulls);
		MemoryContextSwitchTo(batch);
		if (!*more)
			break;
		if (n == allocated)
		{
			allocated *= 2;
			rows = repalloc_huge(rows, allocated * sizeof(CfpHistoryColumns));
		}
		copy_row(&rows[n++], &row);
	}
	if (n > 0)
	{
		LockRelationOid(cfp_tables()->history, RowExclusiveLock);
		cfp_gate_pass();
		added = cfp_history_add_missing(rows, n);
	}
	MemoryContextSwitchTo(old);
	cfp_worker_commit();
	MemoryContextReset(batch);
	return added;
}

/* Report the date's files that were not made here; returns how many. */
static int
report_foreign(DateADT date)
{
	int			foreign = 0;
	ListCell   *lc;

	foreach(lc, cfp_list_day_files(date))
	{
		char	   *path = cfp_day_file(date, lfirst_int(lc));

		if (cfp_day_file_is_ours(path))
			continue;
		foreign++;
		ereport(WARNING,
				(errmsg("day file \"%s\" was not made by this server for this database", path),
				 errdetail("Its records are added to storage_history all the same.")));
	}
	return foreign;
}

/* What the caller shall know. */
static void
warn_caller(int foreign, int64 bad_lines)
{
	StringInfoData text;

	if (foreign == 0 && bad_lines == 0)
		return;
	initStringInfo(&text);
	if (bad_lines > 0)
		appendStringInfo(&text, INT64_FORMAT " lines of the day files could not be used; "
						 "the server log names %s", bad_lines,
						 bad_lines > CFP_WAL_REPORTED_LINES ?
						 "the first " CppAsString2(CFP_WAL_REPORTED_LINES) : "them");
	if (foreign > 0)
		appendStringInfo(&text, "%s%d day files were not made by this server for this database, "
						 "and were read all the same; the server log names them",
						 bad_lines > 0 ? "; " : "", foreign);
	cfp_job_warn(text.data);
}

int64
cfp_rebuild_history_job(const CfpJobArgs *args)
{
	CfpWalReader *reader = cfp_wal_reader_create();
	MemoryContext context = CurrentMemoryContext;
	MemoryContext batch = AllocSetContextCreate(context, "cfp rebuild batch",
												ALLOCSET_DEFAULT_SIZES);
	MemoryContext line = AllocSetContextCreate(context, "cfp rebuild line",
											   ALLOCSET_DEFAULT_SIZES);
	List	   *dates;
	ListCell   *lc;
	int64		added = 0;
	int64		total;
	int			foreign = 0;

	cfp_worker_begin(false, false);
	MemoryContextSwitchTo(context);
	dates = dates_to_read(args->from, args->to, &total);
	cfp_worker_commit();

	foreach(lc, dates)
	{
		bool		more = true;

		cfp_worker_begin(false, false);
		foreign += report_foreign(lfirst_int(lc));
		cfp_wal_reader_start(reader, lfirst_int(lc), false);
		cfp_worker_commit();
		while (more)
		{
			CHECK_FOR_INTERRUPTS();
			added += rebuild_batch(reader, batch, line, &more);
			cfp_waitpoint("batch_rebuilt", true);
			cfp_job_progress(reader->bytes_done, Max(total, reader->bytes_done));
		}
	}
	warn_caller(foreign, reader->bad_lines);
	return added;
}

static int64
rebuild_history(DateADT first, DateADT last)
{
	CfpJobArgs	args = {.from = first,.to = last};
	int64		added = cfp_job_run(CFP_JOB_REBUILD_HISTORY, &args);

	(void) cfp_request(CFP_REQUEST_RECONCILE);
	return added;
}

/* cfp_rebuild_history_from_wal(date) */
Datum
cfp_rebuild_history_from_wal(PG_FUNCTION_ARGS)
{
	DateADT		date;

	cfp_require_preload();
	date = cfp_date_argument(fcinfo, 0);
	PG_RETURN_INT64(rebuild_history(date, date));
}

/* cfp_rebuild_history_from_wal(from_date, to_date) */
Datum
cfp_rebuild_history_from_wal_range(PG_FUNCTION_ARGS)
{
	DateADT		first;
	DateADT		last;

	cfp_require_preload();
	first = cfp_date_argument(fcinfo, 0);
	last = cfp_date_argument(fcinfo, 1);
	if (first > last)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the first date must not be later than the last")));
	PG_RETURN_INT64(rebuild_history(first, last));
}

/*-------------------------------------------------------------------------
 * Latest
 *-------------------------------------------------------------------------
 */

/*
 * A chunk of items, along the history's primary key from the item given on; of
 * each the newest record, unless latest has it or a newer one.
 */
static CfpStatement latest_chunk = {
	.sql = "WITH chunk AS MATERIALIZED ("
	"SELECT DISTINCT key, collection_name, item_name FROM @schema@.storage_history"
	" WHERE (key, collection_name, item_name) >= ($1, $2, $3)"
	" ORDER BY key, collection_name, item_name LIMIT " CppAsString2(CHUNK)
	"), changed AS ("
	CFP_LATEST_INSERT " WHERE " CFP_LATEST_BEHIND("o", "h") CFP_LATEST_CONFLICT
	" RETURNING 1"
	") SELECT key, collection_name, item_name, count(*) OVER (), (SELECT count(*) FROM changed)"
	" FROM chunk ORDER BY key DESC, collection_name DESC, item_name DESC LIMIT 1",
	.nargs = 3,
	.argtypes = {TEXTOID, TEXTOID, TEXTOID},
};

/*
 * Bring the chunk that begins at the item `from`, and set it to the chunk's
 * last item.  Returns the number of items; adds to *changed.
 */
static int64
latest_one_chunk(Datum *from, MemoryContext context, int64 *changed)
{
	int64		items = 0;

	cfp_worker_begin(false, true);
	if (cfp_statement_run(&latest_chunk, from, NULL) > 0)
	{
		bool		isnull;

		cfp_statement_take_names(from, context);
		items = DatumGetInt64(cfp_statement_value(4, &isnull));
		*changed += DatumGetInt64(cfp_statement_value(5, &isnull));
	}
	cfp_worker_commit();
	return items;
}

int64
cfp_rebuild_latest_job(const CfpJobArgs *args)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		from[3];
	int64		changed = 0;
	int64		done = 0;
	int64		items;

	for (int i = 0; i < 3; i++)
		from[i] = PointerGetDatum(cstring_to_text(""));
	do
	{
		CHECK_FOR_INTERRUPTS();
		items = latest_one_chunk(from, context, &changed);
		done += items;
		cfp_job_progress(done, 0);
	} while (items >= CHUNK);
	return changed;
}

/* cfp_rebuild_latest_from_history() */
Datum
cfp_rebuild_latest_from_history(PG_FUNCTION_ARGS)
{
	CfpJobArgs	args = {0};

	cfp_require_preload();
	PG_RETURN_INT64(cfp_job_run(CFP_JOB_REBUILD_LATEST, &args));
}
