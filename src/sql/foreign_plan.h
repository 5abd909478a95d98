/*-------------------------------------------------------------------------
 *
 * foreign_plan.h
 *		What a plan says of a scan of a foreign table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FOREIGN_PLAN_H
#define CFP_FOREIGN_PLAN_H

#include "base/names.h"

#include "foreign/fdwapi.h"

/* How much of a name is given, and so what is read. */
typedef enum CfpBound
{
	CFP_BOUND_ALL,
	CFP_BOUND_KEY,
	CFP_BOUND_COLLECTION,
	CFP_BOUND_RANGE,			/* of a collection */
	CFP_BOUND_ITEMS,			/* = ANY (array) */
	CFP_BOUND_ITEM
} CfpBound;

/* The values that bound a scan. */
enum
{
	CFP_GIVEN_KEY,
	CFP_GIVEN_COLLECTION,
	CFP_GIVEN_ITEM,
	CFP_GIVEN_ITEMS,
	CFP_GIVEN_FROM,
	CFP_GIVEN_TO,
	CFP_NGIVEN
};

/*
 * fdw_private of a scan: the bound; for each value its place in fdw_exprs, -1:
 * not given; the numbers of the columns that are asked for; do the rows need
 * numbers; are they read backward?
 */
enum
{
	CFP_PRIVATE_BOUND,
	CFP_PRIVATE_GIVEN,
	CFP_PRIVATE_WANTED,
	CFP_PRIVATE_NUMBERED,
	CFP_PRIVATE_BACKWARD
};

/* The wrapper's part in planning; see fdwapi.h. */
extern void cfp_foreign_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid table);
extern void cfp_foreign_paths(PlannerInfo *root, RelOptInfo *rel, Oid table);
extern ForeignScan *cfp_foreign_plan(PlannerInfo *root, RelOptInfo *rel, Oid table,
									 ForeignPath *path, List *targets, List *clauses,
									 Plan *outer_plan);


#endif							/* CFP_FOREIGN_PLAN_H */
