/*-------------------------------------------------------------------------
 *
 * sql_close.c
 *		cfp_close_day(): asks the worker to close what is due, and shows it.
 *
 * Locks: ACCESS SHARE on storage_days.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/genam.h"
#include "access/table.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/calendar.h"
#include "base/compat.h"
#include "base/preload.h"
#include "shared/database.h"
#include "shared/requests.h"
#include "tables/tables.h"

PG_FUNCTION_INFO_V1(cfp_close_day);

#define DAYS_DATE		1
#define DAYS_FINISHED	3
#define DAYS_COLUMNS	7

typedef void (*DayCallback) (const Datum *values, const bool *nulls, void *arg);

/*
 * Call back with all rows of storage_days, ascending, as they are now,
 * whatever the caller's snapshot and privileges.
 */
static void
scan_days(DayCallback callback, void *arg)
{
	Relation	days = table_open(cfp_tables()->days, AccessShareLock);
	Relation	index = index_open(cfp_primary_key_index(days), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SysScanDesc scan = systable_beginscan_ordered(days, index, snapshot, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		Datum		values[DAYS_COLUMNS];
		bool		nulls[DAYS_COLUMNS];

		heap_deform_tuple(tuple, RelationGetDescr(days), values, nulls);
		callback(values, nulls, arg);
	}
	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(days, AccessShareLock);
}

/* What is about to be closed: dates from the first unfinished one on. */
typedef struct Closed
{
	DateADT		last_finished;
	DateADT		first_unfinished;
	ReturnSetInfo *result;
	int64		rows;
} Closed;

static void
note_closed(const Datum *values, const bool *nulls, void *arg)
{
	Closed	   *closed = arg;
	DateADT		date = DatumGetDateADT(values[DAYS_DATE - 1]);

	if (!nulls[DAYS_FINISHED - 1])
		closed->last_finished = date;
	else
		closed->first_unfinished = Min(closed->first_unfinished, date);
}

static void
give_closed(const Datum *values, const bool *nulls, void *arg)
{
	Closed	   *closed = arg;
	DateADT		date = DatumGetDateADT(values[DAYS_DATE - 1]);

	if (nulls[DAYS_FINISHED - 1] ||
		(date <= closed->last_finished && date < closed->first_unfinished))
		return;
	tuplestore_putvalues(closed->result->setResult, closed->result->setDesc,
						 (Datum *) values, (bool *) nulls);
	closed->rows++;
}

/* cfp_close_day(): close the dates that are due. */
Datum
cfp_close_day(PG_FUNCTION_ARGS)
{
	Closed		closed = {.last_finished = DATEVAL_NOBEGIN,.first_unfinished = DATEVAL_NOEND};
	CfpDatabase *db;
	DateADT		date;
	TimestampTz end;

	cfp_require_preload();
	InitMaterializedSRF(fcinfo, 0);
	closed.result = (ReturnSetInfo *) fcinfo->resultinfo;

	scan_days(note_closed, &closed);
	(void) cfp_request(CFP_REQUEST_CLOSE);
	scan_days(give_closed, &closed);
	if (closed.rows > 0)
		return (Datum) 0;

	db = cfp_my_database();
	LWLockAcquire(&db->lock, LW_SHARED);
	date = db->open_date;
	end = db->next_end;
	LWLockRelease(&db->lock);
	ereport(NOTICE,
			(errmsg("no business date is due to be closed"),
			 errdetail("The next one is %s, at %s.", cfp_date_text(date),
					   timestamptz_to_str(end)),
			 errhint("To bring storage_latest up to date now, call cfp_fold().")));
	return (Datum) 0;
}
