/*-------------------------------------------------------------------------
 *
 * list_collections.h
 *		The collections that the tables have.
 *
 * See the head of list_collections.c.  Callers have checked privileges.  Throws
 * 40001 when storage_history was emptied or rewritten after the snapshot was taken.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_LIST_COLLECTIONS_H
#define CFP_LIST_COLLECTIONS_H

#include "base/names.h"

#include "nodes/pg_list.h"
#include "utils/snapshot.h"

/*
 * Names of the collections of a key that have a record the snapshot sees, as
 * a List of text*, in byte order.
 */
extern List *cfp_table_collections(Snapshot snapshot, const char *key, int key_len);

/*
 * The collections that have a record the snapshot sees, of a key or (NULL) of
 * all, in the order of their names, one by one; false at the end.  The names
 * are good until the next call.  Lives in CurrentMemoryContext.
 */
typedef struct CfpCollections CfpCollections;

extern CfpCollections *cfp_collections_begin(Snapshot snapshot, const char *key, int key_len);
extern bool cfp_collections_next(CfpCollections *collections, CfpCollectionName *name);
extern void cfp_collections_end(CfpCollections *collections);

#endif							/* CFP_LIST_COLLECTIONS_H */
