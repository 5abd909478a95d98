/*-------------------------------------------------------------------------
 *
 * foreign_modify.h
 *		INSERT, UPDATE, DELETE and COPY into storage_current.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FOREIGN_MODIFY_H
#define CFP_FOREIGN_MODIFY_H

#include "base/names.h"

#include "foreign/fdwapi.h"

/* The wrapper's part in changing rows; see fdwapi.h. */
extern void cfp_foreign_add_targets(PlannerInfo *root, Index index, RangeTblEntry *entry,
									Relation rel);
extern List *cfp_foreign_plan_modify(PlannerInfo *root, ModifyTable *plan, Index result,
									 int subplan);
extern void cfp_foreign_begin_modify(ModifyTableState *state, ResultRelInfo *rel,
									 List *private, int subplan, int flags);
extern void cfp_foreign_begin_insert(ModifyTableState *state, ResultRelInfo *rel);
extern TupleTableSlot *cfp_foreign_insert(EState *estate, ResultRelInfo *rel,
										  TupleTableSlot *slot, TupleTableSlot *plan_slot);
extern TupleTableSlot *cfp_foreign_update(EState *estate, ResultRelInfo *rel,
										  TupleTableSlot *slot, TupleTableSlot *plan_slot);
extern TupleTableSlot *cfp_foreign_delete(EState *estate, ResultRelInfo *rel,
										  TupleTableSlot *slot, TupleTableSlot *plan_slot);


#endif							/* CFP_FOREIGN_MODIFY_H */
