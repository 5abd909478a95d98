/*-------------------------------------------------------------------------
 *
 * read_collection.h
 *		Reading a collection from the tables.
 *
 * Callers have checked privileges.  Throws 40001 when storage_history was
 * emptied or rewritten after the snapshot was taken.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_READ_COLLECTION_H
#define CFP_READ_COLLECTION_H

#include "base/names.h"

#include "nodes/pg_list.h"
#include "utils/snapshot.h"

#include "tables/read_item.h"

typedef struct CfpItemRange
{
	const char *from;			/* inclusive; NULL: from the first */
	int			from_len;
	const char *to;				/* inclusive; NULL: to the last */
	int			to_len;
} CfpItemRange;

/*
 * Rows of a collection that the snapshot sees, newest version of each item,
 * tombstones included, in byte order of item name; range NULL: all of them.
 */
extern void cfp_table_read_collection(Snapshot snapshot, const CfpCollectionName *name,
									  const CfpItemRange *range,
									  CfpTableRowCallback callback, void *arg);

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

#endif							/* CFP_READ_COLLECTION_H */
