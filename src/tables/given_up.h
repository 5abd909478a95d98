/*-------------------------------------------------------------------------
 *
 * given_up.h
 *		What changes by hand take from the storage tables.
 *
 * See the head of given_up.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_GIVEN_UP_H
#define CFP_GIVEN_UP_H

#include "base/names.h"
#include "tables/floors.h"

/*
 * All of these: the transaction has passed the gate as a change by hand does.
 * They may throw.
 *
 * A row of history or latest is deleted, or will be another record.  With
 * goes_on it stays the same item's, at a higher version.
 */
extern void cfp_given_up_row(Relation rel, HeapTuple row, bool goes_on);

/*
 * A row comes into history or latest, or becomes one of another item; its names
 * are not NULL.
 */
extern void cfp_given_up_comes(Relation rel, HeapTuple row);

/*
 * The table is truncated.  What can't be read of it is reported as a WARNING,
 * and passed over.
 */
extern void cfp_given_up_table(Relation rel);

/* Versions up to this one of the collection (both NULL: of all) go. */
extern void cfp_given_up_versions(const text *key, const text *collection, int32 version);

/*
 * This transaction, or one before it, has changed the tables in a way that no
 * flush or reconciliation has looked at yet.  Cannot throw.
 */
extern void cfp_given_up_unseen(void);

/* Add to a collection's floors what this transaction has given up. */
extern void cfp_given_up_add(const CfpCollectionName *name, CfpFloors *floors);

/*
 * Write what this (sub)transaction has given up.  Called before a transaction
 * commits, when nothing changes the tables any more.
 */
extern void cfp_given_up_save(void);

/* Register the transaction callbacks; called once by _PG_init. */
extern void cfp_given_up_init(void);

#endif							/* CFP_GIVEN_UP_H */
