/*-------------------------------------------------------------------------
 *
 * launcher.c
 *		Keeps one worker in each database that has the extension.
 *
 * The launcher is a static background worker, connected to no database.
 * For each database it starts a worker; one that does not find the
 * extension says so in the database's shared entry (not_installed) and ends,
 * and is started again only after a CREATE EXTENSION there.
 *
 * It is woken by: the end of a worker (the postmaster's signal), a committed
 * CREATE EXTENSION or CREATE DATABASE, the end of a command that needed a
 * worker away, a session that misses its worker.  Else it looks every 30 s.
 * It also holds the lock of cfp.base_dir (instance_lock.c).
 *
 * The utility hook, in every session, does three things.
 *
 * 1.  It notes statements whose commit the launcher or the worker must hear
 *	   of; the transaction callback tells them.
 * 2.  Before DROP DATABASE, ALTER DATABASE ... RENAME or SET TABLESPACE and
 *	   CREATE DATABASE ... TEMPLATE, which refuse a database with sessions,
 *	   and before the extension is dropped, it makes the worker step aside:
 *	   raises stepping_aside in the entry, terminates the worker and waits
 *	   until it has left.  The mark is taken back by the transaction callback,
 *	   which runs at commit, at abort and when the session is terminated, so
 *	   it cannot stay behind.
 * 3.  After ALTER TABLE it lets gate.c see whether triggers were switched.
 *
 * No worker is ever started for a database that is gone, which would put a
 * FATAL into the log: a worker needs the shared entry and looks at
 * stepping_aside in it before it connects; the commit of DROP DATABASE frees
 * the entry; and the launcher starts workers only for entries that it knows
 * to have been there before it listed the databases.
 *
 * Locks: as in database.c.
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/procsignal.h"
#include "storage/shmem.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "cache.h"
#include "gate.h"
#include "instance_lock.h"
#include "tables.h"
#include "worker.h"

#define LOOK_INTERVAL		30000	/* ms between looks without cause */
#define SLOT_INTERVAL		5000	/* ms between tries for a slot */
#define PROBE_INTERVAL		200		/* the same, while slots come and go */
#define FIRST_BACKOFF		1000	/* ms after a worker failed, doubled */
#define LAST_BACKOFF		60000
#define STEADY_RUN			60000	/* ms after which a failure is a first one */
#define WARNING_INTERVAL	600000	/* ms between warnings for one database */
#define LEAVE_TIMEOUT		5000	/* ms to wait for the workers at the end */
#define ASIDE_TIMEOUT		10000	/* ms to wait for a worker to leave */

typedef struct LauncherShared
{
	Latch	   *latch;			/* NULL: no launcher; read without a lock, as
								 * the worker's latch in database.c */
} LauncherShared;

static LauncherShared *shared = NULL;

/* What the launcher remembers of a database; its own memory. */
typedef struct LaunchEntry
{
	Oid			dboid;			/* hash key */
	BackgroundWorkerHandle *handle; /* NULL: none started */
	TimestampTz started_at;
	TimestampTz not_before;		/* back-off */
	int			backoff;		/* ms */
	TimestampTz warned_at;
} LaunchEntry;

static HTAB *launch_entries = NULL;

typedef struct ListedDatabase
{
	Oid			dboid;
	char		name[NAMEDATALEN];
	bool		wanted;			/* may have a worker */
} ListedDatabase;

/* What this session's transaction has to tell when it ends. */
static bool tell_install = false;	/* CREATE EXTENSION */
static bool tell_worker = false;	/* DROP EXTENSION, also by its schema or owner */
static bool tell_launcher = false;	/* CREATE DATABASE */
static Oid	aside_database = InvalidOid;	/* its worker steps aside */

static ProcessUtility_hook_type prev_ProcessUtility = NULL;

Size
cfp_launcher_shmem_size(void)
{
	return sizeof(LauncherShared);
}

void
cfp_launcher_shmem_init(void)
{
	bool		found;

	shared = ShmemInitStruct("cfp launcher", sizeof(LauncherShared), &found);
	if (!found)
		shared->latch = NULL;
}

void
cfp_launcher_wake(void)
{
	Latch	   *latch = *(Latch *volatile *) &shared->latch;

	if (latch != NULL)
		SetLatch(latch);
}

/*-------------------------------------------------------------------------
 * The launcher process
 *-------------------------------------------------------------------------
 */

static void
launcher_exit(int code, Datum arg)
{
	cfp_instance_lock_release();
	shared->latch = NULL;
}

/* All databases, as a List in the current memory context. */
static List *
list_databases(void)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *list = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		ListedDatabase *listed;
		MemoryContext old;

		old = MemoryContextSwitchTo(context);
		listed = palloc(sizeof(ListedDatabase));
		listed->dboid = form->oid;
		strlcpy(listed->name, NameStr(form->datname), NAMEDATALEN);
		/* A worker in template1 would get in the way of CREATE DATABASE. */
		listed->wanted = form->datallowconn && !form->datistemplate;
		list = lappend(list, listed);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return list;
}

/* Is any worker started here still finding its way? */
static bool
any_starting(void)
{
	HASH_SEQ_STATUS seq;
	LaunchEntry *entry;
	bool		starting = false;

	hash_seq_init(&seq, launch_entries);
	while ((entry = hash_seq_search(&seq)) != NULL)
	{
		CfpDatabase *db;

		if (entry->handle == NULL)
			continue;
		db = cfp_find_database(entry->dboid, false);
		if (db == NULL)
			continue;
		LWLockAcquire(&db->lock, LW_SHARED);
		if (db->worker_pid == 0 || db->worker_state == CFP_WORKER_STARTING)
			starting = true;
		LWLockRelease(&db->lock);
	}
	return starting;
}

/* Note the end of a worker started here, and how soon to start the next. */
static void
note_worker_end(LaunchEntry *entry, CfpDatabase *db, TimestampTz now)
{
	pid_t		pid;
	bool		failed;

	if (entry->handle == NULL ||
		GetBackgroundWorkerPid(entry->handle, &pid) != BGWH_STOPPED)
		return;
	pfree(entry->handle);
	entry->handle = NULL;

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	failed = db->worker_failed;
	db->worker_failed = false;
	LWLockRelease(&db->lock);

	if (!failed)
	{
		entry->backoff = 0;
		entry->not_before = 0;
		return;
	}
	if (entry->backoff == 0 ||
		TimestampDifferenceExceeds(entry->started_at, now, STEADY_RUN))
		entry->backoff = FIRST_BACKOFF;
	else
		entry->backoff = Min(entry->backoff * 2, LAST_BACKOFF);
	entry->not_before = TimestampTzPlusMilliseconds(now, entry->backoff);
}

/*
 * Start the database's worker if it should have one and has none.  Returns
 * when to try again, 0 for no particular time.
 */
static TimestampTz
launch(const ListedDatabase *listed, CfpDatabase *db)
{
	TimestampTz now = GetCurrentTimestamp();
	LaunchEntry *entry;
	BackgroundWorker worker;
	MemoryContext old;
	bool		found;
	bool		registered;
	bool		wanted;
	bool		uses_cfp;

	entry = hash_search(launch_entries, &listed->dboid, HASH_ENTER, &found);
	if (!found)
		memset((char *) entry + sizeof(Oid), 0, sizeof(LaunchEntry) - sizeof(Oid));

	note_worker_end(entry, db, now);

	LWLockAcquire(&db->lock, LW_SHARED);
	wanted = db->dboid == listed->dboid && db->worker_pid == 0 &&
		!db->not_installed && db->stepping_aside == 0;
	LWLockRelease(&db->lock);
	if (!wanted || entry->handle != NULL)
		return 0;
	if (!cfp_time_has_come(entry->not_before, LAST_BACKOFF, now))
		return entry->not_before;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = ObjectIdGetDatum(listed->dboid);
	strlcpy(worker.bgw_library_name, CFP_EXTENSION_NAME, BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "cfp_worker_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "cfp worker for database %u", listed->dboid);
	strlcpy(worker.bgw_type, "cfp worker", BGW_MAXLEN);

	old = MemoryContextSwitchTo(TopMemoryContext);
	registered = RegisterDynamicBackgroundWorker(&worker, &entry->handle);
	MemoryContextSwitchTo(old);
	if (registered)
	{
		entry->started_at = now;
		LWLockAcquire(&db->lock, LW_EXCLUSIVE);
		db->no_slot = false;
		LWLockRelease(&db->lock);
		return 0;
	}

	/*
	 * Workers that only look whether the extension is there leave their slots
	 * at once: no reason to complain before that.
	 */
	entry->handle = NULL;
	if (any_starting())
		return TimestampTzPlusMilliseconds(now, PROBE_INTERVAL);

	/* Nor for a database that nobody has been seen to use cfp in. */
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->no_slot = true;
	uses_cfp = db->installs > 0 || pg_atomic_read_u64(&db->committed) > 0;
	LWLockRelease(&db->lock);
	if (uses_cfp &&
		cfp_time_has_come(entry->warned_at == 0 ? 0 :
						  TimestampTzPlusMilliseconds(entry->warned_at, WARNING_INTERVAL),
						  WARNING_INTERVAL, now))
	{
		entry->warned_at = now;
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("cfp could not start a worker for database \"%s\": no background worker slot is free",
						listed->name),
				 errdetail("Stores and reads go on; nothing is flushed or folded there."),
				 errhint("Increase max_worker_processes.")));
	}
	return TimestampTzPlusMilliseconds(now, SLOT_INTERVAL);
}

/* Free the entries, and the cache, of databases that are not listed. */
static void
forget_dropped(const Oid *known, int nknown, List *listed)
{
	for (int i = 0; i < nknown; i++)
	{
		bool		there = false;
		ListCell   *lc;
		LaunchEntry *entry;

		foreach(lc, listed)
		{
			if (((ListedDatabase *) lfirst(lc))->dboid == known[i])
			{
				there = true;
				break;
			}
		}
		if (there)
			continue;
		cfp_cache_forget_database(known[i]);
		cfp_forget_databases(&known[i], 1);
		entry = hash_search(launch_entries, &known[i], HASH_REMOVE, NULL);
		if (entry != NULL && entry->handle != NULL)
			pfree(entry->handle);
	}
}

/*
 * Look at all databases.  Returns the time of the next look.
 *
 * Entries are listed before databases.  So an entry whose database is not
 * listed belongs to a dropped one, and one made in this look is used only
 * after the databases have been listed once more.
 */
static TimestampTz
look_around(void)
{
	TimestampTz next = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOOK_INTERVAL);
	bool		again = true;

	for (int round = 0; round < 2 && again; round++)
	{
		Oid		   *known;
		int			nknown;
		List	   *listed;
		ListCell   *lc;

		again = false;
		known = cfp_list_databases(&nknown);
		listed = list_databases();
		forget_dropped(known, nknown, listed);

		foreach(lc, listed)
		{
			ListedDatabase *database = lfirst(lc);
			CfpDatabase *db;
			bool		was_known = false;

			if (!database->wanted)
				continue;
			for (int i = 0; i < nknown && !was_known; i++)
				was_known = known[i] == database->dboid;

			if (was_known)
			{
				db = cfp_find_database(database->dboid, false);
				if (db != NULL)
				{
					TimestampTz when = launch(database, db);

					if (when != 0 && when < next)
						next = when;
				}
			}
			else if (cfp_find_database(database->dboid, true) != NULL)
				again = true;
		}
	}
	return next;
}

/*
 * At a shutdown the workers flush once more, for which they need the lock
 * that this process holds.
 */
static void
wait_for_workers(void)
{
	TimestampTz since = GetCurrentTimestamp();
	int			nknown;
	Oid		   *known = cfp_list_databases(&nknown);

	for (int i = 0; i < nknown; i++)
	{
		CfpDatabase *db = cfp_find_database(known[i], false);
		bool		leaving = db != NULL;

		while (leaving &&
			   !TimestampDifferenceExceeds(since, GetCurrentTimestamp(), LEAVE_TIMEOUT))
		{
			ResetLatch(MyLatch);
			LWLockAcquire(&db->lock, LW_SHARED);
			leaving = db->dboid == known[i] && db->worker_pid != 0;
			LWLockRelease(&db->lock);
			if (leaving)
				(void) WaitLatch(MyLatch,
								 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
								 100, PG_WAIT_EXTENSION);
		}
	}
	pfree(known);
}

void
cfp_launcher_main(Datum arg)
{
	HASHCTL		ctl;
	MemoryContext context;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(LaunchEntry);
	ctl.hcxt = TopMemoryContext;
	launch_entries = hash_create("cfp launcher", 64, &ctl,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	context = AllocSetContextCreate(TopMemoryContext, "cfp launcher",
									ALLOCSET_DEFAULT_SIZES);

	before_shmem_exit(launcher_exit, (Datum) 0);
	shared->latch = MyLatch;

	while (!ShutdownRequestPending)
	{
		MemoryContext old;
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz next;
		TimestampTz lock_next;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}

		old = MemoryContextSwitchTo(context);
		lock_next = cfp_instance_lock_attend();
		next = Min(look_around(), lock_next);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);

		if (!ShutdownRequestPending)
			(void) WaitLatch(MyLatch,
							 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 TimestampDifferenceMilliseconds(now, next) + 1,
							 PG_WAIT_EXTENSION);
	}

	wait_for_workers();

	/* Not 0, which would tell the postmaster never to start it again. */
	proc_exit(1);
}

/*-------------------------------------------------------------------------
 * In sessions: the utility hook and the transaction callback
 *-------------------------------------------------------------------------
 */

/*
 * May the current user give such a command on the database?  The command
 * checks for itself; this keeps others from chasing the worker away.
 */
static bool
may_command(Oid dboid, bool as_template)
{
	HeapTuple	tuple;
	bool		result = false;

	if (superuser())
		return true;
	if (as_template)
	{
		tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
		if (HeapTupleIsValid(tuple))
		{
			result = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
			ReleaseSysCache(tuple);
		}
		return result;
	}
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	if (HeapTupleIsValid(tuple))
	{
		result = has_privs_of_role(GetUserId(),
								   ((Form_pg_database) GETSTRUCT(tuple))->datdba);
		ReleaseSysCache(tuple);
	}
	return result;
}

/* The name of the database that the statement needs without sessions. */
static const char *
database_to_clear(Node *statement, bool *as_template)
{
	*as_template = false;
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) statement)->dbname;

		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				return ((RenameStmt *) statement)->subname;
			return NULL;

		case T_AlterDatabaseStmt:
			{
				ListCell   *lc;

				foreach(lc, ((AlterDatabaseStmt *) statement)->options)
					if (strcmp(((DefElem *) lfirst(lc))->defname, "tablespace") == 0)
						return ((AlterDatabaseStmt *) statement)->dbname;
				return NULL;
			}

		case T_CreatedbStmt:
			{
				ListCell   *lc;

				*as_template = true;
				foreach(lc, ((CreatedbStmt *) statement)->options)
				{
					DefElem    *option = lfirst(lc);

					if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
						return defGetString(option);
				}
				return "template1";
			}

		default:
			return NULL;
	}
}

/* Wait until the process has left, or the time since is too long. */
static void
wait_for_exit(int pid, TimestampTz since)
{
	/* Not before it has left the list of processes do others not count it. */
	while (pid != 0 && BackendPidGetProc(pid) != NULL &&
		   !TimestampDifferenceExceeds(since, GetCurrentTimestamp(), ASIDE_TIMEOUT))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 2, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Send the database's worker and job worker away and wait until they have left. */
static void
send_worker_away(Oid dboid)
{
	CfpDatabase *db = cfp_find_database(dboid, true);
	TimestampTz since = GetCurrentTimestamp();
	int			pid;
	int			job_pid;

	if (db == NULL)
		return;

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->stepping_aside++;
	pid = db->worker_pid;
	if (pid != 0)
		kill(pid, SIGTERM);
	job_pid = db->job.worker_pid;
	if (job_pid != 0)
		kill(job_pid, SIGTERM);
	LWLockRelease(&db->lock);
	aside_database = dboid;

	wait_for_exit(pid, since);
	wait_for_exit(job_pid, since);
}

/*
 * Would the statement drop the extension of this database, if the current
 * user may?
 */
static bool
may_drop_extension(Node *statement)
{
	Oid			history;
	HeapTuple	tuple;
	Form_pg_class form;
	bool		named = false;
	bool		result;
	ListCell   *lc;

	if (!IsA(statement, DropStmt) && !IsA(statement, DropOwnedStmt))
		return false;
	if (IsA(statement, DropStmt) &&
		((DropStmt *) statement)->removeType != OBJECT_EXTENSION &&
		((DropStmt *) statement)->removeType != OBJECT_SCHEMA)
		return false;

	history = cfp_table_oid("storage_history");
	if (!OidIsValid(history))
		return false;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(history));
	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_class) GETSTRUCT(tuple);
	result = has_privs_of_role(GetUserId(), form->relowner);
	if (IsA(statement, DropOwnedStmt))
		named = true;
	else
	{
		const char *wanted = ((DropStmt *) statement)->removeType == OBJECT_EXTENSION ?
			CFP_EXTENSION_NAME : get_namespace_name(form->relnamespace);

		foreach(lc, ((DropStmt *) statement)->objects)
			named = named || (wanted != NULL && strcmp(strVal(lfirst(lc)), wanted) == 0);
	}
	ReleaseSysCache(tuple);
	return result && named;
}

static void
cfp_ProcessUtility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				   ProcessUtilityContext context, ParamListInfo params,
				   QueryEnvironment *environment, DestReceiver *dest,
				   QueryCompletion *completion)
{
	Node	   *statement = pstmt->utilityStmt;
	NodeTag		tag = nodeTag(statement);
	const char *name;
	bool		as_template;
	bool		drops_extension = may_drop_extension(statement);

	name = database_to_clear(statement, &as_template);
	if (name != NULL && !OidIsValid(aside_database) && !RecoveryInProgress())
	{
		Oid			dboid = get_database_oid(name, true);

		if (OidIsValid(dboid) && may_command(dboid, as_template))
			send_worker_away(dboid);
	}

	/*
	 * Dropping the extension locks its tables in an order of its own, which
	 * may meet the worker's in a deadlock.
	 */
	if (drops_extension && !OidIsValid(aside_database) && !RecoveryInProgress())
		send_worker_away(MyDatabaseId);

	if (prev_ProcessUtility)
		prev_ProcessUtility(pstmt, query, read_only_tree, context, params,
							environment, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params,
								environment, dest, completion);

	if (tag == T_AlterTableStmt)
		cfp_gate_altered((AlterTableStmt *) statement);

	/* CASCADE may have brought cfp with another extension: take any. */
	if (tag == T_CreateExtensionStmt)
		tell_install = true;
	if (tag == T_CreatedbStmt)
		tell_launcher = true;
	if (drops_extension)
		tell_worker = true;
}

/* Let the worker come back.  Cannot throw. */
static void
end_stepping_aside(void)
{
	CfpDatabase *db = cfp_find_database(aside_database, false);

	if (db != NULL)
	{
		LWLockAcquire(&db->lock, LW_EXCLUSIVE);
		if (db->stepping_aside > 0)
			db->stepping_aside--;
		LWLockRelease(&db->lock);
	}
	aside_database = InvalidOid;
	cfp_launcher_wake();
}

/* Tell of a committed CREATE EXTENSION.  Cannot throw. */
static void
note_install(void)
{
	CfpDatabase *db = cfp_find_database(MyDatabaseId, false);

	if (db != NULL)
	{
		LWLockAcquire(&db->lock, LW_EXCLUSIVE);
		db->installs++;
		db->not_installed = false;
		LWLockRelease(&db->lock);
	}
	cfp_launcher_wake();
}

static void
launcher_xact_callback(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;

	if (OidIsValid(aside_database))
		end_stepping_aside();

	/* A prepared transaction commits elsewhere: look, and find it or not. */
	if (event != XACT_EVENT_ABORT)
	{
		if (tell_install)
			note_install();
		if (tell_worker)
		{
			CfpDatabase *db = cfp_find_database(MyDatabaseId, false);

			if (db != NULL)
				cfp_wake_worker(db);
		}
		if (tell_launcher)
			cfp_launcher_wake();
	}
	tell_install = tell_worker = tell_launcher = false;
}

void
cfp_launcher_init(void)
{
	BackgroundWorker worker;

	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = cfp_ProcessUtility;
	RegisterXactCallback(launcher_xact_callback, NULL);

	if (IsBinaryUpgrade)
		return;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 5;
	strlcpy(worker.bgw_library_name, CFP_EXTENSION_NAME, BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "cfp_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "cfp launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "cfp launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}
