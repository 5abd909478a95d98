/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The worker of a database: when to flush, reconcile, fold, close a day.
 *
 * Started by the launcher (launcher.c).  It alone writes storage_latest and
 * storage_dirty.  Its life: claim the shared entry, connect, see whether the
 * extension is here, then do what is due and sleep on its latch.
 *
 * What is due:
 *	- requests (requests.c), always first;
 *	- a flush at the start, when cfp.batch_size records wait, when the oldest
 *	  has waited cfp.flush_interval, 200 ms after the last commit, and when
 *	  day files that could not be written are to be tried again;
 *	- reconciling, once the mark has not changed for cfp.flush_interval and no
 *	  transaction changes the tables by hand;
 *	- the close of a date whose end of day has passed, a step at a time
 *	  (close.c);
 *	- a look at the ends of the storage tables' files, at the start and after
 *	  each flush (damage.c), so that damage is reported early.
 *
 * An error in a piece of work is caught: logged (the same one at most once a
 * minute; not that a change by hand came in between), kept for cfp_stat, given
 * to those who asked; the piece is tried again after 1 s, doubling to 60 s,
 * the others go on meanwhile.  There is no fold while the database is marked
 * to be reconciled.
 *
 * Ends: SIGTERM cancels what runs, a lock wait included, as a query cancel
 * does, so that the end is the loop's own and nothing is logged; then it
 * flushes once more, unless a command waits for it to step aside.  A reload
 * ends it too; the launcher starts the next at once, and that one connects
 * anew and so sees settings made per database.  So does DROP EXTENSION.
 *
 * Locks: the entry's lock for moments (database.c).  Heavyweight locks as
 * the statements take them (statement.c).
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "libpq/pqsignal.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/bufmgr.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "calendar.h"
#include "damage.h"
#include "day_files.h"
#include "gate.h"
#include "jobs.h"
#include "settings.h"
#include "tables.h"
#include "worker.h"

#define IDLE_FLUSH			200		/* ms without a commit before a flush */
#define LONGEST_SLEEP		60000	/* ms */
#define FIRST_RETRY			1000	/* ms after an error, doubled */
#define LAST_RETRY			60000
#define REPEAT_LOG			60000	/* ms before the same error is logged again */
#define MARK_INTERVAL		30000	/* ms between looks for the mark, without cause */
#define BACKUP_POLL			1000	/* ms between looks at the backup of a close */
#define LAST_FLUSH_WAIT		"2s"	/* for any lock, in the last flush */

/* The pieces of work, each with its own back-off. */
typedef enum Piece
{
	PIECE_FLUSH,
	PIECE_FOLD,
	PIECE_RECONCILE,
	PIECE_CLOSE,				/* a step of it (close.c) */
	PIECE_LOOK,					/* for the mark and the last date closed */
	PIECE_CHECK,				/* of the storage tables' files */
	NPIECES
} Piece;

static const char *const piece_names[] = {
	"flush", "fold", "reconcile", "close of day", "start of work",
	"check of the storage tables"
};

typedef struct Retry
{
	TimestampTz at;				/* 0: no error */
	int			wait;			/* ms */
} Retry;

static CfpDatabase *db = NULL;
static Retry retries[NPIECES];

/* The error of the piece of work that failed last; good for this turn. */
static ErrorData *failure = NULL;

/* The error logged last. */
static char logged_message[256];
static TimestampTz logged_at = 0;

/* What is known about the flow of commits. */
static bool flush_at_start = true;
static bool tables_checked = false; /* since the last flush */
static uint64 seen_committed = 0;
static TimestampTz seen_at = 0;

/* What is known about the mark to reconcile. */
static bool marked = false;
static bool may_reconcile;		/* without being asked */
static int64 mark_counter;
static TimestampTz mark_changed_at;
static TimestampTz mark_looked_at = 0;
static uint64 mark_generation;

/*-------------------------------------------------------------------------
 * What the worker publishes
 *-------------------------------------------------------------------------
 */

/* What it is doing: cfp_stat, and pg_stat_activity. */
static void
worker_report(CfpWorkerState state)
{
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->worker_state = state;
	if (state == CFP_WORKER_IDLE)
		db->progress_done = db->progress_total = 0;
	LWLockRelease(&db->lock);

	switch (state)
	{
		case CFP_WORKER_FLUSHING:
			pgstat_report_activity(STATE_RUNNING, "flush");
			break;
		case CFP_WORKER_FOLDING:
			pgstat_report_activity(STATE_RUNNING, "fold");
			break;
		case CFP_WORKER_RECONCILING:
			pgstat_report_activity(STATE_RUNNING, "reconcile");
			break;
		default:
			pgstat_report_activity(STATE_IDLE, NULL);
			break;
	}
}

void
cfp_worker_progress(int64 done, int64 total)
{
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->progress_done = done;
	db->progress_total = total;
	LWLockRelease(&db->lock);
}

void
cfp_worker_dirty_items(int64 items)
{
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->dirty_items = items;
	LWLockRelease(&db->lock);
}

/*-------------------------------------------------------------------------
 * Pieces of work
 *-------------------------------------------------------------------------
 */

/*
 * Is the extension here?  A DROP EXTENSION in progress is waited for (its
 * commit wakes the worker before its invalidations are sent, but it holds
 * its locks until they are).  Throws what cfp_tables() throws.
 */
static bool
extension_is_here(Oid *extension, bool *triggers_on)
{
	const CfpTables *tables;
	uint32		installs;

	LWLockAcquire(&db->lock, LW_SHARED);
	installs = db->installs;
	LWLockRelease(&db->lock);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	tables = cfp_tables_if_installed();
	if (tables != NULL)
	{
		LockRelationOid(tables->history, AccessShareLock);
		tables = cfp_tables_if_installed();
	}
	if (tables != NULL && tables->triggers_origin)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		if (cfp_gate_enable_always())
			tables = cfp_tables_if_installed();
		PopActiveSnapshot();
	}
	*extension = tables == NULL ? InvalidOid : tables->extension;
	*triggers_on = tables != NULL && tables->cacheable;
	CommitTransactionCommand();
	MemoryContextSwitchTo(cfp_worker_context);

	if (tables != NULL)
		return true;

	/* Unless it has been created since. */
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	if (db->installs == installs)
		db->not_installed = true;
	LWLockRelease(&db->lock);
	return false;
}

/*
 * See what there is: the extension, the mark, where the days stand.  Result:
 * whether this worker may go on.
 */
static bool
look(void)
{
	static Oid	my_extension = InvalidOid;
	Oid			extension;
	TimestampTz now;
	bool		triggers_on;
	uint64		generation;

	if (!extension_is_here(&extension, &triggers_on))
		return false;

	/* Dropped and created again: a new worker knows nothing of the old. */
	if (OidIsValid(my_extension) && my_extension != extension)
		return false;
	my_extension = extension;

	now = GetCurrentTimestamp();
	generation = pg_atomic_read_u64(&db->generation);
	if (marked || !triggers_on || generation != mark_generation ||
		cfp_time_has_come(TimestampTzPlusMilliseconds(mark_looked_at, MARK_INTERVAL),
						  MARK_INTERVAL, now))
	{
		bool		was_marked = marked;
		int64		counter = 0;

		/* Changes by hand go unseen while the triggers do not fire. */
		if (!triggers_on && !marked)
			cfp_reconcile_mark();
		marked = cfp_reconcile_needed(&counter);
		if (!was_marked || counter != mark_counter || generation != mark_generation)
			mark_changed_at = now;
		mark_counter = counter;
		mark_generation = generation;
		mark_looked_at = now;
	}
	may_reconcile = triggers_on;

	cfp_close_look();
	return true;
}

/*
 * If the database is marked.  Throws 55006 when a transaction changes the
 * tables by hand.
 */
static void
reconcile(void)
{
	int64		counter;

	if (!cfp_reconcile_needed(&counter))
	{
		marked = false;
		return;
	}
	if (pg_atomic_read_u32(&db->hand_changes) > 0)
		cfp_raise_hand_change();
	worker_report(CFP_WORKER_RECONCILING);
	cfp_reconcile_run();
	marked = false;
}

int64
cfp_worker_flush(void)
{
	int64		records;

	worker_report(CFP_WORKER_FLUSHING);
	records = cfp_flush_run();
	flush_at_start = false;
	tables_checked = false;
	mark_looked_at = 0;			/* a flush may find a reason to reconcile */
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->last_flush = GetCurrentTimestamp();
	LWLockRelease(&db->lock);
	return records;
}

int64
cfp_worker_fold(void)
{
	int64		items;

	reconcile();
	worker_report(CFP_WORKER_FOLDING);
	items = cfp_fold_run();
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->last_fold = GetCurrentTimestamp();
	LWLockRelease(&db->lock);
	return items;
}

/*-------------------------------------------------------------------------
 * Errors
 *-------------------------------------------------------------------------
 */

/* Keep the error being handled, and get back to where work can be done. */
static void
recover(void)
{
	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(cfp_worker_context);
	failure = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	pgstat_report_wait_end();
	MemoryContextSwitchTo(cfp_worker_context);
	RESUME_INTERRUPTS();
}

/* Log the failure, keep it for cfp_stat, and set the time to try again. */
static void
note_failure(Piece piece)
{
	TimestampTz now = GetCurrentTimestamp();
	Retry	   *retry = &retries[piece];
	CfpDamage	damage;
	char		message[sizeof(logged_message)];
	int			len;

	retry->wait = retry->at == 0 ? FIRST_RETRY : Min(retry->wait * 2, LAST_RETRY);
	retry->at = TimestampTzPlusMilliseconds(now, retry->wait);

	if (cfp_damage_describe(failure, &damage))
	{
		failure->message = damage.message;
		failure->hint = damage.hint;
	}

	len = pg_mbcliplen(failure->message, strlen(failure->message), sizeof(message) - 1);
	memcpy(message, failure->message, len);
	message[len] = '\0';

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	strlcpy(db->last_error, message, sizeof(db->last_error));
	db->last_error_at = now;
	LWLockRelease(&db->lock);

	/* A change by hand came in between: nothing is wrong, only to be repeated. */
	if (failure->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		failure->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		failure->sqlerrcode == ERRCODE_OBJECT_IN_USE)
		return;

	if (strcmp(message, logged_message) == 0 &&
		!cfp_time_has_come(TimestampTzPlusMilliseconds(logged_at, REPEAT_LOG), REPEAT_LOG, now))
		return;
	strlcpy(logged_message, message, sizeof(logged_message));
	logged_at = now;
	ereport(WARNING,
			(errcode(failure->sqlerrcode),
			 errmsg("cfp: %s failed: %s", piece_names[piece], failure->message),
			 failure->detail != NULL ? errdetail_internal("%s", failure->detail) : 0,
			 failure->hint != NULL ? errhint("%s", failure->hint) :
			 errhint("Stores and reads go on. The worker tries again until this is remedied."),
			 failure->context != NULL ? errcontext("%s", failure->context) : 0));
}

/* Have the row of the date that is being closed show the failure. */
static void
keep_close_failure(void)
{
	ErrorData  *mine = failure;

	PG_TRY();
	{
		cfp_close_failed(mine);
	}
	PG_CATCH();
	{
		recover();
	}
	PG_END_TRY();
	failure = mine;
}

/*
 * Do one piece of work; false when it failed, with the error in `failure`.
 * *result is the piece's.
 */
static bool
attempt(Piece piece, int64 *result)
{
	volatile bool ok = true;

	PG_TRY();
	{
		switch (piece)
		{
			case PIECE_CHECK:
				cfp_damage_check();
				tables_checked = true;
				break;
			case PIECE_LOOK:
				*result = look();
				break;
			case PIECE_FLUSH:
				*result = cfp_worker_flush();
				break;
			case PIECE_RECONCILE:
				reconcile();
				break;
			case PIECE_FOLD:
				*result = cfp_worker_fold();
				break;
			case PIECE_CLOSE:
				*result = cfp_close_step();
				break;
			case NPIECES:
				break;
		}
	}
	PG_CATCH();
	{
		recover();
		ok = false;
	}
	PG_END_TRY();

	if (ok)
	{
		/* The close only waits for its backup: not yet a success. */
		if (piece != PIECE_CLOSE || *result)
			retries[piece].at = 0;
		return true;
	}

	/* Cancelled in order to end: nothing to report. */
	if (ShutdownRequestPending)
		return false;

	/* Nor is it when the extension was dropped meanwhile. */
	if (piece != PIECE_LOOK)
	{
		ErrorData  *mine = failure;
		int64		here;
		bool		gone = attempt(PIECE_LOOK, &here) && !here;

		failure = mine;
		if (gone)
			return false;
	}
	note_failure(piece);
	if (piece == PIECE_CLOSE)
		keep_close_failure();
	return false;
}

/*-------------------------------------------------------------------------
 * What is due
 *-------------------------------------------------------------------------
 */

/*
 * The functions below say whether something is due; if not, they lower *next
 * to the time it will be.
 */

static bool
retry_allowed(Piece piece, TimestampTz now, TimestampTz *next)
{
	if (cfp_time_has_come(retries[piece].at, LAST_RETRY, now))
		return true;
	*next = Min(*next, retries[piece].at);
	return false;
}

static bool
flush_due(TimestampTz now, TimestampTz *next)
{
	uint64		flushed = pg_atomic_read_u64(&db->flushed);
	uint64		committed = pg_atomic_read_u64(&db->committed);
	uint64		oldest = pg_atomic_read_u64(&db->oldest_unflushed);
	TimestampTz files_due = cfp_day_files_due(now);
	TimestampTz idle_due;
	TimestampTz oldest_due;

	if (!retry_allowed(PIECE_FLUSH, now, next))
		return false;
	if (files_due != 0)
	{
		if (files_due <= now)
			return true;
		*next = Min(*next, files_due);
	}
	if (!flush_at_start && committed == flushed)
		return false;
	if (flush_at_start || committed - flushed >= (uint64) cfp_batch_size)
		return true;

	if (committed != seen_committed || seen_at > now)
	{
		seen_committed = committed;
		seen_at = now;
	}
	idle_due = TimestampTzPlusMilliseconds(seen_at, IDLE_FLUSH);
	oldest_due = oldest == 0 ? idle_due :
		TimestampTzPlusMilliseconds((TimestampTz) oldest, cfp_flush_interval);
	if (idle_due <= now || cfp_time_has_come(oldest_due, cfp_flush_interval, now))
		return true;
	*next = Min(*next, Min(idle_due, oldest_due));
	return false;
}

static bool
reconcile_due(TimestampTz now, TimestampTz *next)
{
	TimestampTz due;

	if (!marked || !may_reconcile)
		return false;
	if (!retry_allowed(PIECE_RECONCILE, now, next))
		return false;
	due = TimestampTzPlusMilliseconds(mark_changed_at, cfp_flush_interval);
	if (pg_atomic_read_u32(&db->hand_changes) > 0)
		due = TimestampTzPlusMilliseconds(now, cfp_flush_interval);
	if (cfp_time_has_come(due, cfp_flush_interval, now))
		return true;
	*next = Min(*next, due);
	return false;
}

/* Do what sessions have asked for.  False when nothing was asked. */
static bool
serve_requests(void)
{
	CfpRequestKind kind;
	int64		result = 0;
	bool		ok;

	if (!cfp_requests_take(db, &kind))
		return false;

	/* They run until serve_close() answers them. */
	if (kind == CFP_REQUEST_CLOSE)
	{
		retries[PIECE_CLOSE].at = 0;
		return true;
	}

	cfp_day_files_retry();
	ok = attempt(PIECE_FLUSH, &result);
	if (ok && kind == CFP_REQUEST_FOLD)
		ok = attempt(PIECE_FOLD, &result);
	if (ok && kind == CFP_REQUEST_RECONCILE)
	{
		ok = attempt(PIECE_RECONCILE, &result);
		result = 0;
	}
	/* When it was cancelled in order to end, worker_exit() tells them. */
	if (ok || !ShutdownRequestPending)
		cfp_requests_finish(db, kind, result, ok ? NULL : failure);
	return true;
}

/*
 * Do the next step of the close of day, and answer those who have asked for
 * it: when one fails, or nothing is left to do.  *did: something was done.
 */
static void
serve_close(TimestampTz now, TimestampTz *next, bool *did)
{
	bool		ok = true;
	int64		on = true;

	if (cfp_close_due(now, next) && retry_allowed(PIECE_CLOSE, now, next))
	{
		ok = attempt(PIECE_CLOSE, &on);
		*did |= !ok || on;
		/* The end of the backup wakes the worker, too. */
		if (ok && !on)
			*next = Min(*next, TimestampTzPlusMilliseconds(now, BACKUP_POLL));
	}
	if (!ShutdownRequestPending && cfp_requests_running(db, CFP_REQUEST_CLOSE) &&
		(!ok || !cfp_close_due(GetCurrentTimestamp(), next)))
		cfp_requests_finish(db, CFP_REQUEST_CLOSE, 0, ok ? NULL : failure);
}

/*
 * One turn of the loop: look, and do what is due, a piece of each kind.
 * Returns false when the worker has to leave; else sets the time of the next
 * turn.
 */
static bool
turn(TimestampTz now, TimestampTz *next)
{
	int64		result = 0;
	bool		did;

	*next = TimestampTzPlusMilliseconds(now, LONGEST_SLEEP);

	if (!attempt(PIECE_LOOK, &result))
	{
		CfpRequestKind kind;

		while (!ShutdownRequestPending && cfp_requests_take(db, &kind))
			cfp_requests_finish(db, kind, 0, failure);
		*next = Min(*next, retries[PIECE_LOOK].at);
		worker_report(CFP_WORKER_RETRYING);
		return true;
	}
	if (!result)
		return false;

	/* Each kind gets its turn, however much there is of the others. */
	did = serve_requests();
	if (flush_due(now, next))
	{
		(void) attempt(PIECE_FLUSH, &result);
		did = true;
	}
	if (!tables_checked && retry_allowed(PIECE_CHECK, now, next))
	{
		(void) attempt(PIECE_CHECK, &result);
		did = true;
	}
	if (reconcile_due(now, next))
	{
		(void) attempt(PIECE_RECONCILE, &result);
		did = true;
	}
	serve_close(now, next, &did);

	if (did)
		*next = now;
	else
	{
		bool		failing = false;

		/* A fold by itself is only done for somebody, who was told. */
		for (int i = 0; i < NPIECES; i++)
			failing |= i != PIECE_FOLD && retries[i].at != 0;
		worker_report(failing ? CFP_WORKER_RETRYING : CFP_WORKER_IDLE);
	}
	return true;
}

/*-------------------------------------------------------------------------
 * Life
 *-------------------------------------------------------------------------
 */

/* Requests that wait stay for the next worker. */
static void
worker_exit(int code, Datum arg)
{
	ErrorData	stopped = {0};

	stopped.sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	stopped.message = "the cfp worker of this database was stopped";
	stopped.hint = "Try again; the server log says why it was stopped.";
	cfp_requests_leave(db, &stopped);
	cfp_job_let_go(db);

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->worker_pid = 0;
	db->worker_latch = NULL;
	db->worker_state = CFP_WORKER_NONE;
	db->worker_failed = code != 0;
	db->progress_done = db->progress_total = 0;
	LWLockRelease(&db->lock);
	ConditionVariableBroadcast(&db->request_cv);
	cfp_launcher_wake();
}

/*
 * Make the entry this worker's.  False when a command needs the database
 * without sessions, when there is another worker, or no entry any more.
 */
static bool
claim(Oid dboid)
{
	bool		mine;

	db = cfp_find_database(dboid, false);
	if (db == NULL)
		return false;
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	mine = db->dboid == dboid && db->worker_pid == 0 && db->stepping_aside == 0;
	if (mine)
	{
		db->worker_pid = MyProcPid;
		db->worker_latch = MyLatch;
		db->worker_state = CFP_WORKER_STARTING;
		db->dirty_items = -1;
	}
	LWLockRelease(&db->lock);
	if (mine)
		before_shmem_exit(worker_exit, (Datum) 0);
	return mine;
}

/* The flush before leaving: so that little is unflushed after a restart. */
static void
last_flush(void)
{
	int64		records;

	LWLockAcquire(&db->lock, LW_SHARED);
	if (db->stepping_aside > 0 || db->not_installed)
		records = -1;
	else
		records = 0;
	LWLockRelease(&db->lock);
	if (records < 0)
		return;

	QueryCancelPending = false;
	SetConfigOption("lock_timeout", LAST_FLUSH_WAIT, PGC_SUSET, PGC_S_OVERRIDE);
	(void) attempt(PIECE_FLUSH, &records);
}

void
cfp_worker_main(Datum arg)
{
	Oid			dboid = DatumGetObjectId(arg);

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, cfp_worker_sigterm);
	BackgroundWorkerUnblockSignals();

	if (!claim(dboid))
		proc_exit(0);

	/* A SIGTERM while connecting cancels it: then leave without a word. */
	PG_TRY();
	{
		BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	}
	PG_CATCH();
	{
		if (ShutdownRequestPending)
			proc_exit(0);
		PG_RE_THROW();
	}
	PG_END_TRY();

	cfp_worker_process_init();

	for (;;)
	{
		TimestampTz now;
		TimestampTz next;
		long		sleep;

		ResetLatch(MyLatch);
		/* A cancel that came when nothing ran is for nothing. */
		QueryCancelPending = false;
		if (ShutdownRequestPending || ConfigReloadPending)
			break;
		HOLD_CANCEL_INTERRUPTS();
		CHECK_FOR_INTERRUPTS();
		RESUME_CANCEL_INTERRUPTS();

		MemoryContextReset(cfp_worker_context);
		now = GetCurrentTimestamp();
		if (!turn(now, &next) || ShutdownRequestPending)
			break;

		/* Not by the clock of now, which may have been set meanwhile. */
		sleep = TimestampDifferenceMilliseconds(now, next);
		pgstat_report_stat(sleep > 1000);
		if (sleep > 0)
			(void) WaitLatch(MyLatch,
							 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 sleep + 1, PG_WAIT_EXTENSION);
	}

	if (ShutdownRequestPending)
		last_flush();
	proc_exit(0);
}
