/*-------------------------------------------------------------------------
 *
 * foreign_plan.c
 *		Planning a scan of storage_current: what of the names is given.
 *
 * Called by the planner.  A condition `name = value`, where the value is a
 * constant, a parameter or comes from another table of the query, binds a
 * column; key and collection bound, item_name may be bound, be one of an array,
 * or lie in a range.  What is read is the smallest part so bound: an item, some
 * items, a range, a collection, a key, or all.  Rows come in the order of their
 * names, which the planner is told.
 *
 * Conditions that bind by `=` hold for all that is read; the others are checked
 * by the executor, and all of them when a row of another table has changed
 * meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"
#include "base/compat.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type_d.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "sql/foreign.h"
#include "sql/foreign_plan.h"
#include "tables/tables.h"

/* Text comparisons, which the catalog's header has no names for. */
#define TEXT_LE		665
#define TEXT_GT		666
#define TEXT_GE		667

/* What conditions say of the names. */
typedef struct Given
{
	Expr	   *values[CFP_NGIVEN]; /* NULL: not given */
	RestrictInfo *clauses[CFP_NGIVEN];
} Given;

static CfpBound
bound_of(const Given *given)
{
	if (given->values[CFP_GIVEN_KEY] == NULL)
		return CFP_BOUND_ALL;
	if (given->values[CFP_GIVEN_COLLECTION] == NULL)
		return CFP_BOUND_KEY;
	if (given->values[CFP_GIVEN_ITEM] != NULL)
		return CFP_BOUND_ITEM;
	if (given->values[CFP_GIVEN_ITEMS] != NULL)
		return CFP_BOUND_ITEMS;
	if (given->values[CFP_GIVEN_FROM] != NULL || given->values[CFP_GIVEN_TO] != NULL)
		return CFP_BOUND_RANGE;
	return CFP_BOUND_COLLECTION;
}

/* The column of the table that the expression is, from 0; -1: none of the names. */
static int
name_column(const RelOptInfo *rel, Node *node)
{
	Var		   *var = (Var *) strip_implicit_coercions(node);

	if (!IsA(var, Var) || var->varno != rel->relid || var->varlevelsup != 0 ||
		var->varattno < 1 || var->varattno > CFP_NAME_COLUMNS || var->vartype != TEXTOID)
		return -1;
	return var->varattno - 1;
}

/* May the expression be evaluated before the scan? */
static bool
is_outer(PlannerInfo *root, const RelOptInfo *rel, Node *node)
{
	return !bms_is_member(rel->relid, pull_varnos(root, node)) &&
		!contain_volatile_functions(node) && !contain_subplans(node);
}

static bool
by_bytes(Oid collation)
{
	return collation == C_COLLATION_OID;
}

/* Take what the condition gives, unless that is given already. */
static void
take_clause(PlannerInfo *root, const RelOptInfo *rel, RestrictInfo *info, Given *given)
{
	int			what = -1;
	Expr	   *value = NULL;

	if (info->pseudoconstant || !restriction_is_securely_promotable(info, unconstify(RelOptInfo *, rel)))
		return;
	if (IsA(info->clause, OpExpr) && list_length(((OpExpr *) info->clause)->args) == 2)
	{
		OpExpr	   *op = (OpExpr *) info->clause;
		Oid			opno = op->opno;
		Node	   *left = linitial(op->args);
		Node	   *right = lsecond(op->args);
		int			column = name_column(rel, left);

		if (column < 0)
		{
			column = name_column(rel, right);
			right = left;
			opno = get_commutator(opno);
		}
		if (column < 0 || exprType(right) != TEXTOID || !is_outer(root, rel, right))
			return;
		value = (Expr *) right;
		if (opno == TextEqualOperator)
		{
			if (get_collation_isdeterministic(op->inputcollid))
				what = CFP_GIVEN_KEY + column;
		}
		else if (column == CFP_COL_ITEM && by_bytes(op->inputcollid))
		{
			if (opno == TextLessOperator || opno == TEXT_LE)
				what = CFP_GIVEN_TO;
			else if (opno == TEXT_GT || opno == TEXT_GE)
				what = CFP_GIVEN_FROM;
		}
	}
	else if (IsA(info->clause, ScalarArrayOpExpr))
	{
		ScalarArrayOpExpr *op = (ScalarArrayOpExpr *) info->clause;
		Node	   *array = lsecond(op->args);

		if (op->useOr && op->opno == TextEqualOperator &&
			name_column(rel, linitial(op->args)) == CFP_COL_ITEM &&
			exprType(array) == TEXTARRAYOID && is_outer(root, rel, array) &&
			get_collation_isdeterministic(op->inputcollid))
		{
			what = CFP_GIVEN_ITEMS;
			value = (Expr *) array;
		}
	}
	if (what >= 0 && given->values[what] == NULL)
	{
		given->values[what] = value;
		given->clauses[what] = info;
	}
}

static void
take_clauses(PlannerInfo *root, const RelOptInfo *rel, List *clauses, Given *given)
{
	ListCell   *lc;

	foreach(lc, clauses)
		take_clause(root, rel, lfirst_node(RestrictInfo, lc), given);
}

/* ---------- size ---------- */

/* How many items there are, as far as the statistics of the tables know. */
static double
items_there_are(void)
{
	const CfpTables *tables = cfp_tables();
	Relation	latest = table_open(tables->latest, AccessShareLock);
	double		tuples = latest->rd_rel->reltuples;

	table_close(latest, AccessShareLock);
	return tuples > 0 ? tuples : 1000;
}

/* How many of them are read. */
static double
items_read(const RelOptInfo *rel, const Given *given)
{
	switch (bound_of(given))
	{
		case CFP_BOUND_ITEM:
			return 1;
		case CFP_BOUND_ITEMS:
			return Min(rel->tuples, 10);
		case CFP_BOUND_RANGE:
			return clamp_row_est(Min(rel->tuples, 1000) / 10);
		case CFP_BOUND_COLLECTION:
			return clamp_row_est(Min(rel->tuples, 1000));
		case CFP_BOUND_KEY:
			return clamp_row_est(Max(Min(rel->tuples, 1000), rel->tuples / 100));
		case CFP_BOUND_ALL:
			break;
	}
	return rel->tuples;
}

void
cfp_foreign_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid table)
{
	Given		given = {0};
	List	   *others = NIL;
	ListCell   *lc;

	cfp_check_foreign_table(table);
	take_clauses(root, rel, rel->baserestrictinfo, &given);
	rel->tuples = items_there_are();
	rel->pages = clamp_row_est(rel->tuples / 30);
	foreach(lc, rel->baserestrictinfo)
	{
		RestrictInfo *info = lfirst_node(RestrictInfo, lc);
		bool		bounds = false;

		for (int i = 0; i < CFP_NGIVEN; i++)
			bounds |= given.clauses[i] == info;
		if (!bounds)
			others = lappend(others, info);
	}
	set_baserel_size_estimates(root, rel);
	rel->rows = clamp_row_est(items_read(rel, &given) *
							  clauselist_selectivity(root, others, 0, JOIN_INNER, NULL));
}

/* ---------- paths ---------- */

/* The order of the rows, where the query may want it. */
static List *
order_of_rows(PlannerInfo *root, RelOptInfo *rel)
{
	List	   *keys = NIL;

	for (int i = CFP_COL_KEY; i <= CFP_COL_ITEM; i++)
	{
		Var		   *var = makeVar(rel->relid, i + 1, TEXTOID, -1, C_COLLATION_OID, 0);
		List	   *key = cfp_build_expression_pathkey(root, (Expr *) var, TextLessOperator, rel);

		if (key == NIL)
			break;
		/* A column that has but one value, or that of one before, needs none. */
		if (!linitial_node(PathKey, key)->pk_eclass->ec_has_const &&
			!list_member_ptr(keys, linitial(key)))
			keys = list_concat(keys, key);
	}
	return keys;
}

/* What a scan of so many items costs: a look-up, or a page of rows at a time. */
static void
add_scan(PlannerInfo *root, RelOptInfo *rel, const Given *given, double rows,
		 Relids required_outer)
{
	double		read = items_read(rel, given);
	CfpBound	bound = bound_of(given);
	Cost		startup = bound == CFP_BOUND_ITEM ? 0 : cpu_tuple_cost;
	Cost		total = startup + read * (cpu_tuple_cost + cpu_operator_cost *
										  (list_length(rel->baserestrictinfo) + 1));

	/* Not in the cache, as all collections cannot be. */
	if (bound < CFP_BOUND_COLLECTION)
		total += read * 4 * cpu_tuple_cost;
	add_path(rel, (Path *) cfp_create_foreignscan_path(root, rel, rows, startup, total,
													   bound == CFP_BOUND_ITEM ? NIL : order_of_rows(root, rel),
													   required_outer));
}

static bool
is_member_of_column(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec,
					EquivalenceMember *em, void *arg)
{
	return name_column(rel, (Node *) em->em_expr) == *(int *) arg;
}

void
cfp_foreign_paths(PlannerInfo *root, RelOptInfo *rel, Oid table)
{
	Given		given = {0};
	Given		joined;
	Relids		outer = NULL;
	List	   *clauses = NIL;

	take_clauses(root, rel, rel->baserestrictinfo, &given);
	add_scan(root, rel, &given, rel->rows, rel->lateral_relids);

	/* And with what the other tables of the query give. */
	for (int column = CFP_COL_KEY; column <= CFP_COL_ITEM; column++)
	{
		if (given.values[column] == NULL && rel->has_eclass_joins)
			clauses = list_concat(clauses,
								  generate_implied_equalities_for_column(root, rel, is_member_of_column,
																		 &column, rel->lateral_referencers));
	}
	clauses = list_concat(clauses, list_copy(rel->joininfo));
	joined = given;
	for (int i = 0; i < list_length(clauses); i++)
	{
		RestrictInfo *info = list_nth_node(RestrictInfo, clauses, i);

		if (join_clause_is_movable_to(info, rel))
			take_clause(root, rel, info, &joined);
	}
	if (bound_of(&joined) == bound_of(&given))
		return;
	for (int i = 0; i < CFP_NGIVEN; i++)
	{
		if (joined.clauses[i] != NULL)
			outer = bms_union(outer, joined.clauses[i]->clause_relids);
	}
	outer = bms_del_member(bms_union(outer, rel->lateral_relids), rel->relid);
	if (bms_is_empty(outer))
		return;
	add_scan(root, rel, &joined, bound_of(&joined) == CFP_BOUND_ITEM ? 1 :
			 get_baserel_parampathinfo(root, rel, outer)->ppi_rows, outer);
}

/* Which columns are asked for. */
static CfpWanted
columns_wanted(const RelOptInfo *rel, List *targets, List *checked)
{
	Bitmapset  *columns = NULL;
	CfpWanted	wanted = CFP_WANT_NOTHING;
	int			column = -1;

	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &columns);
	pull_varattnos((Node *) targets, rel->relid, &columns);
	pull_varattnos((Node *) checked, rel->relid, &columns);
	while ((column = bms_next_member(columns, column)) >= 0)
	{
		int			attno = column + FirstLowInvalidHeapAttributeNumber;

		if (attno == InvalidAttrNumber || attno > CFP_NAME_COLUMNS)
			return CFP_WANT_ALL;
		if (attno > 0)
			wanted = CFP_WANT_NAMES;
	}
	return wanted;
}

ForeignScan *
cfp_foreign_plan(PlannerInfo *root, RelOptInfo *rel, Oid table, ForeignPath *path,
				 List *targets, List *clauses, Plan *outer_plan)
{
	Given		given = {0};
	CfpBound	bound;
	List	   *checked = NIL;
	List	   *held = NIL;		/* by what is read */
	List	   *values = NIL;
	List	   *places = NIL;
	ListCell   *lc;

	take_clauses(root, rel, clauses, &given);
	bound = bound_of(&given);
	foreach(lc, clauses)
	{
		RestrictInfo *info = lfirst_node(RestrictInfo, lc);
		bool		holds = info == given.clauses[CFP_GIVEN_KEY] ||
		(info == given.clauses[CFP_GIVEN_COLLECTION] && bound >= CFP_BOUND_COLLECTION) ||
		(info == given.clauses[CFP_GIVEN_ITEM] && bound == CFP_BOUND_ITEM) ||
		(info == given.clauses[CFP_GIVEN_ITEMS] && bound == CFP_BOUND_ITEMS);

		if (info->pseudoconstant)
			continue;
		if (holds)
			held = lappend(held, info->clause);
		else
			checked = lappend(checked, info->clause);
	}
	for (int i = 0; i < CFP_NGIVEN; i++)
	{
		places = lappend_int(places, given.values[i] == NULL ? -1 : list_length(values));
		if (given.values[i] != NULL)
			values = lappend(values, given.values[i]);
	}
	return make_foreignscan(targets, checked, rel->relid, values,
							list_make3(list_make1_int(bound), places,
									   list_make1_int(columns_wanted(rel, targets, list_concat_copy(checked, held)))),
							NIL, held, outer_plan);
}
