/*-------------------------------------------------------------------------
 *
 * commit_int.h
 *		The beginning and the writing of a transaction's stores, for claim.c.
 *
 * See the head of commit.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_COMMIT_INT_H
#define CFP_COMMIT_INT_H

#include "postgres.h"

/* How often to make room for a claim or a record: others may take it first. */
#define CFP_STORE_ROOM_TRIES	8

/*
 * Before each store: the transaction has its id, its locks, and what it needs to
 * write at the commit.
 */
extern void cfp_begin_storing(void);

/*
 * Write early what the current nesting level has stored, and drop the bodies
 * from memory.
 */
extern void cfp_write_level(void);

#endif							/* CFP_COMMIT_INT_H */
