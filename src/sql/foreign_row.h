/*-------------------------------------------------------------------------
 *
 * foreign_row.h
 *		Items as rows of a foreign table of cfp, and back.
 *
 * See the head of foreign_row.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FOREIGN_ROW_H
#define CFP_FOREIGN_ROW_H

#include "base/names.h"

#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "utils/rel.h"

#include "record/record.h"
#include "sql/foreign.h"

/* The fields of an item. */
typedef struct CfpFieldRow
{
	Datum		values[CFP_NFIELDS];
	bool		nulls[CFP_NFIELDS];
} CfpFieldRow;

typedef struct CfpRowMap CfpRowMap;

/*
 * For rows of the table; of those that are shown all columns are wanted, or only
 * these (a list of their numbers).  It lives in CurrentMemoryContext.
 */
extern CfpRowMap *cfp_row_map(const CfpForeignTable *table, Relation rel);
extern CfpRowMap *cfp_row_map_of(const CfpForeignTable *table, Relation rel, List *wanted);

/*
 * Make the slot show an item's record; it refers to memory of CurrentMemoryContext.
 * Throws what a member's conversion to the type of its column throws.
 */
extern void cfp_row_show(CfpRowMap *map, TupleTableSlot *slot, const CfpItemName *name,
						 const CfpRecord *record, uint64 txid);

/* Only its names, where no other column is wanted. */
extern void cfp_row_show_names(CfpRowMap *map, TupleTableSlot *slot, const CfpItemName *name);

/* All fields of the item. */
extern void cfp_row_fields(CfpFieldRow *row, const CfpItemName *name,
						   const CfpRecord *record, uint64 txid);

/*
 * The fields that a row gives.  Of an UPDATE old_slot and *old are the row and the
 * fields before it, and what the row does not change is as it was.  Of an INSERT
 * both are NULL, and `given` says which columns the statement has (as the server
 * numbers them; NULL: none).  Throws 44000 for a name that the table does not have.
 */
extern void cfp_row_take(CfpRowMap *map, TupleTableSlot *slot, TupleTableSlot *old_slot,
						 const CfpFieldRow *old, const Bitmapset *given, CfpFieldRow *row);

/* Is the field another than it was? */
extern bool cfp_field_changed(int field, const CfpFieldRow *old, const CfpFieldRow *row);

#endif							/* CFP_FOREIGN_ROW_H */
