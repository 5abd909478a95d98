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
 * The same of many collections, one after the other and each as often as is wanted:
 * what they have in common is read once.  A range has no upper bound.  A reader
 * lives in CurrentMemoryContext, and is good as long as the snapshot.
 */
typedef struct CfpTableReader CfpTableReader;

extern CfpTableReader *cfp_table_reader_open(Snapshot snapshot);
extern void cfp_table_reader_read(CfpTableReader *reader, const CfpCollectionName *name,
								  const CfpItemRange *range,
								  CfpTableRowCallback callback, void *arg);
extern void cfp_table_reader_close(CfpTableReader *reader);

#endif							/* CFP_READ_COLLECTION_H */
