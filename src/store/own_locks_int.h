/*-------------------------------------------------------------------------
 *
 * own_locks_int.h
 *		The locks that a transaction has on items, for the files of the wing.
 *
 * See the head of own_locks.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_OWN_LOCKS_INT_H
#define CFP_OWN_LOCKS_INT_H

#include "store/own_int.h"

/* Make room for one more; may throw. */
extern void cfp_own_locks_reserve(void);

/*
 * Note, where there is room, what the current subtransaction has got, and loses by
 * a rollback: a lock in the pinned collection; one that was shared before, and is
 * exclusive now (`raised`); with `lock` NULL, that it locks items of a collection
 * in table mode.  Cannot throw.
 */
extern void cfp_own_locks_push(PendingCollection *collection, CfpLock *lock, bool raised);

/* Has the transaction any? */
extern bool cfp_own_locks_any(void);

/* At the end of a subtransaction, and of the whole.  Cannot throw, allocate nothing. */
extern void cfp_own_locks_end_sub(int nesting, bool committed);
extern void cfp_own_locks_release(void);

#endif							/* CFP_OWN_LOCKS_INT_H */
