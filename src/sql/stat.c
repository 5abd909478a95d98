/*-------------------------------------------------------------------------
 *
 * stat.c
 *		What cfp_stat, cfp_stat_collections and cfp_stat_progress show, and the
 *		function that sets the counters to zero.
 *
 * Functions that read shared memory; the views of the SQL script name
 * the columns and add what tables know.  Counters are read one by one, so a
 * row is not a snapshot of one instant.  The worker's part is copied under
 * the database entry's lock, and nothing that can throw happens under it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"
#include "base/preload.h"
#include "cache/descriptor.h"
#include "shared/database.h"
#include "shared/jobs.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(cfp_stat_row);
PG_FUNCTION_INFO_V1(cfp_stat_collections_rows);
PG_FUNCTION_INFO_V1(cfp_stat_job_row);
PG_FUNCTION_INFO_V1(cfp_stat_reset);

/* Columns of cfp_stat_row, in the order of its OUT parameters. */
enum
{
	STAT_WORKER_PID,
	STAT_WORKER_STATE,
	STAT_STORES,
	STAT_GETS,
	STAT_HITS,
	STAT_MISSES,
	STAT_TABLE_READS,
	STAT_LOADS = STAT_TABLE_READS + CFP_READ_REASONS,
	STAT_EVICTIONS,
	STAT_CACHE_SIZE,
	STAT_CACHE_USED,
	STAT_CACHE_LARGEST_FREE,
	STAT_CACHED_COLLECTIONS,
	STAT_CACHED_BYTES,
	STAT_UNFLUSHED_RECORDS,
	STAT_UNFLUSHED_SINCE,
	STAT_DIRTY_ITEMS,
	STAT_PROGRESS_DONE,
	STAT_PROGRESS_TOTAL,
	STAT_LAST_FLUSH,
	STAT_LAST_FOLD,
	STAT_LAST_ERROR,
	STAT_LAST_ERROR_AT,
	STAT_WAL_BEHIND,
	STAT_WAL_ERROR,
	STAT_WAL_ERROR_AT,
	STAT_STATS_RESET,
	STAT_COLUMNS
};

/* Columns of cfp_stat_collections_rows. */
enum
{
	COLLECTION_KEY,
	COLLECTION_NAME,
	COLLECTION_STATE,
	COLLECTION_ITEMS,
	COLLECTION_BYTES,
	COLLECTION_HITS,
	COLLECTION_LAST_USE,
	COLLECTION_COLUMNS
};

/* The worker's part of a database entry. */
typedef struct WorkerPart
{
	int			pid;
	CfpWorkerState state;
	bool		no_slot;
	int			stepping_aside;
	TimestampTz last_flush;
	TimestampTz last_fold;
	TimestampTz last_error_at;
	char		last_error[sizeof(((CfpDatabase *) NULL)->last_error)];
	int64		dirty_items;
	int64		progress_done;
	int64		progress_total;
	int64		wal_behind;
	TimestampTz wal_error_at;
	char		wal_error[sizeof(((CfpDatabase *) NULL)->wal_error)];
} WorkerPart;

static void
copy_worker_part(CfpDatabase *db, WorkerPart *part)
{
	LWLockAcquire(&db->lock, LW_SHARED);
	part->pid = db->worker_pid;
	part->state = db->worker_state;
	part->no_slot = db->no_slot;
	part->stepping_aside = db->stepping_aside;
	part->last_flush = db->last_flush;
	part->last_fold = db->last_fold;
	part->last_error_at = db->last_error_at;
	strlcpy(part->last_error, db->last_error, sizeof(part->last_error));
	part->dirty_items = db->dirty_items;
	part->progress_done = db->progress_done;
	part->progress_total = db->progress_total;
	part->wal_behind = db->wal_behind;
	part->wal_error_at = db->wal_error_at;
	strlcpy(part->wal_error, db->wal_error, sizeof(part->wal_error));
	LWLockRelease(&db->lock);
}

static const char *
worker_state_name(const WorkerPart *part)
{
	if (part->pid == 0 && part->no_slot)
		return "no slot";
	if (part->pid == 0 && part->stepping_aside > 0)
		return "stepped aside";
	switch (part->state)
	{
		case CFP_WORKER_NONE:
			return "not running";
		case CFP_WORKER_STARTING:
			return "starting";
		case CFP_WORKER_IDLE:
			return "idle";
		case CFP_WORKER_FLUSHING:
			return "flushing";
		case CFP_WORKER_FOLDING:
			return "folding";
		case CFP_WORKER_RECONCILING:
			return "reconciling";
		case CFP_WORKER_RETRYING:
			return "retrying";
	}
	return "unknown";
}

/* A time of which 0 means never. */
static void
set_time(Datum *values, bool *nulls, int column, TimestampTz time)
{
	values[column] = TimestampTzGetDatum(time);
	nulls[column] = (time == 0);
}

Datum
cfp_stat_row(PG_FUNCTION_ARGS)
{
	CfpDatabase *db = cfp_my_database();
	TupleDesc	desc;
	Datum		values[STAT_COLUMNS] = {0};
	bool		nulls[STAT_COLUMNS] = {0};
	WorkerPart	worker;
	CfpCacheUse use;
	CfpCounts	counts;
	uint64		committed,
				flushed;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	Assert(desc->natts == STAT_COLUMNS);
	copy_worker_part(db, &worker);
	cfp_cache_use(MyDatabaseId, &use);
	cfp_counts_read(db, &counts);
	flushed = pg_atomic_read_u64(&db->flushed);
	committed = pg_atomic_read_u64(&db->committed);

	values[STAT_WORKER_PID] = Int32GetDatum(worker.pid);
	nulls[STAT_WORKER_PID] = (worker.pid == 0);
	values[STAT_WORKER_STATE] = CStringGetTextDatum(worker_state_name(&worker));
	values[STAT_STORES] = Int64GetDatum(counts.stores);
	values[STAT_GETS] = Int64GetDatum(counts.gets);
	values[STAT_HITS] = Int64GetDatum(counts.hits);
	values[STAT_MISSES] = Int64GetDatum(counts.misses);
	for (int i = 0; i < CFP_READ_REASONS; i++)
		values[STAT_TABLE_READS + i] = Int64GetDatum(counts.table_reads[i]);
	values[STAT_LOADS] = Int64GetDatum(counts.loads);
	values[STAT_EVICTIONS] = Int64GetDatum(counts.evictions);
	values[STAT_CACHE_SIZE] = Int64GetDatum(use.size);
	values[STAT_CACHE_USED] = Int64GetDatum(use.used);
	values[STAT_CACHE_LARGEST_FREE] = Int64GetDatum(use.largest_free);
	values[STAT_CACHED_COLLECTIONS] = Int64GetDatum(use.collections);
	values[STAT_CACHED_BYTES] = Int64GetDatum(use.bytes);
	values[STAT_UNFLUSHED_RECORDS] = Int64GetDatum(committed > flushed ? committed - flushed : 0);
	set_time(values, nulls, STAT_UNFLUSHED_SINCE, pg_atomic_read_u64(&db->oldest_unflushed));
	values[STAT_DIRTY_ITEMS] = Int64GetDatum(worker.dirty_items);
	nulls[STAT_DIRTY_ITEMS] = (worker.dirty_items < 0);
	values[STAT_PROGRESS_DONE] = Int64GetDatum(worker.progress_done);
	values[STAT_PROGRESS_TOTAL] = Int64GetDatum(worker.progress_total);
	set_time(values, nulls, STAT_LAST_FLUSH, worker.last_flush);
	set_time(values, nulls, STAT_LAST_FOLD, worker.last_fold);
	values[STAT_LAST_ERROR] = CStringGetTextDatum(worker.last_error);
	nulls[STAT_LAST_ERROR] = (worker.last_error[0] == '\0');
	set_time(values, nulls, STAT_LAST_ERROR_AT, worker.last_error_at);
	values[STAT_WAL_BEHIND] = Int64GetDatum(worker.wal_behind);
	values[STAT_WAL_ERROR] = CStringGetTextDatum(worker.wal_error);
	nulls[STAT_WAL_ERROR] = (worker.wal_error[0] == '\0');
	set_time(values, nulls, STAT_WAL_ERROR_AT, worker.wal_error_at);
	set_time(values, nulls, STAT_STATS_RESET, pg_atomic_read_u64(&db->stats_reset));

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
cfp_stat_collections_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	List	   *collections;
	ListCell   *lc;

	cfp_require_preload();
	InitMaterializedSRF(fcinfo, 0);
	Assert(result->setDesc->natts == COLLECTION_COLUMNS);
	collections = cfp_cache_list(MyDatabaseId);
	foreach(lc, collections)
	{
		CfpCollectionUse *use = lfirst(lc);
		Datum		values[COLLECTION_COLUMNS] = {0};
		bool		nulls[COLLECTION_COLUMNS] = {0};

		values[COLLECTION_KEY] = CStringGetTextDatum(use->key);
		values[COLLECTION_NAME] = CStringGetTextDatum(use->collection);
		values[COLLECTION_STATE] = CStringGetTextDatum(use->state);
		values[COLLECTION_ITEMS] = Int64GetDatum(use->items);
		values[COLLECTION_BYTES] = Int64GetDatum(use->bytes);
		values[COLLECTION_HITS] = Int64GetDatum(use->hits);
		set_time(values, nulls, COLLECTION_LAST_USE, use->last_use);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* The job that runs, all NULL when there is none. */
Datum
cfp_stat_job_row(PG_FUNCTION_ARGS)
{
	CfpDatabase *db = cfp_my_database();
	TupleDesc	tupdesc;
	Datum		values[4] = {0};
	bool		nulls[lengthof(values)] = {true, true, true, true};
	int			pid;
	CfpJobKind	kind;
	int64		done;
	int64		total;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	Assert(tupdesc->natts == lengthof(values));

	LWLockAcquire(&db->lock, LW_SHARED);
	pid = db->job.worker_pid;
	kind = db->job.kind;
	done = db->job.progress_done;
	total = db->job.progress_total;
	LWLockRelease(&db->lock);

	if (pid != 0)
	{
		memset(nulls, false, sizeof(nulls));
		values[0] = Int32GetDatum(pid);
		values[1] = CStringGetTextDatum(cfp_job_name(kind));
		values[2] = Int64GetDatum(done);
		values[3] = Int64GetDatum(total);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls)));
}

/* What this transaction has counted so far is of before, too. */
Datum
cfp_stat_reset(PG_FUNCTION_ARGS)
{
	CfpDatabase *db = cfp_my_database();

	memset(&cfp_counts, 0, sizeof(cfp_counts));
	cfp_counts_reset(db);
	PG_RETURN_VOID();
}
