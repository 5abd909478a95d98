/*-------------------------------------------------------------------------
 *
 * database.h
 *		The shared entry of each database that uses cfp.
 *
 * A fixed array in main shared memory, one entry a database, found by its
 * oid.  It carries what the cache of the database depends on (generation,
 * running hand-made changes), the counters of cfp_stat, and the meeting
 * point of sessions and the database's worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_DATABASE_H
#define CFP_DATABASE_H

#include "base/names.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/spin.h"
#include "utils/date.h"

#include "shared/job_list.h"

#define CFP_MAX_DATABASES	512
#define CFP_MAX_REQUESTS	32	/* waiting at once in one database */

/* Why a read went to the tables instead of the cache. */
typedef enum CfpTableRead
{
	CFP_READ_SERIALIZABLE,		/* isolation level */
	CFP_READ_OLD_SNAPSHOT,		/* snapshot older than the cached collection */
	CFP_READ_PRUNED,			/* the version wanted was cut from the chain */
	CFP_READ_BYPASSED,			/* memory ran out, or a table-mode store */
	CFP_READ_HAND_CHANGE,		/* storage tables changed by hand, or triggers
								 * off */
	CFP_READ_RECOVERY,			/* standby */
	CFP_READ_OTHER,				/* parallel mode, no shared memory, a scan
								 * that fills nothing */
	CFP_READ_REASONS
} CfpTableRead;

/* Counters; kept per backend during a transaction, added up at its end. */
typedef struct CfpCounts
{
	uint64		stores;
	uint64		gets;			/* items and collections asked for */
	uint64		hits;			/* answered from the cache */
	uint64		misses;			/* had to load or read tables */
	uint64		loads;
	uint64		evictions;
	uint64		table_reads[CFP_READ_REASONS];
} CfpCounts;

#define CFP_NCOUNTS		(sizeof(CfpCounts) / sizeof(uint64))

/*
 * A database has each counter so many times, for backends to add to different
 * ones: a line of memory that all processors write is what would limit them.
 */
#define CFP_COUNT_PARTS	16

typedef struct CfpCountPart
{
	pg_atomic_uint64 counts[CFP_NCOUNTS];
}			pg_attribute_aligned(PG_CACHE_LINE_SIZE) CfpCountPart;

typedef enum CfpWorkerState
{
	CFP_WORKER_NONE,			/* no worker process */
	CFP_WORKER_STARTING,
	CFP_WORKER_IDLE,
	CFP_WORKER_FLUSHING,
	CFP_WORKER_FOLDING,
	CFP_WORKER_RECONCILING,
	CFP_WORKER_RETRYING			/* sleeping after an error */
} CfpWorkerState;

typedef enum CfpRequestKind
{
	CFP_REQUEST_FLUSH,
	CFP_REQUEST_FOLD,
	CFP_REQUEST_RECONCILE,		/* flush; reconcile if marked; result 0 */
	CFP_REQUEST_CLOSE			/* close the dates that are due; result 0 */
} CfpRequestKind;

typedef enum CfpRequestState
{
	CFP_REQUEST_FREE, CFP_REQUEST_WAITING, CFP_REQUEST_RUNNING,
	CFP_REQUEST_DONE			/* its outcome can be read */
} CfpRequestState;

/* The outcome is where the asker has it (requests.c). */
typedef struct CfpRequest
{
	CfpRequestKind kind;
	CfpRequestState state;
	int			owner_pid;		/* 0: the asker has left; worker frees it */
	int			owner_number;	/* the asker's place among all processes */
} CfpRequest;

/* How a request or a job has ended; the texts say how it failed. */
typedef struct CfpOutcome
{
	bool		failed;
	int			sqlerrcode;
	int64		result;
	char		message[256];
	char		detail[256];
	char		hint[256];
} CfpOutcome;

/* Long work for the job worker (jobs.h). */
typedef enum CfpJobKind
{
#define CFP_JOB_KIND(kind, name, function, changes, run) CFP_JOB_##kind,
	CFP_JOB_LIST(CFP_JOB_KIND)
#undef CFP_JOB_KIND
	CFP_JOB_KINDS
} CfpJobKind;

/* Each kind looks at what concerns it. */
typedef struct CfpJobArgs
{
	DateADT		from;			/* or the one date */
	DateADT		to;
	bool		discard_newer;
	bool		include_forgotten;
	bool		dry_run;
	bool		has_older_than;
	TimestampTz older_than;
	int32		keep_versions;	/* -1: not given */
	int			key_len;		/* -1: not given */
	int			collection_len; /* -1: not given */
	char		names[CFP_MAX_NAME_BYTES];	/* key, then collection */
} CfpJobArgs;

/* The one job of a database that waits or runs. */
typedef struct CfpJob
{
	CfpJobKind	kind;
	CfpRequestState state;
	int			owner_pid;		/* 0: the asker has left; job worker frees it */
	int			worker_pid;		/* of the job worker; 0: none */
	bool		by_worker;		/* asked for by the database's worker, not a
								 * session */
	int64		progress_done;
	int64		progress_total;
	char		warning[512];	/* for the asker; empty: none */
	CfpOutcome	outcome;
	CfpJobArgs	args;
} CfpJob;

typedef struct CfpDatabase
{
	/* What each get and store reads, apart from what they write. */
	Oid			dboid;			/* InvalidOid: free; protected by the array
								 * lock */
	pg_atomic_uint64 generation;	/* of the cache; raised when all cached is
									 * to be dropped */
	pg_atomic_uint32 hand_changes;	/* transactions changing tables by hand
									 * now */

	/* Flow from commits to the worker (commit.c adds, flush.c reads). */
	pg_atomic_uint64 committed	/* records committed since server start */
				pg_attribute_aligned(PG_CACHE_LINE_SIZE);
	pg_atomic_uint64 flushed;	/* value of committed that the last flush had
								 * seen before it took its snapshot */
	pg_atomic_uint64 oldest_unflushed;	/* TimestampTz of the first commit
										 * after the last flush; 0 none */

	CfpCountPart counts[CFP_COUNT_PARTS];
	pg_atomic_uint64 stats_reset;	/* TimestampTz */

	/* The worker; lock protects all that follows. */
	LWLock		lock;
	int			worker_pid;		/* 0: none */
	Latch	   *worker_latch;	/* NULL when there is no worker */
	CfpWorkerState worker_state;
	bool		no_slot;		/* launcher could not start a worker */
	bool		not_installed;	/* worker looked: the extension is not here */
	bool		worker_failed;	/* the last one ended with an error */
	uint32		installs;		/* raised by each CREATE EXTENSION committed,
								 * so that a worker that looked before it does
								 * not set not_installed after it */
	int			stepping_aside; /* commands (DROP DATABASE ...) that need the
								 * worker away; see aside.c */
	TimestampTz last_flush;
	TimestampTz last_fold;
	TimestampTz last_error_at;
	char		last_error[256];
	DateADT		open_date;		/* the next to be closed; with next_end */
	TimestampTz next_end;		/* when; 0: no worker has found out yet */
	int64		dirty_items;	/* rows of storage_dirty, -1 unknown */
	int64		wal_behind;		/* flushed records not in the day files */
	TimestampTz wal_error_at;	/* 0: none now */
	char		wal_error[256];
	int64		progress_done;
	int64		progress_total;
	CfpRequest	requests[CFP_MAX_REQUESTS];
	CfpJob		job;
	ConditionVariable request_cv;	/* of requests and of the job */
} CfpDatabase;

/* This transaction's counts so far. */
extern CfpCounts cfp_counts;

/*
 * The entry of this database, made when missing.  Throws 55000 when not
 * preloaded, 53400 when the array is full.  Never moves or goes away while
 * a session is connected to the database.
 */
extern CfpDatabase *cfp_my_database(void);

/* The entry of any database, or NULL. */
extern CfpDatabase *cfp_find_database(Oid dboid, bool create);

/* The databases that have an entry, palloc'd. */
extern Oid *cfp_list_databases(int *noids);

/*
 * Free the entries of these databases, which are known to be dropped.  One
 * that still has a worker or a command running on it stays.  Cannot throw.
 */
extern void cfp_forget_databases(const Oid *oids, int noids);

/* Wake the database's worker, if there is one.  Cannot throw. */
extern void cfp_wake_worker(CfpDatabase *db);

/* Wake the launcher, if there is one: it looks at all databases.  Cannot throw. */
extern void cfp_wake_launcher(void);

/* Launcher: its latch, NULL at its end. */
extern void cfp_publish_launcher(Latch *latch);

/*
 * Worker, in its database: what it is doing (cfp_stat, pg_stat_activity), how
 * far that has come, and the number of rows of storage_dirty, -1 when unknown.
 */
extern void cfp_publish_state(CfpWorkerState state);
extern void cfp_publish_progress(int64 done, int64 total);
extern void cfp_publish_dirty_items(int64 items);

/* Has this transaction changed the storage tables by hand? */
extern bool cfp_hand_changed;

/*
 * This transaction changes the storage tables by hand, and is counted among
 * hand_changes until its end (commit.c).  Does nothing without preloading.
 */
extern void cfp_hand_change_begin(void);

/* Add cfp_counts to the shared counters and clear them.  Cannot throw. */
extern void cfp_counts_flush(void);

/* What the shared counters of a database have. */
extern void cfp_counts_read(CfpDatabase *db, CfpCounts *counts);

/*
 * They begin anew.  What other sessions add at this moment may count in part.
 * Cannot throw.
 */
extern void cfp_counts_reset(CfpDatabase *db);

/*
 * Called in the commit callback with the number of records committed: raise
 * committed, note the time of the oldest, wake the worker when it should
 * look.  Cannot throw, allocates nothing.
 */
extern void cfp_database_note_commit(CfpDatabase *db, uint64 nrecords);

extern Size cfp_database_shmem_size(void);
extern void cfp_database_shmem_init(void);

#endif							/* CFP_DATABASE_H */
