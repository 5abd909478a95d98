/*-------------------------------------------------------------------------
 *
 * foreign.h
 *		The foreign table storage_current: its columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FOREIGN_H
#define CFP_FOREIGN_H

#include "record/columns.h"

/* The columns of storage_current: the tables' (CFP_COL_...), then `value`. */
#define CURRENT_VALUE		CFP_NCOLS
#define CURRENT_NCOLS		(CFP_NCOLS + 1)

/*
 * Throws 0A000 unless the table is storage_current, 55000 when it has been
 * altered.  The caller has a lock on it.
 */
extern void cfp_check_foreign_table(Oid table);


#endif							/* CFP_FOREIGN_H */
