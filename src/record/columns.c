/*-------------------------------------------------------------------------
 *
 * columns.c
 *		The columns of storage_history and storage_latest, as a table.
 *
 * For tables.c, which checks that the two tables have them, and for messages
 * and descriptors that name a column.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"

#include "record/columns.h"

StaticAssertDecl(CFP_COL_KEY == 0 && CFP_COL_COLLECTION == 1 && CFP_COL_ITEM == 2,
				 "the names of an item are the first columns");

#define COLUMN(id, name, type) [CFP_COL_##id] = {#name, type},

const CfpColumn cfp_columns[CFP_NCOLS] = {
	CFP_COLUMNS(COLUMN)
};
