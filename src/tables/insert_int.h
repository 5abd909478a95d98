/*-------------------------------------------------------------------------
 *
 * insert_int.h
 *		Inserting rows of the history in either of their two forms.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_INSERT_INT_H
#define CFP_INSERT_INT_H

#include "base/names.h"

#include "access/transam.h"
#include "utils/relcache.h"

/* Rows to insert: of the one form or of the other (insert.h). */
typedef struct CfpInsertRows
{
	const struct CfpHistoryRow *records;
	const struct CfpHistoryColumns *const *columns;
	int			nrows;
	FullTransactionId txid;
} CfpInsertRows;

/* Needs ROW EXCLUSIVE on the history, which is rel; there is at least one row. */
extern void cfp_insert_rows(Relation rel, const CfpInsertRows *rows);

#endif							/* CFP_INSERT_INT_H */
