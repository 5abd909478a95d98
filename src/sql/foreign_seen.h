/*-------------------------------------------------------------------------
 *
 * foreign_seen.h
 *		Which items the rows are that a statement has read.
 *
 * See the head of foreign_seen.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FOREIGN_SEEN_H
#define CFP_FOREIGN_SEEN_H

#include "base/names.h"

#include "nodes/execnodes.h"
#include "storage/itemptr.h"

#include "sql/foreign_row.h"

typedef struct CfpSeen CfpSeen;

/*
 * Begin to number the rows of a table of the statement; what was begun for it
 * before goes on.  The map shows its rows.  Good as long as the statement.
 */
extern CfpSeen *cfp_seen_begin(EState *estate, Index rti, CfpRowMap *map);

/* Give a row its number, as a tid. */
extern void cfp_seen_add(CfpSeen *seen, const CfpItemName *name, int32 version,
						 ItemPointer tid);

/* The rows of a table of the statement; there must be some. */
extern CfpSeen *cfp_seen_of(EState *estate, Index rti);

/*
 * The item of a row, and the version that was read; what names it lasts as long as
 * the statement.
 */
extern int32 cfp_seen_item(CfpSeen *seen, ItemPointer tid, CfpItemName *name);

extern CfpRowMap *cfp_seen_map(CfpSeen *seen);

/* Memory for one row, emptied by each call. */
extern MemoryContext cfp_seen_row_context(CfpSeen *seen);

/*
 * The item's record as it is now, in CurrentMemoryContext: what others have
 * committed since the statement began counts, unless the transaction has one
 * snapshot for all.  NULL: there is none.
 */
extern CfpRecord *cfp_item_now(const CfpItemName *name, const EState *estate, uint64 *txid);

#endif							/* CFP_FOREIGN_SEEN_H */
