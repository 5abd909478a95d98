/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The worker of a database: when to flush, reconcile, fold, close a day.
 *
 * Started by the launcher (launcher.c).  It alone writes storage_latest and
 * storage_dirty.  Its life: claim the shared entry, connect, see whether the
 * extension is here, then do what is due and sleep on its latch.
 *
 * What it does is the table `pieces`, a row each; when a piece is due, its file
 * says.  A turn of the loop looks what there is, does what sessions have asked
 * for (requests.c), and then each piece that is due, in the order of the table.
 * So a new piece is a file and a row.
 *
 * An error in a piece is caught, noted and given to those who asked
 * (failure.c).  There is no fold while the database is marked to be reconciled.
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
#include "base/names.h"

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/process.h"
#include "base/settings.h"
#include "files/day_files.h"
#include "shared/database.h"
#include "shared/jobs.h"
#include "shared/requests.h"
#include "tables/gate.h"
#include "tables/tables.h"
#include "worker/close.h"
#include "worker/damage.h"
#include "worker/failure.h"
#include "worker/flush.h"
#include "worker/fold.h"
#include "worker/piece.h"
#include "worker/reconcile.h"
#include "worker/worker.h"

#define LONGEST_SLEEP		60000	/* ms */
#define BACKUP_POLL			1000	/* ms between looks at the backup of a
									 * close */
#define LAST_FLUSH_WAIT		"2s"	/* for any lock, in the last flush */

static CfpPieceEnd look_at_database(int64 *rows);

/* The pieces that are asked for by name; there may be more in the table. */
enum
{
	PIECE_LOOK,					/* for the mark and the last date closed */
	PIECE_FLUSH,
	PIECE_CHECK,
	PIECE_RECONCILE,
	PIECE_CLOSE,				/* a step of it */
	PIECE_FOLD
};

/* In the order in which a turn does them. */
static CfpPiece pieces[] = {
	[PIECE_LOOK] = {"start of work", NULL, look_at_database, NULL},
	[PIECE_FLUSH] = {"flush", cfp_flush_due, cfp_flush_piece, NULL},
	[PIECE_CHECK] = {"check of the storage tables", cfp_damage_due, cfp_damage_piece, NULL},
	[PIECE_RECONCILE] = {"reconcile", cfp_reconcile_due, cfp_reconcile_piece, NULL},
	[PIECE_CLOSE] = {"close of day", cfp_close_due, cfp_close_piece, cfp_close_failed},
	[PIECE_FOLD] = {"fold", NULL, cfp_fold_piece, NULL},
};

static CfpDatabase *db = NULL;

/* What an attempt at a piece of work came to. */
typedef struct Attempt
{
	CfpPieceEnd end;
	int64		rows;
	ErrorData  *error;			/* when it failed; good for this turn */
} Attempt;

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
 * See what there is: the extension, the mark, where the days stand, and so
 * whether this worker may go on.
 */
static CfpPieceEnd
look_at_database(int64 *rows)
{
	static Oid	my_extension = InvalidOid;
	Oid			extension;
	bool		triggers_on;

	if (!extension_is_here(&extension, &triggers_on))
		return CFP_PIECE_LEAVE;

	/* Dropped and created again: a new worker knows nothing of the old. */
	if (OidIsValid(my_extension) && my_extension != extension)
		return CFP_PIECE_LEAVE;
	my_extension = extension;

	cfp_reconcile_look(triggers_on);
	cfp_close_look();
	return CFP_PIECE_DONE;
}

/* Tell the piece that it has failed. */
static void
tell_failure(CfpPiece *piece, const ErrorData *error)
{
	PG_TRY();
	{
		piece->failed(error);
	}
	PG_CATCH();
	{
		(void) cfp_worker_catch();
	}
	PG_END_TRY();
}

/* Do a piece of work. */
static Attempt
attempt_piece(CfpPiece *piece)
{
	Attempt		result = {.end = CFP_PIECE_FAILED};

	Assert(!IsTransactionState());
	PG_TRY();
	{
		int64		rows = 0;
		CfpPieceEnd end = piece->run(&rows);

		result.end = end;
		result.rows = rows;
	}
	PG_CATCH();
	{
		result.error = cfp_worker_catch();
	}
	PG_END_TRY();

	/* While it only waits, an earlier failure is not yet made good. */
	if (result.end != CFP_PIECE_FAILED)
	{
		if (result.end != CFP_PIECE_WAITS)
			memset(&piece->backoff, 0, sizeof(piece->backoff));
		return result;
	}

	/* Cancelled in order to end: nothing to report. */
	if (ShutdownRequestPending)
		return result;

	/* Nor is it when the extension was dropped meanwhile. */
	if (piece != &pieces[PIECE_LOOK] &&
		attempt_piece(&pieces[PIECE_LOOK]).end == CFP_PIECE_LEAVE)
		return result;
	cfp_failure_note(piece, result.error);
	if (piece->failed != NULL)
		tell_failure(piece, result.error);
	return result;
}

/*-------------------------------------------------------------------------
 * What is due
 *-------------------------------------------------------------------------
 */

/* Do the piece if it is due, and not to be tried again only later. */
static Attempt
attempt_piece_if_due(CfpPiece *piece, TimestampTz now, TimestampTz *next)
{
	Attempt		not_due = {.end = CFP_PIECE_NOT_DUE};

	if (piece->due == NULL || !piece->due(now, next))
		return not_due;
	if (!cfp_backoff_over(&piece->backoff, now))
	{
		*next = Min(*next, piece->backoff.at);
		return not_due;
	}
	return attempt_piece(piece);
}

/* Do what sessions have asked for.  False when nothing was asked. */
static bool
serve_requests(void)
{
	CfpRequestKind kind;
	Attempt		result;

	if (!cfp_requests_take(db, &kind))
		return false;

	/* They run until answer_close() answers them. */
	if (kind == CFP_REQUEST_CLOSE)
	{
		memset(&pieces[PIECE_CLOSE].backoff, 0, sizeof(CfpBackoff));
		return true;
	}

	cfp_day_files_retry();
	result = attempt_piece(&pieces[PIECE_FLUSH]);
	if (result.end == CFP_PIECE_DONE && kind == CFP_REQUEST_FOLD)
		result = attempt_piece(&pieces[PIECE_FOLD]);
	if (result.end == CFP_PIECE_DONE && kind == CFP_REQUEST_RECONCILE)
		result = attempt_piece(&pieces[PIECE_RECONCILE]);
	/* When it was cancelled in order to end, worker_exit() tells them. */
	if (result.end != CFP_PIECE_FAILED || !ShutdownRequestPending)
		cfp_requests_finish(db, kind, result.rows, result.error);
	return true;
}

/* Answer those who have asked for a close: when it fails, or nothing is left to do. */
static void
answer_close(const Attempt *result, TimestampTz *next)
{
	if (!ShutdownRequestPending && cfp_requests_running(db, CFP_REQUEST_CLOSE) &&
		(result->end == CFP_PIECE_FAILED || !cfp_close_left(GetCurrentTimestamp(), next)))
		cfp_requests_finish(db, CFP_REQUEST_CLOSE, 0, result->error);
}

/*
 * One turn of the loop: look, and do what is due, a piece of each kind.
 * Returns false when the worker has to leave; else sets the time of the next
 * turn.
 */
static bool
worker_turn(TimestampTz now, TimestampTz *next)
{
	Attempt		result;
	bool		did;
	bool		failing = false;

	*next = TimestampTzPlusMilliseconds(now, LONGEST_SLEEP);

	result = attempt_piece(&pieces[PIECE_LOOK]);
	if (result.end == CFP_PIECE_LEAVE)
		return false;
	if (result.end == CFP_PIECE_FAILED)
	{
		CfpRequestKind kind;

		while (!ShutdownRequestPending && cfp_requests_take(db, &kind))
			cfp_requests_finish(db, kind, 0, result.error);
		*next = Min(*next, pieces[PIECE_LOOK].backoff.at);
		cfp_publish_state(CFP_WORKER_RETRYING);
		return true;
	}

	/*
	 * Each kind gets its turn, however much there is of the others.  But what
	 * was cancelled in order to end has used up the cancel: no lock is waited
	 * for after that.
	 */
	did = serve_requests();
	for (int i = 0; i < lengthof(pieces) && !ShutdownRequestPending; i++)
	{
		result = attempt_piece_if_due(&pieces[i], now, next);
		did |= result.end == CFP_PIECE_DONE || result.end == CFP_PIECE_FAILED;
		/* The end of the backup wakes the worker, too. */
		if (result.end == CFP_PIECE_WAITS)
			*next = Min(*next, TimestampTzPlusMilliseconds(now, BACKUP_POLL));
		if (i == PIECE_CLOSE)
			answer_close(&result, next);
		/* What is only done for somebody who asks, he was told. */
		failing |= pieces[i].due != NULL && pieces[i].backoff.wait != 0;
	}

	if (did)
		*next = now;
	else
		cfp_publish_state(failing ? CFP_WORKER_RETRYING : CFP_WORKER_IDLE);
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
	cfp_wake_launcher();
}

/*
 * Make the entry this worker's.  False when a command needs the database
 * without sessions, when there is another worker, or no entry any more.
 */
static bool
claim_entry(Oid dboid)
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
	bool		wanted;

	LWLockAcquire(&db->lock, LW_SHARED);
	wanted = db->stepping_aside == 0 && !db->not_installed;
	LWLockRelease(&db->lock);
	if (!wanted)
		return;

	QueryCancelPending = false;
	SetConfigOption("lock_timeout", LAST_FLUSH_WAIT, PGC_SUSET, PGC_S_OVERRIDE);
	(void) attempt_piece(&pieces[PIECE_FLUSH]);
}

void
cfp_worker_main(Datum arg)
{
	Oid			dboid = DatumGetObjectId(arg);

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, cfp_worker_sigterm);
	BackgroundWorkerUnblockSignals();

	if (!claim_entry(dboid))
		proc_exit(0);
	cfp_process_connect(dboid);

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
		if (!worker_turn(now, &next) || ShutdownRequestPending)
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
