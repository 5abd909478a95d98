/*-------------------------------------------------------------------------
 *
 * pending.h
 *		The records a transaction has stored and not yet committed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_PENDING_H
#define CFP_PENDING_H

#include "cfp.h"
#include "record.h"

/*
 * What a conditional store asks of the current record (NULL: never stored).
 * It may not throw and may not allocate: it runs under the collection's lock.
 */
typedef bool (*CfpStorePredicate) (const CfpRecord *current, void *arg);

/*
 * Store one record; returns its version.  fields->version and updated_at are
 * set here.  With a predicate the store happens only when it holds of the
 * item's current record, decided after the outcome of versions in flight;
 * otherwise: with missing_ok returns 0, without throws 40001 with the current
 * version and username in DETAIL.
 *
 * Throws 22004 .. 54000 for what it is given, 25006 in a read-only transaction
 * or on a standby, 55000 when not preloaded or after the pre-commit step,
 * 40001 on a conflict, 40P01.  The caller has checked the privilege.
 */
extern int32 cfp_pending_store(const CfpItemName *name, CfpFields *fields,
							   CfpStorePredicate predicate, void *arg,
							   bool missing_ok);

/* The predicate of expected_version; arg is an int32 *. */
extern bool cfp_expect_version(const CfpRecord *current, void *arg);

/* The predicate of a delete: there is something; arg unused. */
extern bool cfp_expect_present(const CfpRecord *current, void *arg);

/* Has this transaction any record pending at all?  (The fast test.) */
extern bool cfp_pending_any;

/*
 * This transaction's newest own record of the item, or NULL; of those stored
 * by commands before the given one (as a table would show them), or
 * CFP_UP_TO_NOW.  The record stays good until the (sub)transaction ends or the
 * item is stored again; it may have been read back into CurrentMemoryContext.
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

/* Own newest records of one collection, sorted by item name (palloc'd). */
extern CfpPendingRow *cfp_pending_collection(const CfpCollectionName *name, int *nrows);

/*
 * Own newest records of all items (key NULL) or of one key, unsorted; before
 * as above.
 */
extern CfpPendingRow *cfp_pending_all(const char *key, int key_len, CommandId before,
									  int *nrows);

/* Has this transaction stored into (or deleted from) the collection? */
extern bool cfp_pending_in(const CfpCollectionName *name);

/* Does this transaction store into the collection through the tables? */
extern bool cfp_pending_table_mode(const CfpCollectionName *name);

/* Every own pending version of one item, newest first (for cfp_history). */
extern CfpPendingRow *cfp_pending_versions(const CfpItemName *name, int *nrows);

/* Called from the trigger on the storage tables: the statement changes them. */
extern void cfp_pending_note_hand_change(void);

/* Did this transaction change the storage tables by hand? */
extern bool cfp_hand_changed;

/* Register the transaction callbacks; called once by _PG_init. */
extern void cfp_pending_init(void);

#endif							/* CFP_PENDING_H */
