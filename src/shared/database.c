/*-------------------------------------------------------------------------
 *
 * database.c
 *		The shared entry of each database that uses cfp.
 *
 * A fixed array in main shared memory.  Sessions make the entry of their own
 * database when they first need it, the launcher makes one for every
 * database it lists, and both find it by scanning the array: that happens
 * once a session, so 512 comparisons do not matter.
 *
 * Who frees: an entry goes when its database has been dropped (launcher.c),
 * never while it has a worker or a command waits for its worker to stay
 * away.  No session can be connected then, so a session keeps the address.
 * Anybody else looks the entry up by oid each time, or takes the entry's
 * lock and compares dboid.
 *
 * Locks: the array's lock protects dboid of all entries; an entry's lock
 * protects the worker part of it.  Order: array, then entry.  No lock is
 * held while anything can throw.
 *
 * Commits and the worker: a commit raises `committed`, then sets
 * `oldest_unflushed` when it is 0.  A flush does the reverse: it clears
 * `oldest_unflushed`, then reads `committed`, then takes its snapshot, and
 * publishes `flushed` when it has committed.  As every step is a full memory
 * barrier, a commit that the flush did not count finds `oldest_unflushed`
 * cleared and sets it again; one that it counted was visible to its
 * snapshot, because the commit callback runs after the transaction has left
 * the list of running ones.  A commit may be flushed before it is counted:
 * then a later flush finds nothing, which is harmless.
 *
 * The worker is woken when the first record waits and at each batch, not at
 * each commit.  No wake-up is lost: the worker publishes `flushed` and then
 * looks at `committed` before it sleeps; the commit raises `committed` and
 * then looks at `flushed`; one of them sees the other.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "base/preload.h"
#include "base/settings.h"
#include "shared/database.h"

typedef struct CfpDatabases
{
	int			tranche;
	LWLock		lock;
	Latch	   *launcher_latch; /* NULL: no launcher; read without a lock, as
								 * a worker's latch */
	CfpDatabase entries[CFP_MAX_DATABASES];
} CfpDatabases;

static CfpDatabases *databases = NULL;
static CfpDatabase *my_database = NULL;

CfpCounts	cfp_counts;
bool		cfp_hand_changed = false;

Size
cfp_database_shmem_size(void)
{
	return sizeof(CfpDatabases);
}

/*
 * Entries are filled in when they are given to a database: there are many,
 * and pages never touched cost nothing.
 */
void
cfp_database_shmem_init(void)
{
	bool		found;

	databases = ShmemInitStruct("cfp databases", sizeof(CfpDatabases), &found);
	if (!found)
	{
		databases->tranche = LWLockNewTrancheId();
		LWLockInitialize(&databases->lock, databases->tranche);
		databases->launcher_latch = NULL;
		for (int i = 0; i < CFP_MAX_DATABASES; i++)
		{
			databases->entries[i].dboid = InvalidOid;
			LWLockInitialize(&databases->entries[i].lock, databases->tranche);
		}
	}
	LWLockRegisterTranche(databases->tranche, "cfp_database");
}

/* Fill in a free entry.  The caller holds the array's lock exclusively. */
static void
entry_init(CfpDatabase *db, Oid dboid)
{
	TimestampTz now = GetCurrentTimestamp();

	Assert(LWLockHeldByMeInMode(&databases->lock, LW_EXCLUSIVE));
	Assert(!OidIsValid(db->dboid) && OidIsValid(dboid));

	/* A time, so that it differs from that of any earlier entry. */
	pg_atomic_init_u64(&db->generation, (uint64) now);
	pg_atomic_init_u32(&db->hand_changes, 0);
	pg_atomic_init_u64(&db->committed, 0);
	pg_atomic_init_u64(&db->flushed, 0);
	pg_atomic_init_u64(&db->oldest_unflushed, 0);
	for (int part = 0; part < CFP_COUNT_PARTS; part++)
	{
		for (int i = 0; i < CFP_NCOUNTS; i++)
			pg_atomic_init_u64(&db->counts[part].counts[i], 0);
	}
	pg_atomic_init_u64(&db->stats_reset, (uint64) now);

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->worker_pid = 0;
	db->worker_latch = NULL;
	db->worker_state = CFP_WORKER_NONE;
	db->no_slot = false;
	db->not_installed = false;
	db->worker_failed = false;
	db->installs = 0;
	db->stepping_aside = 0;
	db->last_flush = 0;
	db->last_fold = 0;
	db->last_error_at = 0;
	db->last_error[0] = '\0';
	db->open_date = 0;
	db->next_end = 0;
	db->dirty_items = -1;
	db->wal_behind = 0;
	db->wal_error_at = 0;
	db->wal_error[0] = '\0';
	db->progress_done = 0;
	db->progress_total = 0;
	for (int i = 0; i < CFP_MAX_REQUESTS; i++)
		db->requests[i].state = CFP_REQUEST_FREE;
	db->job.state = CFP_REQUEST_FREE;
	db->job.worker_pid = 0;
	ConditionVariableInit(&db->request_cv);
	db->dboid = dboid;
	LWLockRelease(&db->lock);
}

/* The caller holds the array's lock. */
static CfpDatabase *
entry_find(Oid dboid)
{
	Assert(LWLockHeldByMe(&databases->lock));
	for (int i = 0; i < CFP_MAX_DATABASES; i++)
		if (databases->entries[i].dboid == dboid)
			return &databases->entries[i];
	return NULL;
}

CfpDatabase *
cfp_find_database(Oid dboid, bool create)
{
	CfpDatabase *db;

	LWLockAcquire(&databases->lock, LW_SHARED);
	db = entry_find(dboid);
	LWLockRelease(&databases->lock);
	if (db != NULL || !create)
		return db;

	LWLockAcquire(&databases->lock, LW_EXCLUSIVE);
	db = entry_find(dboid);
	if (db == NULL)
	{
		db = entry_find(InvalidOid);
		if (db != NULL)
			entry_init(db, dboid);
	}
	LWLockRelease(&databases->lock);
	return db;
}

CfpDatabase *
cfp_my_database(void)
{
	if (my_database == NULL)
	{
		cfp_require_preload();
		my_database = cfp_find_database(MyDatabaseId, true);
		if (my_database == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("cfp can serve at most %d databases of a server",
							CFP_MAX_DATABASES),
					 errhint("Move some databases to another server.")));
	}
	return my_database;
}

Oid *
cfp_list_databases(int *noids)
{
	Oid		   *oids = palloc(sizeof(Oid) * CFP_MAX_DATABASES);

	*noids = 0;
	LWLockAcquire(&databases->lock, LW_SHARED);
	for (int i = 0; i < CFP_MAX_DATABASES; i++)
		if (OidIsValid(databases->entries[i].dboid))
			oids[(*noids)++] = databases->entries[i].dboid;
	LWLockRelease(&databases->lock);
	return oids;
}

void
cfp_forget_databases(const Oid *oids, int noids)
{
	LWLockAcquire(&databases->lock, LW_EXCLUSIVE);
	for (int i = 0; i < noids; i++)
	{
		CfpDatabase *db = entry_find(oids[i]);

		if (db == NULL)
			continue;
		LWLockAcquire(&db->lock, LW_EXCLUSIVE);
		if (db->worker_pid == 0 && db->job.worker_pid == 0 && db->stepping_aside == 0)
			db->dboid = InvalidOid;
		LWLockRelease(&db->lock);
	}
	LWLockRelease(&databases->lock);
}

void
cfp_counts_flush(void)
{
	uint64	   *counts = (uint64 *) &cfp_counts;
	CfpCountPart *part;

	StaticAssertStmt(sizeof(CfpCounts) == sizeof(uint64) * CFP_NCOUNTS,
					 "cfp_counts is an array of counters");
	if (my_database == NULL)
		return;
	part = &my_database->counts[MyProcPid % CFP_COUNT_PARTS];
	for (int i = 0; i < CFP_NCOUNTS; i++)
	{
		if (counts[i] != 0)
		{
			pg_atomic_fetch_add_u64(&part->counts[i], (int64) counts[i]);
			counts[i] = 0;
		}
	}
}

void
cfp_counts_read(CfpDatabase *db, CfpCounts *counts)
{
	memset(counts, 0, sizeof(*counts));
	for (int part = 0; part < CFP_COUNT_PARTS; part++)
	{
		for (int i = 0; i < CFP_NCOUNTS; i++)
			((uint64 *) counts)[i] += pg_atomic_read_u64(&db->counts[part].counts[i]);
	}
}

void
cfp_counts_reset(CfpDatabase *db)
{
	for (int part = 0; part < CFP_COUNT_PARTS; part++)
	{
		for (int i = 0; i < CFP_NCOUNTS; i++)
			pg_atomic_write_u64(&db->counts[part].counts[i], 0);
	}
	pg_atomic_write_u64(&db->stats_reset, (uint64) GetCurrentTimestamp());
}

/*
 * The latch is read once and without the lock: it is that of a process slot,
 * so it stays memory that may be set, at worst for another process, which
 * then looks around for nothing.
 */
void
cfp_wake_worker(CfpDatabase *db)
{
	Latch	   *latch = *(Latch *volatile *) &db->worker_latch;

	if (latch != NULL)
		SetLatch(latch);
}

void
cfp_wake_launcher(void)
{
	Latch	   *latch = *(Latch *volatile *) &databases->launcher_latch;

	if (latch != NULL)
		SetLatch(latch);
}

void
cfp_publish_launcher(Latch *latch)
{
	databases->launcher_latch = latch;
}

void
cfp_publish_state(CfpWorkerState state)
{
	CfpDatabase *db = cfp_my_database();

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
cfp_publish_progress(int64 done, int64 total)
{
	CfpDatabase *db = cfp_my_database();

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->progress_done = done;
	db->progress_total = total;
	LWLockRelease(&db->lock);
}

void
cfp_publish_dirty_items(int64 items)
{
	CfpDatabase *db = cfp_my_database();

	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	db->dirty_items = items;
	LWLockRelease(&db->lock);
}

void
cfp_hand_change_begin(void)
{
	if (cfp_hand_changed || !cfp_preloaded)
		return;
	pg_atomic_fetch_add_u32(&cfp_my_database()->hand_changes, 1);
	cfp_hand_changed = true;
}

void
cfp_database_note_commit(CfpDatabase *db, uint64 nrecords)
{
	uint64		before = pg_atomic_fetch_add_u64(&db->committed, (int64) nrecords);
	uint64		flushed = pg_atomic_read_u64(&db->flushed);
	uint64		waiting = before - flushed;
	uint64		batch = (uint64) Max(cfp_batch_size, 1);

	Assert(nrecords > 0);
	if (pg_atomic_read_u64(&db->oldest_unflushed) == 0)
	{
		uint64		none = 0;

		pg_atomic_compare_exchange_u64(&db->oldest_unflushed, &none,
									   (uint64) GetCurrentTransactionStopTimestamp());
	}

	if (before <= flushed || waiting / batch != (waiting + nrecords) / batch)
		cfp_wake_worker(db);
}
