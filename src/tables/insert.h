/*-------------------------------------------------------------------------
 *
 * insert.h
 *		Inserting records into storage_history.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_INSERT_H
#define CFP_INSERT_H

#include "base/names.h"
#include "record/record.h"

/* One row to insert, of a store. */
typedef struct CfpHistoryRow
{
	text	   *key;
	text	   *collection;
	text	   *item;
	const CfpRecord *record;
} CfpHistoryRow;

/* One row to insert by its columns, of a rebuild; txid is not used. */
typedef struct CfpHistoryColumns
{
	Datum		values[CFP_NCOLS];
	bool		nulls[CFP_NCOLS];
	const char *file;			/* where it was read */
	int64		line;
} CfpHistoryColumns;

/*
 * Insert rows, sorted by primary key, with this transaction's txid.  Needs a
 * transaction with ROW EXCLUSIVE on the history.  Maintains all indexes, checks
 * all constraints, fires AFTER triggers for each row; deferred ones are queued.
 * Fires no statement trigger, and refuses others for each row.  Throws what an
 * INSERT would throw, 40001 for a primary-key collision.
 */
extern void cfp_history_insert(const CfpHistoryRow *rows, int nrows);

/*
 * Does an insert run nothing but what cfp and the server bring: no trigger,
 * constraint, generated column or index expression of a user's?  Needs a lock
 * on the history; throws 55000 when it has a trigger that stores refuse.
 */
extern bool cfp_history_is_plain(Oid history);

/* Is an insert going on?  What triggers call may not store then. */
extern bool cfp_history_inserting;

#endif							/* CFP_INSERT_H */
