/*-------------------------------------------------------------------------
 *
 * locks.c
 *		Locks on the items of a cached collection.
 *
 * Purpose: a transaction locks items, so that others who would store or lock them
 * wait for its end.  A lock is no version: it is in no chain, and readers do not
 * come upon it.
 *
 * Called by the wing that stores, to set locks and take them off, and to ask for
 * them before a version is claimed.  Whom to wait for is decided there.
 *
 * Layout: an item has a flag that tells whether it has locks at all, so that those
 * without pay nothing else.  The locks themselves hang in buckets, by the hash of
 * the reference to their item; few of them in one list, without an array.
 *
 * Locks: the collection's, exclusively to change, in any mode to look.
 *
 * Invariants:
 * 	- The flag CFP_ITEM_LOCKED is set exactly as long as the item has a lock.
 * 	- A transaction has at most one lock on an item, and a pin on the collection
 * 	  as long as it has one: locks go before the collection can.
 * 	- Where there are buckets `few_locks` is 0; without locks there are none.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cache/arena.h"
#include "cache/locks.h"

#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"

/* So many locks get along without buckets. */
#define FEW_LOCKS			16

/* When there are more buckets, moving the locks would take too long. */
#define MAX_BUCKETS			(256 * 1024)

static inline uint32
place_of(CfpRef item, uint32 nbuckets)
{
	return murmurhash32(item) & (nbuckets - 1);
}

static inline CfpRef *
bucket_of(CfpCollection *col, CfpRef item)
{
	return col->lock_buckets == NULL ? &col->few_locks :
		&col->lock_buckets[place_of(item, col->nlock_buckets)];
}

/* The first from here on that is on the item. */
static inline CfpLock *
find_from(CfpRef ref, CfpRef item)
{
	while (ref != 0)
	{
		CfpLock    *lock = cfp_ptr(ref);

		if (lock->item == item)
			return lock;
		ref = lock->next;
	}
	return NULL;
}

CfpLock *
cfp_lock_first(const CfpCollection *col, const CfpItem *item)
{
	CfpRef		ref = cfp_ref(item);

	Assert(cfp_collection_is_steady(col));
	if ((item->flags & CFP_ITEM_LOCKED) == 0)
		return NULL;
	return find_from(*bucket_of(unconstify(CfpCollection *, col), ref), ref);
}

CfpLock *
cfp_lock_next(const CfpLock *lock)
{
	return find_from(lock->next, lock->item);
}

CfpLock *
cfp_lock_of(const CfpCollection *col, const CfpItem *item, FullTransactionId writer)
{
	CfpLock    *lock = cfp_lock_first(col, item);

	while (lock != NULL && !FullTransactionIdEquals(lock->writer, writer))
		lock = cfp_lock_next(lock);
	return lock;
}

/* Have a bucket for each lock and one more, up to a limit; false without memory. */
static bool
buckets_grow(CfpCollection *col)
{
	uint32		nold = col->lock_buckets ? col->nlock_buckets : 1;
	CfpRef	   *old = col->lock_buckets ? col->lock_buckets : &col->few_locks;
	uint32		n = col->lock_buckets ? col->nlock_buckets * 2 : FEW_LOCKS * 4;
	CfpRef	   *buckets;

	if (col->nlocks < Max(col->nlock_buckets, FEW_LOCKS) || nold == MAX_BUCKETS)
		return true;
	buckets = cfp_piece_alloc(col, n * sizeof(CfpRef));
	if (buckets == NULL)
		return false;
	memset(buckets, 0, n * sizeof(CfpRef));
	for (uint32 i = 0; i < nold; i++)
	{
		CfpRef		ref = old[i];

		while (ref != 0)
		{
			CfpLock    *lock = cfp_ptr(ref);
			CfpRef	   *bucket = &buckets[place_of(lock->item, n)];
			CfpRef		next = lock->next;

			lock->next = *bucket;
			*bucket = ref;
			ref = next;
		}
	}
	if (col->lock_buckets != NULL)
		cfp_piece_free(col, col->lock_buckets);
	col->few_locks = 0;
	col->lock_buckets = buckets;
	col->nlock_buckets = n;
	return true;
}

CfpLock *
cfp_lock_add(CfpCollection *col, CfpItem *item, FullTransactionId writer)
{
	CfpLock    *lock;
	CfpRef	   *bucket;

	Assert(LWLockHeldByMeInMode(&col->lock, LW_EXCLUSIVE));
	Assert(col->pins != 0 && FullTransactionIdIsValid(writer));
	Assert(cfp_lock_of(col, item, writer) == NULL);
	if (!buckets_grow(col))
		return NULL;
	lock = cfp_arena_alloc(col, sizeof(CfpLock), false);
	if (lock == NULL)
		return NULL;
	bucket = bucket_of(col, cfp_ref(item));
	lock->next = *bucket;
	lock->item = cfp_ref(item);
	lock->writer = writer;
	lock->waits_for = InvalidTransactionId;
	lock->strength = CFP_LOCK_WANTED;
	*bucket = cfp_ref(lock);
	col->nlocks++;
	item->flags |= CFP_ITEM_LOCKED;
	return lock;
}

void
cfp_lock_remove(CfpCollection *col, CfpLock *lock)
{
	CfpRef		ref = cfp_ref(lock);
	CfpRef		item = lock->item;
	CfpRef	   *bucket = bucket_of(col, item);
	CfpRef	   *link = bucket;

	Assert(LWLockHeldByMeInMode(&col->lock, LW_EXCLUSIVE));
	while (*link != ref)
	{
		Assert(*link != 0);
		link = &((CfpLock *) cfp_ptr(*link))->next;
	}
	*link = lock->next;
	if (find_from(*bucket, item) == NULL)
		((CfpItem *) cfp_ptr(item))->flags &= ~CFP_ITEM_LOCKED;
	cfp_arena_free(col, lock, sizeof(CfpLock));
	if (--col->nlocks == 0 && col->lock_buckets != NULL)
	{
		cfp_piece_free(col, col->lock_buckets);
		col->lock_buckets = NULL;
		col->nlock_buckets = 0;
	}
}

bool
cfp_wait_for_writer(TransactionId xid, bool wait)
{
	/*
	 * One that has ended leaves what it had here in its callback, which those
	 * who wait for its lock are behind.
	 */
	if (!wait && TransactionIdIsInProgress(xid))
		return false;
	XactLockTableWait(xid, NULL, NULL, XLTW_None);
	return true;
}
