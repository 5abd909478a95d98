/*-------------------------------------------------------------------------
 *
 * foreign_lock.h
 *		SELECT ... FOR UPDATE and the like on a foreign table of cfp.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FOREIGN_LOCK_H
#define CFP_FOREIGN_LOCK_H

#include "base/names.h"

#include "foreign/fdwapi.h"

/* The wrapper's part in locking rows; see fdwapi.h. */
extern RowMarkType cfp_foreign_row_mark(RangeTblEntry *entry, LockClauseStrength strength);
extern void cfp_foreign_lock_row(EState *estate, ExecRowMark *mark, Datum row_number,
								 TupleTableSlot *slot, bool *updated);

#endif							/* CFP_FOREIGN_LOCK_H */
