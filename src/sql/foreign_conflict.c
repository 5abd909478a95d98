/*-------------------------------------------------------------------------
 *
 * foreign_conflict.c
 *		INSERT ... ON CONFLICT (columns) on a foreign table of cfp.
 *
 * The planner looks for a unique index of these columns, which a foreign table
 * cannot have.  Where they are the names of an item they say what ON CONFLICT says
 * without them: so they are checked, and taken off, before the planner sees them.
 * What is done on a conflict is in foreign_modify.c.
 *
 * Called for each statement that is planned, whatever it is about.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "foreign/fdwapi.h"
#include "nodes/bitmapset.h"
#include "nodes/primnodes.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "base/names.h"
#include "sql/foreign.h"
#include "sql/foreign_conflict.h"
#include "sql/foreign_plan.h"

static planner_hook_type previous_planner = NULL;

/* Are the columns those that name an item, no more and no less? */
static bool
name_an_item(const CfpForeignTable *table, int rti, List *elements)
{
	Bitmapset  *left = NULL;
	ListCell   *lc;

	for (int i = 0; i < CFP_NAME_COLUMNS; i++)
	{
		if (table->name_column[i] != 0)
			left = bms_add_member(left, table->name_column[i]);
	}
	foreach(lc, elements)
	{
		Var		   *var = (Var *) lfirst_node(InferenceElem, lc)->expr;

		if (!IsA(var, Var) || var->varno != rti || !bms_is_member(var->varattno, left))
			return false;
		left = bms_del_member(left, var->varattno);
	}

	/* What the table's options give may be named, too. */
	for (int i = 0; i < CFP_NAME_COLUMNS; i++)
	{
		if (table->name[i] != NULL)
			left = bms_del_member(left, table->name_column[i]);
	}
	return bms_is_empty(left);
}

static void
take_inference(Query *query)
{
	OnConflictExpr *conflict = query->onConflict;
	RangeTblEntry *entry;
	const CfpForeignTable *table;

	if (conflict == NULL || conflict->arbiterElems == NIL)
		return;
	entry = rt_fetch(query->resultRelation, query->rtable);
	if (entry->relkind != RELKIND_FOREIGN_TABLE ||
		GetFdwRoutineByRelId(entry->relid)->GetForeignPaths != cfp_foreign_paths)
		return;
	table = cfp_foreign_table(entry->relid);
	if (!name_an_item(table, query->resultRelation, conflict->arbiterElems))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("there is no unique or exclusion constraint matching the ON CONFLICT specification"),
				 table->is_current ?
				 errhint("Say ON CONFLICT (key, collection_name, item_name).") :
				 errhint("Name the columns of \"%s\" that are the key, collection name and item name.",
						 get_rel_name(entry->relid))));
	conflict->arbiterElems = NIL;
	conflict->arbiterWhere = NULL;
}

static PlannedStmt *
plan_statement(Query *query, const char *source, int options, ParamListInfo parameters)
{
	ListCell   *lc;

	take_inference(query);
	foreach(lc, query->cteList)
	{
		Node	   *part = lfirst_node(CommonTableExpr, lc)->ctequery;

		if (IsA(part, Query))
			take_inference((Query *) part);
	}
	return previous_planner != NULL ?
		previous_planner(query, source, options, parameters) :
		standard_planner(query, source, options, parameters);
}

void
cfp_foreign_conflict_init(void)
{
	previous_planner = planner_hook;
	planner_hook = plan_statement;
}
