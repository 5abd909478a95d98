/*-------------------------------------------------------------------------
 *
 * commit_int.h
 *		The beginning and the writing of a transaction's stores, for claim.c and
 *		lock.c.
 *
 * See the head of commit.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_COMMIT_INT_H
#define CFP_COMMIT_INT_H

#include "cache/load.h"
#include "shared/database.h"
#include "store/own_int.h"

/* How often to make room for a claim or a record: others may take it first. */
#define CFP_STORE_ROOM_TRIES	8

/*
 * Before each store: the transaction has its id, its locks on the tables, and what
 * it needs to write at the commit.  Before it locks an item: all but the last.
 */
extern void cfp_begin_storing(void);
extern void cfp_begin_locking(void);

/* Then: the collection is pinned, or in table mode. */
static inline void
cfp_pin_to_store(PendingCollection *collection)
{
	if (cfp_hand_changed)
		collection->table_mode = true;
	if (collection->shared == NULL && !collection->table_mode)
	{
		collection->shared = cfp_collection_pin(&collection->name, collection->hash,
												cfp_own.writer);
		collection->table_mode = (collection->shared == NULL);
	}
}

/*
 * Write early what the current nesting level has stored, and drop the bodies
 * from memory.
 */
extern void cfp_write_level(void);

#endif							/* CFP_COMMIT_INT_H */
