/*-------------------------------------------------------------------------
 *
 * locks.h
 *		Locks on the items of a cached collection.
 *
 * See the head of locks.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_LOCKS_H
#define CFP_LOCKS_H

#include "cache/cache.h"

/*
 * The locks on an item, one for each transaction: the first, and the one after
 * another; NULL when there is none (lock in any mode).
 */
extern CfpLock *cfp_lock_first(const CfpCollection *col, const CfpItem *item);
extern CfpLock *cfp_lock_next(const CfpLock *lock);

/* That of the writer, or NULL (lock in any mode). */
extern CfpLock *cfp_lock_of(const CfpCollection *col, const CfpItem *item,
							FullTransactionId writer);

/*
 * A lock that is WANTED, of a writer that has none on the item, and has the
 * collection pinned; NULL when memory is short (lock exclusive).
 */
extern CfpLock *cfp_lock_add(CfpCollection *col, CfpItem *item, FullTransactionId writer);

/* Lock exclusive.  Cannot throw, allocates nothing. */
extern void cfp_lock_remove(CfpCollection *col, CfpLock *lock);

/*
 * Wait until the transaction that stands in the way has ended.  Without `wait`
 * only for what is left to do of one that has: false when it goes on.  The caller
 * holds no lock of the cache.  Throws 40P01, and what a wait throws.
 */
extern bool cfp_wait_for_writer(TransactionId xid, bool wait);

#endif							/* CFP_LOCKS_H */
