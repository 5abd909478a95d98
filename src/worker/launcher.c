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
 * Commands that need a worker away make it leave by themselves (aside.c).
 *
 * No worker is ever started for a database that is gone, which would put a
 * FATAL into the log: a worker needs the shared entry, looks at stepping_aside
 * in it and puts its pid there before it connects, and DROP DATABASE waits for
 * the pid to go; its commit frees the entry; and the launcher starts workers only for entries that it knows
 * to have been there before it listed the databases.
 *
 * Locks: as in database.c.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/compat.h"
#include "base/process.h"
#include "base/retry.h"
#include "cache/descriptor.h"
#include "files/instance_lock.h"
#include "shared/database.h"
#include "worker/launcher.h"

#define LOOK_INTERVAL		30000	/* ms between looks without cause */
#define SLOT_INTERVAL		5000	/* ms between tries for a slot */
#define PROBE_INTERVAL		200 /* ms between them while slots come and go */
#define STEADY_RUN			60000	/* ms after which a failure is a first one */
#define WARNING_INTERVAL	600000	/* ms between warnings for one database */
#define LEAVE_TIMEOUT		5000	/* ms to wait for the workers at the end */

/* What the launcher remembers of a database; its own memory. */
typedef struct LaunchEntry
{
	Oid			dboid;			/* hash key */
	BackgroundWorkerHandle *handle; /* NULL: none started */
	TimestampTz started_at;
	CfpBackoff	backoff;		/* its worker failed */
	TimestampTz warned_at;
} LaunchEntry;

static HTAB *launch_entries = NULL;

typedef struct ListedDatabase
{
	Oid			dboid;
	char		name[NAMEDATALEN];
	bool		wanted;			/* may have a worker */
} ListedDatabase;

static void
launcher_exit(int code, Datum arg)
{
	cfp_instance_lock_release();
	cfp_publish_launcher(NULL);
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
		listed->wanted = form->datallowconn && !form->datistemplate &&
			!cfp_database_is_invalid(form);
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

	if (!failed || TimestampDifferenceExceeds(entry->started_at, now, STEADY_RUN))
		memset(&entry->backoff, 0, sizeof(entry->backoff));
	if (failed)
		cfp_backoff_failed(&entry->backoff, now);
}

/*
 * Start the database's worker if it should have one and has none.  Returns
 * when to try again, 0 for no particular time.
 */
static TimestampTz
launch_worker(const ListedDatabase *listed, CfpDatabase *db)
{
	TimestampTz now = GetCurrentTimestamp();
	LaunchEntry *entry;
	bool		found;
	bool		wanted;
	bool		uses_cfp;

	Assert(OidIsValid(listed->dboid) && listed->wanted);
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
	if (!cfp_backoff_over(&entry->backoff, now))
		return entry->backoff.at;

	if (cfp_start_process("cfp_worker_main", "cfp worker", listed->dboid, NULL, &entry->handle))
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
					TimestampTz when = launch_worker(database, db);

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
	cfp_publish_launcher(MyLatch);

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

void
cfp_launcher_init(void)
{
	BackgroundWorker launcher;

	if (IsBinaryUpgrade)
		return;
	cfp_describe_process(&launcher, "cfp_launcher_main", "cfp launcher");
	launcher.bgw_restart_time = 5;
	RegisterBackgroundWorker(&launcher);
}
