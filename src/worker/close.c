/*-------------------------------------------------------------------------
 *
 * close.c
 *		The close of day, step by step.
 *
 * A piece of the worker's work: it asks whether there is a step to do
 * (cfp_close_due()) and does it (cfp_close_piece()); between two steps it
 * flushes and serves requests.
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
 * A close does not begin beside changes of the tables by hand: a restore is
 * several of them, and the fold and the backup would come between two.
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
#include "base/names.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#include "base/calendar.h"
#include "base/settings.h"
#include "base/waitpoint.h"
#include "files/day_dir.h"
#include "files/day_files.h"
#include "files/instance_lock.h"
#include "shared/database.h"
#include "shared/jobs.h"
#include "shared/requests.h"
#include "tables/days.h"
#include "tables/statement.h"
#include "worker/close.h"
#include "worker/flush.h"
#include "worker/fold.h"
#include "worker/reconcile.h"
#include "worker/retention.h"

/* With a clock that is right the end of the open date is nearer. */
#define FAR_AHEAD	(2 * USECS_PER_DAY)

#define PATIENCE	(60 * 60 * 1000)	/* ms a close waits for changes by
										 * hand to end */

/* Where the days stand; read again when not known. */
static bool known = false;
static DateADT last_closed;
static DateADT open_date;
static TimestampTz next_end;	/* its end */
static bool closing;			/* the close of `day` has begun */
static CfpDay day;

/*
 * The last try to go on with `day` has failed.  Not one of another worker: each
 * tries once, however late it is, since the backup may have been finished when
 * there was none.
 */
static bool day_failed;

/* Retention has failed for `day`, which is finished without it. */
static bool retention_failed;

/* The backup of `day` runs, begun by this worker or the last one. */
static bool backup_runs = false;

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
	day_failed = retention_failed = false;
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
cfp_close_left(TimestampTz now, TimestampTz *next)
{
	if (!known || closing)
		return true;
	*next = Min(*next, next_end);
	return next_end <= now;
}

/*
 * Must a close that is due wait, because the tables are changed by hand?  A
 * restore is several such changes: its backup would have one table without the
 * other, and its fold would fill latest before the restore does.  So the close
 * waits for the reconciliation, which waits until no change has come for
 * cfp.flush_interval; but no longer than PATIENCE while none runs, and not when
 * somebody asks for it.
 */
static bool
must_wait(TimestampTz now, TimestampTz *next)
{
	CfpDatabase *db = cfp_my_database();
	bool		running = pg_atomic_read_u32(&db->hand_changes) > 0;
	TimestampTz patient_until;

	if (!(cfp_reconcile_marked() || running) || !known || closing ||
		cfp_requests_running(db, CFP_REQUEST_CLOSE))
		return false;
	patient_until = TimestampTzPlusMilliseconds(next_end, PATIENCE);
	if (!running && patient_until <= now)
		return false;
	/* The end of a change wakes the worker. */
	if (!running)
		*next = Min(*next, patient_until);
	return true;
}

bool
cfp_close_due(TimestampTz now, TimestampTz *next)
{
	return cfp_close_left(now, next) && !must_wait(now, next);
}

/* Steps 1 and 2. */
static void
begin_close(TimestampTz now)
{
	Assert(known && !closing && next_end <= now);
	(void) cfp_flush_run();

	/* From here on what was known may not be true any more. */
	known = false;
	cfp_days_switch(last_closed, cfp_last_due(now), now, cfp_day_files_as_saved());
	cfp_waitpoint("day_switched", true);
}

/* Step 3. */
static void
fold_day(void)
{
	Assert(known && closing && !day.folded);
	cfp_days_folded(day.date, cfp_fold_run());
	day.folded = true;
	day_failed = false;
	cfp_waitpoint("day_folded", true);
}

/* Step 4; false while the backup, or another job, runs. */
static bool
back_up_day(void)
{
	CfpJobArgs	args = {.from = day.date,.to = day.date};
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
	day_failed = false;
	cfp_waitpoint("day_backed_up", true);
	return true;
}

/* Steps 5 and 6; a piece of them. */
static void
finish_day(void)
{
	Assert(known && closing && day.folded && day.backed_up && !backup_runs);
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

CfpPieceEnd
cfp_close_piece(int64 *rows)
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
	else if (day_failed && !backup_runs && next_end <= now)
		give_up_day();
	else if (!day.backed_up)
		return back_up_day() ? CFP_PIECE_DONE : CFP_PIECE_WAITS;
	else
		finish_day();
	return CFP_PIECE_DONE;
}

void
cfp_close_failed(const ErrorData *error)
{
	if (!known || !closing)
		return;
	day_failed = true;
	cfp_days_failed(day.date, error->message);
}
