/*-------------------------------------------------------------------------
 *
 * floors.h
 *		Versions that stay taken although their records are gone.
 *
 * See the head of floors.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FLOORS_H
#define CFP_FLOORS_H

#include "base/names.h"

#include "access/htup.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/* What holds for one collection, that for all of them included. */
typedef struct CfpFloors
{
	int32		new_items;		/* where an item begins that is in no table */
	int32		all_items;		/* what any item's last version is at least */
} CfpFloors;

/*
 * What a version counts for as a floor.  The highest there can be is put in by
 * hand: nothing goes on from it, and it would end the stores of a whole
 * collection.
 */
static inline int32
cfp_floor_of(int32 version)
{
	return version < PG_INT32_MAX ? version : 0;
}

/*
 * The collection's floors as the snapshot sees them.  Throws as cfp_tables()
 * does.
 */
extern void cfp_floors_read(Snapshot snapshot, const CfpCollectionName *name,
							CfpFloors *floors);

/*
 * Raise the row of the collection (both names NULL: of all) to these.  The
 * caller has passed the gate as a change by hand or a fold does.
 */
extern void cfp_floors_raise(const text *key, const text *collection,
							 const CfpFloors *floors);

/*
 * Records of these versions and above come to the collection, and may be what
 * a whole item had before it was pruned: so that none goes on from there, raise
 * all_items to new_items if the lowest is not above it.  The caller as for
 * cfp_floors_raise().
 */
extern void cfp_floors_level(const text *key, const text *collection, int32 lowest);

/*
 * A row that is to be inserted into storage_floors: raise the row of the same
 * collection to it.  False when there is none.
 */
extern bool cfp_floors_merge(Relation rel, HeapTuple row);

/* The new row of storage_floors, with what the old one has if that is higher. */
extern HeapTuple cfp_floors_greatest(Relation rel, HeapTuple old, HeapTuple new);

#endif							/* CFP_FLOORS_H */
