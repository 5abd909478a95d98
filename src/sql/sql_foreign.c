/*-------------------------------------------------------------------------
 *
 * sql_foreign.c
 *		The foreign data wrapper of storage_current and of typed tables.
 *
 * All of it is in this process: no connection is made anywhere.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/reloptions.h"
#include "fmgr.h"
#include "utils/rel.h"

#include "sql/foreign.h"
#include "sql/foreign_analyze.h"
#include "sql/foreign_import.h"
#include "sql/foreign_lock.h"
#include "sql/foreign_modify.h"
#include "sql/foreign_plan.h"
#include "sql/foreign_scan.h"

PG_FUNCTION_INFO_V1(cfp_fdw_handler);
PG_FUNCTION_INFO_V1(cfp_fdw_validator);

/* TRUNCATE */
static void
refuse_truncate(List *rels, DropBehavior behavior, bool restart_seqs)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot truncate foreign table \"%s\"",
					RelationGetRelationName((Relation) linitial(rels))),
			 errhint("DELETE deletes items and keeps their history; TRUNCATE storage_history, storage_latest removes both, of all items.")));
}

static int
is_updatable(Relation rel)
{
	return (1 << CMD_INSERT) | (1 << CMD_UPDATE) | (1 << CMD_DELETE);
}

Datum
cfp_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = cfp_foreign_rel_size;
	routine->GetForeignPaths = cfp_foreign_paths;
	routine->GetForeignPlan = cfp_foreign_plan;
	routine->BeginForeignScan = cfp_foreign_begin_scan;
	routine->IterateForeignScan = cfp_foreign_next;
	routine->ReScanForeignScan = cfp_foreign_rescan;
	routine->EndForeignScan = cfp_foreign_end_scan;
	routine->ExplainForeignScan = cfp_foreign_explain;
	routine->AnalyzeForeignTable = cfp_foreign_analyze;
	routine->AddForeignUpdateTargets = cfp_foreign_add_targets;
	routine->PlanForeignModify = cfp_foreign_plan_modify;
	routine->BeginForeignModify = cfp_foreign_begin_modify;
	routine->BeginForeignInsert = cfp_foreign_begin_insert;
	routine->ExecForeignInsert = cfp_foreign_insert;
	routine->ExecForeignUpdate = cfp_foreign_update;
	routine->ExecForeignDelete = cfp_foreign_delete;
	routine->IsForeignRelUpdatable = is_updatable;
	routine->ExecForeignTruncate = refuse_truncate;
	routine->GetForeignRowMarkType = cfp_foreign_row_mark;
	routine->RefetchForeignRow = cfp_foreign_lock_row;
	routine->ImportForeignSchema = cfp_foreign_import;
	PG_RETURN_POINTER(routine);
}

Datum
cfp_fdw_validator(PG_FUNCTION_ARGS)
{
	cfp_check_foreign_options(PG_GETARG_OID(1), untransformRelOptions(PG_GETARG_DATUM(0)));
	PG_RETURN_VOID();
}
