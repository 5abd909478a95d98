/*-------------------------------------------------------------------------
 *
 * read_item.h
 *		Reading one item from the tables.
 *
 * Callers have checked privileges.  Whatever reads with an MVCC snapshot
 * throws 40001 when storage_history was emptied or rewritten after the
 * snapshot was taken.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_READ_ITEM_H
#define CFP_READ_ITEM_H

#include "base/names.h"
#include "record/record.h"

#include "utils/snapshot.h"

/*
 * Gets a record and a name that live until it returns; returns false to stop.
 */
typedef bool (*CfpTableRowCallback) (const char *item, int item_len,
									 const CfpRecord *record, uint64 txid,
									 void *arg);

/*
 * The newest record of an item that the snapshot sees, of the history and
 * the latest table; NULL when none.  txid may be NULL.
 */
extern CfpRecord *cfp_table_read_item(Snapshot snapshot, const CfpItemName *name,
									  uint64 *txid);

/* One version of an item from the history; NULL when not seen. */
extern CfpRecord *cfp_table_read_version(Snapshot snapshot, const CfpItemName *name,
										 int32 version);

/*
 * Versions of an item, newest first, that the snapshot sees; max_versions <=
 * 0: all.
 */
extern void cfp_table_read_versions(Snapshot snapshot, const CfpItemName *name,
									int max_versions,
									CfpTableRowCallback callback, void *arg);

#endif							/* CFP_READ_ITEM_H */
