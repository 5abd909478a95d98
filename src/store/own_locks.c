/*-------------------------------------------------------------------------
 *
 * own_locks.c
 *		The locks that a transaction has on items, until its end.
 *
 * Purpose: the locks that a (sub)transaction has set are taken off when it rolls
 * back, and all of them when the transaction ends.
 *
 * Called by lock.c, which sets them, and by commit.c's callbacks.
 *
 * Nesting: as with the records of own.c, they are kept in order of time, and a
 * stack says where each (sub)transaction's part begins.
 *
 * Locks: a collection's LWLock is held while locks are taken off, of so many items
 * at a time.  What runs in the callbacks allocates nothing, looks nothing up and
 * cannot throw.
 *
 * Invariants:
 * 	- Each lock that the transaction has in shared memory is here, and its
 * 	  collection is pinned.
 * 	- The levels are sorted by nesting and by where they begin; none is empty.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/locks.h"
#include "store/own_locks_int.h"

#include "access/xact.h"
#include "utils/memutils.h"

/* An array larger than this is not kept for the next transaction. */
#define KEEP_LOCKS			4096

typedef struct OwnLock
{
	PendingCollection *collection;
	CfpRef		lock;			/* 0: of the whole collection, in table mode;
								 * that lock is released by the server */
	bool		raised;			/* an older entry has it as a shared one */
} OwnLock;

typedef struct LockLevel
{
	int			nesting;
	Size		start;
} LockLevel;

static OwnLock *locks = NULL;
static Size nlocks = 0;
static Size locks_size = 0;
static LockLevel *levels = NULL;
static int	nlevels = 0;
static int	levels_size = 0;

void
cfp_own_locks_reserve(void)
{
	if (nlocks == locks_size)
	{
		Size		size = Max(64, locks_size * 2);

		locks = locks ? repalloc_huge(locks, size * sizeof(OwnLock)) :
			MemoryContextAllocHuge(TopMemoryContext, size * sizeof(OwnLock));
		locks_size = size;
	}
	if (nlevels == levels_size)
	{
		int			size = Max(16, levels_size * 2);

		levels = levels ? repalloc(levels, size * sizeof(LockLevel)) :
			MemoryContextAlloc(TopMemoryContext, size * sizeof(LockLevel));
		levels_size = size;
	}
}

void
cfp_own_locks_push(PendingCollection *collection, CfpLock *lock, bool raised)
{
	int			nesting = GetCurrentTransactionNestLevel();

	Assert(nlocks < locks_size && nlevels < levels_size);
	Assert(nlevels == 0 || levels[nlevels - 1].nesting <= nesting);
	if (nlevels == 0 || levels[nlevels - 1].nesting < nesting)
	{
		levels[nlevels].nesting = nesting;
		levels[nlevels++].start = nlocks;
	}
	else if (lock == NULL && locks[nlocks - 1].lock == 0 &&
			 locks[nlocks - 1].collection == collection)
		return;					/* once is enough for many items */
	locks[nlocks].collection = collection;
	locks[nlocks].lock = lock ? cfp_ref(lock) : 0;
	locks[nlocks++].raised = raised;
}

bool
cfp_own_locks_any(void)
{
	return nlocks > 0;
}

/* Take off the newest ones, down to so many. */
static void
release_down_to(Size left)
{
	while (nlocks > left)
	{
		PendingCollection *collection = locks[nlocks - 1].collection;
		CfpCollection *col = collection->shared;

		if (locks[nlocks - 1].lock == 0)
		{
			nlocks--;
			continue;
		}
		LWLockAcquire(&col->lock, LW_EXCLUSIVE);
		for (int held = 0; held < ITEMS_AT_ONCE && nlocks > left; held++)
		{
			OwnLock    *own = &locks[nlocks - 1];
			CfpLock    *lock = cfp_ptr(own->lock);

			if (own->collection != collection || own->lock == 0)
				break;
			if (own->raised)
				lock->strength = CFP_LOCK_SHARED;
			else
				cfp_lock_remove(col, lock);
			nlocks--;
		}
		LWLockRelease(&col->lock);
	}
}

void
cfp_own_locks_end_sub(int nesting, bool committed)
{
	LockLevel  *top;

	if (nlevels == 0 || levels[nlevels - 1].nesting < nesting)
		return;
	top = &levels[nlevels - 1];
	if (!committed)
	{
		release_down_to(top->start);
		nlevels--;
	}
	else if (nlevels > 1 && levels[nlevels - 2].nesting == nesting - 1)
		nlevels--;
	else
		top->nesting = nesting - 1;
}

void
cfp_own_locks_release(void)
{
	release_down_to(0);
	nlevels = 0;
	if (locks_size > KEEP_LOCKS)
	{
		pfree(locks);
		locks = NULL;
		locks_size = 0;
	}
}
