/*-------------------------------------------------------------------------
 *
 * close.c
 *		The close of day, step by step; cfp_close_day().
 *
 * The worker asks whether there is a step to do (cfp_close_due()) and does it
 * (cfp_close_step()); between two steps it flushes and serves requests.
 *
 *	1	flush
 *	2	begin: the row in storage_days, the next date open, in one transaction
 *	3	fold
 *	4	backup, a job of the job worker (jobs.c)
 *	5	retention, in pieces; the directory of the open date
 *	6	finished
 *
 * Whatever ends the worker or the server: the close goes on with the step that
 * the row of storage_days has not got yet.  Each step may be done again: a
 * fold finds nothing left, a backup that is complete is not made again.
 *
 * Up to step 2 nothing has happened.  From then on what is flushed belongs to
 * the next date, whatever becomes of the rest.
 *
 * If the ends of several dates have passed, the first of them gets all that
 * was flushed, the others a row that says that they were skipped.  So a clock
 * that was ahead for a moment leaves an open date that lies ahead: the log
 * has a WARNING then.
 *
 * A step that fails is tried again by the worker, with its back-off; the row
 * has the error.  When the end of the next date comes first, and it was the
 * backup or a later step, the date is finished as it is, its error kept; but
 * a backup that runs then is waited for.  Retention comes before that, so
 * that a disk that is full does not stay so for want of a backup.
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"

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

#include "calendar.h"
#include "compat.h"
#include "day_dir.h"
#include "instance_lock.h"
#include "jobs.h"
#include "settings.h"
#include "tables.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(cfp_close_day);

/* With a clock that is right the end of the open date is nearer. */
#define FAR_AHEAD	(2 * USECS_PER_DAY)

/* Where the days stand; read again when not known. */
static bool known = false;
static DateADT last_closed;
static DateADT open_date;
static TimestampTz next_end;	/* its end */
static bool closing;			/* the close of `day` has begun */
static CfpDay day;

/* Retention has failed for `day`, which is finished without it. */
static bool retention_failed;

/* The backup of `day` runs, begun by this worker or the last one. */
static bool backup_runs = false;

/*-------------------------------------------------------------------------
 * In the worker
 *-------------------------------------------------------------------------
 */

/* Read where the days stand. */
static void
read_days(void)
{
	CfpDatabase *db = cfp_my_database();
	pg_tz	   *zone = cfp_calendar_zone();

	last_closed = cfp_days_begin();
	closing = cfp_days_unfinished(&day);
	open_date = cfp_calendar_next_date(last_closed, zone);
	next_end = cfp_calendar_end_of(open_date, zone, cfp_end_of_day_seconds());
	known = true;
	retention_failed = false;
	backup_runs = closing && !day.backed_up && cfp_job_take_over(CFP_JOB_BACKUP, day.date);

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->open_date = open_date;
	db->next_end = next_end;
	LWLockRelease(&db->lock);
}

void
cfp_close_look(void)
{
	static TimestampTz warned_of = 0;

	if (!known)
		read_days();

	/* The clock was ahead when a date was closed. */
	if (next_end != warned_of && next_end > GetCurrentTimestamp() + FAR_AHEAD)
	{
		warned_of = next_end;
		ereport(WARNING,
				(errmsg("cfp: the open business date is %s, far ahead of the clock",
						cfp_date_text(open_date)),
				 errdetail("No date is closed, and no backup made, before %s.",
						   timestamptz_to_str(next_end)),
				 errhint("If the clock is right, it was ahead when dates were closed. The documentation of cfp, operations.md, says how to take that back.")));
	}
}

bool
cfp_close_due(TimestampTz now, TimestampTz *next)
{
	if (!known || closing)
		return true;
	*next = Min(*next, next_end);
	return next_end <= now;
}

/* Steps 1 and 2. */
static void
begin_close(TimestampTz now)
{
	(void) cfp_worker_flush();

	/* From here on what was known may not be true any more. */
	known = false;
	cfp_days_switch(last_closed, cfp_last_due(now), now);
	cfp_waitpoint("day_switched", true);
}

/* Step 3. */
static void
fold_day(void)
{
	cfp_days_folded(day.date, cfp_worker_fold());
	day.folded = true;
	day.failed = false;
	cfp_waitpoint("day_folded", true);
}

/* Step 4; false while the backup, or another job, runs. */
static bool
back_up_day(void)
{
	CfpJobArgs	args = {.from = day.date, .to = day.date};
	ErrorData  *error = NULL;
	int64		bytes = 0;

	if (!backup_runs)
	{
		backup_runs = cfp_job_start(CFP_JOB_BACKUP, &args);
		return false;
	}
	if (!cfp_job_poll(&bytes, &error))
		return false;

	backup_runs = false;
	if (error != NULL)
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("could not back up %s: %s", cfp_date_text(day.date), error->message),
				 error->detail != NULL ? errdetail_internal("%s", error->detail) : 0,
				 error->hint != NULL ? errhint("%s", error->hint) : 0));
	cfp_days_backed_up(day.date, bytes);
	day.backed_up = true;
	day.failed = false;
	cfp_waitpoint("day_backed_up", true);
	return true;
}

/* Steps 5 and 6; a piece of them. */
static void
finish_day(void)
{
	if (cfp_instance_lock_held())
	{
		if (cfp_retention_step(day.date))
			return;
		cfp_worker_begin(false, false);
		(void) cfp_make_date_dir(cfp_open_date());
		cfp_worker_commit();
	}
	cfp_waitpoint("day_retained", true);
	known = false;
	cfp_days_finish(day.date, false);
}

/* The next date is due: finish this one as it is; a piece of it. */
static void
give_up_day(void)
{
	if (!day.backed_up && !retention_failed && cfp_instance_lock_held())
	{
		bool		more;

		retention_failed = true;	/* should it throw */
		more = cfp_retention_step(day.date);
		retention_failed = false;
		if (more)
			return;
	}
	known = false;
	cfp_days_finish(day.date, true);
}

bool
cfp_close_step(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!known)
		cfp_close_look();

	if (!closing)
	{
		if (next_end <= now)
			begin_close(now);
	}
	else if (!day.folded)
		fold_day();
	else if (day.failed && !backup_runs && next_end <= now)
		give_up_day();
	else if (!day.backed_up)
		return back_up_day();
	else
		finish_day();
	return true;
}

void
cfp_close_failed(const ErrorData *error)
{
	if (!known || !closing)
		return;
	day.failed = true;
	cfp_days_failed(day.date, error->message);
}

/*-------------------------------------------------------------------------
 * In a session
 *-------------------------------------------------------------------------
 */

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
	Closed		closed = {.last_finished = DATEVAL_NOBEGIN, .first_unfinished = DATEVAL_NOEND};
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
