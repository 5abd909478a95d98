/*-------------------------------------------------------------------------
 *
 * lock.h
 *		Locking items.
 *
 * See the head of lock.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_LOCK_H
#define CFP_LOCK_H

#include "base/names.h"

#include "nodes/lockoptions.h"

/*
 * Lock the item, whether it is there or not, to the end of the transaction, or to
 * the rollback of the current subtransaction.  What others have stored and not
 * committed is waited for, and so are others' locks, unless both are shared.
 * Returns true.
 *
 * Instead of waiting LockWaitSkip returns false, and LockWaitError throws 55P03.
 * (A load of the collection is waited for all the same, and so is a change of the
 * storage tables by hand, as a lock on a table.)
 *
 * With true, what is committed of the item is its newest version, and stays so;
 * at READ COMMITTED only a snapshot that is taken now is sure to see it.  At
 * REPEATABLE READ and above throws 40001 when the transaction's does not.
 *
 * Throws 25006 in a read-only transaction or on a standby, 55000 when not
 * preloaded or after the pre-commit step, 40P01, and what a wait throws.  The
 * name must be one that can be stored.  The caller has checked the privilege.
 */
extern bool cfp_item_lock(const CfpItemName *name, bool exclusive, LockWaitPolicy policy);

#endif							/* CFP_LOCK_H */
