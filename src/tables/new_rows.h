/*-------------------------------------------------------------------------
 *
 * new_rows.h
 *		The rows of the history that were committed since a snapshot.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_NEW_ROWS_H
#define CFP_NEW_ROWS_H

#include "base/names.h"

#include "executor/tuptable.h"

/* The transactions whose rows are wanted: an older snapshot, and a bound. */
typedef struct CfpNewTransactions
{
	uint64		xmax;			/* of the older snapshot: from here on */
	uint64		below;			/* all txids are; PG_UINT64_MAX: no bound */
	int			nxip;			/* and those below xmax that it saw running
								 * and */
	Datum	   *xip;			/* that have ended meanwhile */
} CfpNewTransactions;

typedef struct CfpNewRows CfpNewRows;

/*
 * Begin to read what the active snapshot sees of them, in the order of the
 * table.  In a transaction with a lock on the table; the transactions must
 * stay as they are until the end.  The slot is good until the next call; NULL
 * after the last row.  All of them may throw.
 */
extern CfpNewRows *cfp_new_rows_begin(Oid history, Oid txid_index,
									  const CfpNewTransactions *transactions);
extern TupleTableSlot *cfp_new_rows_next(CfpNewRows *rows);
extern void cfp_new_rows_end(CfpNewRows *rows);

/*
 * Does the active snapshot see a row with such a txid or a higher one?  With its
 * own xmax: one that no transaction of this cluster that it saw end has written.
 */
extern bool cfp_sees_rows_from(Oid history, Oid txid_index, uint64 txid);

#endif							/* CFP_NEW_ROWS_H */
