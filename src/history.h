/*-------------------------------------------------------------------------
 *
 * history.h
 *		The tables: inserting records, reading items and collections.
 *
 * All scans here are direct (no SPI): the caller's privileges and row
 * security must not filter them.  Callers have checked privileges.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_HISTORY_H
#define CFP_HISTORY_H

#include "cfp.h"
#include "record.h"
#include "tables.h"

#include "nodes/pg_list.h"
#include "utils/date.h"
#include "utils/snapshot.h"

/* What has been flushed, as one snapshot sees it (the row of cfp_state). */
typedef struct CfpCursor
{
	uint64		xmax;
	int			nxip;
	uint64	   *xip;			/* full xids in progress when it was taken */
	bool		reconcile;		/* read the history only (DESIGN.md rule 8) */
} CfpCursor;

/* One row to insert. */
typedef struct CfpHistoryRow
{
	text	   *key;
	text	   *collection;
	text	   *item;
	const CfpRecord *record;
} CfpHistoryRow;

/*
 * Insert rows, sorted by primary key, with this transaction's txid.  Needs a
 * transaction with ROW EXCLUSIVE on the history.  Maintains all indexes, checks
 * all constraints, fires AFTER triggers for each row; deferred ones are queued.
 * Fires no statement trigger, and refuses others for each row.  Throws what an
 * INSERT would throw, 40001 for a primary-key collision.
 */
extern void cfp_history_insert(const CfpHistoryRow *rows, int nrows);

/* Is that going on?  What triggers call may not store then. */
extern bool cfp_history_inserting;

/* One row of the history by its columns; txid is not used. */
typedef struct CfpHistoryColumns
{
	Datum		values[CFP_NCOLS];
	bool		nulls[CFP_NCOLS];
} CfpHistoryColumns;

/*
 * Insert those of the rows whose primary key is not there, with the frozen
 * txid; returns how many.  Of two with the same key the first counts.  In a
 * transaction that has ROW EXCLUSIVE on the history and has passed the gate
 * as a change by hand does, so that what its snapshot sees is all there is.
 */
extern int64 cfp_history_add_missing(const CfpHistoryColumns *rows, int nrows);

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
 * Rows of a collection that the snapshot sees, newest version of each item,
 * tombstones included, in byte order of item name.  The callback gets a
 * record and a name that live until it returns; it returns false to stop.
 */
typedef bool (*CfpTableRowCallback) (const char *item, int item_len,
									 const CfpRecord *record, uint64 txid,
									 void *arg);

typedef struct CfpItemRange
{
	const char *from;			/* inclusive; NULL: from the first */
	int			from_len;
	const char *to;				/* inclusive; NULL: to the last */
	int			to_len;
} CfpItemRange;

extern void cfp_table_read_collection(Snapshot snapshot, const CfpCollectionName *name,
									  const CfpItemRange *range,
									  CfpTableRowCallback callback, void *arg);

/*
 * Names of the collections of a key that have a record the snapshot sees, as
 * a List of text*, in byte order.
 */
extern List *cfp_table_collections(Snapshot snapshot, const char *key, int key_len);

/*
 * Versions of an item, newest first, that the snapshot sees; max_versions <=
 * 0: all.
 */
extern void cfp_table_read_versions(Snapshot snapshot, const CfpItemName *name,
									int max_versions,
									CfpTableRowCallback callback, void *arg);

/* The cursor of storage_dirty as the snapshot sees it. */
extern void cfp_cursor_read(Snapshot snapshot, CfpCursor *cursor);

/*
 * Which day file is being written and how long it is by the last flush that
 * the snapshot sees; false when none of this database is.
 */
extern bool cfp_cursor_read_file(Snapshot snapshot, DateADT *date, int32 *file,
								 int64 *length);

#endif							/* CFP_HISTORY_H */
