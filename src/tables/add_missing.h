/*-------------------------------------------------------------------------
 *
 * add_missing.h
 *		Adding to storage_history what it has lost.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_ADD_MISSING_H
#define CFP_ADD_MISSING_H

#include "base/names.h"
#include "tables/insert.h"

/* The transactions of a job that adds rows, so far. */
typedef struct CfpAdding
{
	TransactionId *xids;
	int			nxids;
	int64		twice;			/* rows that took the place of another */
	void		(*report) (const CfpHistoryColumns *row);	/* of each of them */
} CfpAdding;

/*
 * Insert those of the rows whose primary key is not there, with the frozen
 * txid; returns how many.  Of two that differ and have the same key, both of
 * this job, the later one counts, and is reported.  In a transaction that has
 * ROW EXCLUSIVE on the history and has passed the gate as a change by hand
 * does, so that what its snapshot sees is all there is.  Done as the table's
 * owner (table_write.h).
 */
extern int64 cfp_history_add_missing(const CfpHistoryColumns *rows, int nrows, CfpAdding *adding);

#endif							/* CFP_ADD_MISSING_H */
