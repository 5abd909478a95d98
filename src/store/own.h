/*-------------------------------------------------------------------------
 *
 * own.h
 *		The records a transaction has stored and not yet committed.
 *
 * See the head of own.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_OWN_H
#define CFP_OWN_H

#include "base/names.h"
#include "record/record.h"
#include "tables/read_collection.h"

/* Has this transaction any record pending at all?  (The fast test.) */
extern bool cfp_pending_any;

/*
 * This transaction's newest own record of the item, or NULL; of those stored
 * by commands before the given one (as a table would show them), or
 * CFP_UP_TO_NOW.  The record stays good until the (sub)transaction ends or
 * stores again; it may have been read back into CurrentMemoryContext.
 */
#define CFP_UP_TO_NOW	InvalidCommandId
extern const CfpRecord *cfp_pending_find(const CfpItemName *name, CommandId before);

/* An own record: what it is called, and where it is. */
typedef struct CfpPendingRow
{
	CfpItemName name;
	int32		version;
	const struct PendingRecord *source;
} CfpPendingRow;

/*
 * The record, as good as one of cfp_pending_find().  Ask for it when it is
 * needed: one that had to leave memory is read back, and not remembered.
 */
extern const CfpRecord *cfp_pending_record(const CfpPendingRow *row);

/*
 * Own newest records of one collection, of items in a range, sorted by item name
 * (palloc'd); `before` is a command as for cfp_pending_find().
 */
extern CfpPendingRow *cfp_pending_collection(const CfpCollectionName *name,
											 const CfpItemRange *range,
											 CommandId before, int *nrows);

/*
 * Own newest records of all items (key NULL) or of one key, unsorted;
 * `before` is a command as for cfp_pending_find().
 */
extern CfpPendingRow *cfp_pending_all(const char *key, int key_len, CommandId before,
									  int *nrows);

/* Has this transaction stored into (or deleted from) the collection? */
extern bool cfp_pending_in(const CfpCollectionName *name);

/* Every own pending version of one item, newest first (for cfp_history). */
extern CfpPendingRow *cfp_pending_versions(const CfpItemName *name, int *nrows);

#endif							/* CFP_OWN_H */
