/*-------------------------------------------------------------------------
 *
 * foreign_plan.c
 *		Planning a scan of a foreign table: what of the names is given.
 *
 * Called by the planner.  A condition `name = value`, where the value is a
 * constant, a parameter or comes from another table of the query, binds a
 * column, and so does an option of the table; key and collection bound, item_name
 * may be bound, be one of an array, or lie in a range, as also LIKE says it.  What
 * is read is the smallest part so bound: an item, some items, a range, a
 * collection, a key, or all.  Rows come in the order of their names, which the
 * planner is told.
 *
 * Conditions that bind by `=` hold for all that is read; the others are checked
 * by the executor, and all of them when a row of another table has changed
 * meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"
#include "base/compat.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_opfamily_d.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type_d.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/preload.h"
#include "read/collection.h"
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

/* The table; what the planner keeps of it for us. */
static inline const CfpForeignTable *
table_of(const RelOptInfo *rel)
{
	return rel->fdw_private;
}

/* The name (CFP_COL_KEY ..) that the expression is, as a column; -1: it is none. */
static int
name_column(const RelOptInfo *rel, Node *node)
{
	Var		   *var = (Var *) strip_implicit_coercions(node);

	if (!IsA(var, Var) || var->varno != rel->relid || var->varlevelsup != 0 || var->varattno < 1)
		return -1;
	for (int i = 0; i < CFP_NAME_COLUMNS; i++)
	{
		if (table_of(rel)->name_column[i] == var->varattno)
			return i;
	}
	return -1;
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

static void
give(Given *given, int what, Node *value, RestrictInfo *info)
{
	if (given->values[what] == NULL)
	{
		given->values[what] = (Expr *) value;
		given->clauses[what] = info;
	}
}

/* Take what a comparison gives, unless that is given already. */
static void
take_comparison(PlannerInfo *root, const RelOptInfo *rel, OpExpr *op, RestrictInfo *info,
				Given *given)
{
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
	if (opno == TextEqualOperator)
	{
		if (get_collation_isdeterministic(op->inputcollid))
			give(given, CFP_GIVEN_KEY + column, right, info);
	}
	else if (column == CFP_COL_ITEM && by_bytes(op->inputcollid))
	{
		if (opno == TextLessOperator || opno == TEXT_LE)
			give(given, CFP_GIVEN_TO, right, info);
		else if (opno == TEXT_GT || opno == TEXT_GE)
			give(given, CFP_GIVEN_FROM, right, info);
	}
}

/* item_name = ANY (array) */
static void
take_array(PlannerInfo *root, const RelOptInfo *rel, ScalarArrayOpExpr *op, RestrictInfo *info,
		   Given *given)
{
	Node	   *array = lsecond(op->args);

	if (op->useOr && op->opno == TextEqualOperator &&
		name_column(rel, linitial(op->args)) == CFP_COL_ITEM &&
		exprType(array) == TEXTARRAYOID && is_outer(root, rel, array) &&
		get_collation_isdeterministic(op->inputcollid))
		give(given, CFP_GIVEN_ITEMS, array, info);
}

/*
 * What LIKE, a regular expression or starts_with() say of where names begin: the
 * server derives it, as for a btree in the order of bytes.
 */
static void
take_pattern(PlannerInfo *root, const RelOptInfo *rel, Node *clause, Oid function, List *args,
			 Oid collation, RestrictInfo *info, Given *given)
{
	SupportRequestIndexCondition request = {
		.type = T_SupportRequestIndexCondition,
		.root = root,
		.funcid = function,
		.node = clause,
		.opfamily = TEXT_BTREE_FAM_OID,
		.indexcollation = C_COLLATION_OID,
		.lossy = true
	};
	List	   *conditions;
	ListCell   *lc;

	if (name_column(rel, linitial(args)) != CFP_COL_ITEM || !get_collation_isdeterministic(collation))
		return;
	conditions = (List *) DatumGetPointer(OidFunctionCall1(get_func_support(function),
														   PointerGetDatum(&request)));
	foreach(lc, conditions)
	{
		if (IsA(lfirst(lc), OpExpr))
			take_comparison(root, rel, lfirst(lc), info, given);
	}
}

static bool
is_pattern(Oid function)
{
	return function == F_TEXTLIKE || function == F_TEXTREGEXEQ || function == F_STARTS_WITH;
}

/* Take what the condition gives. */
static void
take_clause(PlannerInfo *root, const RelOptInfo *rel, RestrictInfo *info, Given *given)
{
	Node	   *clause = (Node *) info->clause;

	if (info->pseudoconstant || !restriction_is_securely_promotable(info, unconstify(RelOptInfo *, rel)))
		return;
	if (is_opclause(clause) && list_length(((OpExpr *) clause)->args) == 2)
	{
		OpExpr	   *op = (OpExpr *) clause;

		set_opfuncid(op);
		if (is_pattern(op->opfuncid))
			take_pattern(root, rel, clause, op->opfuncid, op->args, op->inputcollid, info, given);
		else
			take_comparison(root, rel, op, info, given);
	}
	else if (IsA(clause, ScalarArrayOpExpr))
		take_array(root, rel, (ScalarArrayOpExpr *) clause, info, given);
	else if (is_funcclause(clause) && is_pattern(((FuncExpr *) clause)->funcid))
	{
		FuncExpr   *function = (FuncExpr *) clause;

		take_pattern(root, rel, clause, function->funcid, function->args, function->inputcollid,
					 info, given);
	}
}

static void
take_clauses(PlannerInfo *root, const RelOptInfo *rel, List *clauses, Given *given)
{
	ListCell   *lc;

	foreach(lc, clauses)
		take_clause(root, rel, lfirst_node(RestrictInfo, lc), given);
}

/* What is given by the table's options, and by these conditions. */
static Given
given_by(PlannerInfo *root, const RelOptInfo *rel, List *clauses)
{
	Given		given = {0};

	for (int i = 0; i < CFP_NAME_COLUMNS; i++)
	{
		const char *name = table_of(rel)->name[i];

		if (name != NULL)
			given.values[CFP_GIVEN_KEY + i] = (Expr *)
				makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1, CStringGetTextDatum(name),
						  false, false);
	}
	take_clauses(root, rel, clauses, &given);
	return given;
}

/* ---------- size ---------- */

/* How many items there are, as far as the statistics of the tables know. */
static double
items_there_are(void)
{
	Relation	latest = table_open(cfp_tables()->latest, AccessShareLock);
	double		tuples = latest->rd_rel->reltuples;

	table_close(latest, AccessShareLock);
	return tuples > 0 ? tuples : 1000;
}

/* How many different keys, or collections, as far as statistics know; 0: they do not. */
static double
names_there_are(int column, double items)
{
	HeapTuple	tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(cfp_tables()->latest),
										Int16GetDatum(column + 1), BoolGetDatum(false));
	double		distinct;

	if (!HeapTupleIsValid(tuple))
		return 0;
	distinct = ((Form_pg_statistic) GETSTRUCT(tuple))->stadistinct;
	ReleaseSysCache(tuple);
	return distinct < 0 ? -distinct * items : distinct;
}

/* The name that is given, if it is known before the statement runs. */
static bool
known_name(PlannerInfo *root, Expr *given, const char **name, int *len)
{
	Node	   *value = given == NULL ? NULL : estimate_expression_value(root, (Node *) given);
	text	   *str;

	if (value == NULL || !IsA(value, Const) || ((Const *) value)->constisnull)
		return false;
	str = DatumGetTextPP(((Const *) value)->constvalue);
	*name = VARDATA_ANY(str);
	*len = VARSIZE_ANY_EXHDR(str);
	return true;
}

/* How many items the collection has, or one of a key's. */
static double
items_in_collection(PlannerInfo *root, const RelOptInfo *rel, const Given *given)
{
	CfpCollectionName name;
	int64		cached = -1;
	double		collections;

	if (cfp_preloaded &&
		known_name(root, given->values[CFP_GIVEN_KEY], &name.key, &name.key_len) &&
		known_name(root, given->values[CFP_GIVEN_COLLECTION], &name.collection, &name.collection_len))
		cached = cfp_collection_cached_items(&name);
	if (cached >= 0)
		return clamp_row_est(cached);
	collections = Max(names_there_are(CFP_COL_KEY, rel->tuples),
					  names_there_are(CFP_COL_COLLECTION, rel->tuples));
	return clamp_row_est(collections > 0 ? rel->tuples / collections : Min(rel->tuples, 1000));
}

static double
items_in_key(const RelOptInfo *rel)
{
	double		keys = names_there_are(CFP_COL_KEY, rel->tuples);

	return clamp_row_est(keys > 0 ? rel->tuples / keys :
						 Max(Min(rel->tuples, 1000), rel->tuples / 100));
}

/* How many of the items are read. */
static double
items_read(PlannerInfo *root, const RelOptInfo *rel, const Given *given)
{
	switch (bound_of(given))
	{
		case CFP_BOUND_ITEM:
			return 1;
		case CFP_BOUND_ITEMS:
			return cfp_estimate_array_length(root, (Node *) given->values[CFP_GIVEN_ITEMS]);
		case CFP_BOUND_RANGE:
			return clamp_row_est(items_in_collection(root, rel, given) / 10);
		case CFP_BOUND_COLLECTION:
			return items_in_collection(root, rel, given);
		case CFP_BOUND_KEY:
			return items_in_key(rel);
		case CFP_BOUND_ALL:
			break;
	}
	return rel->tuples;
}

void
cfp_foreign_rel_size(PlannerInfo *root, RelOptInfo *rel, Oid table)
{
	Given		given;
	List	   *others = NIL;
	ListCell   *lc;

	rel->fdw_private = unconstify(CfpForeignTable *, cfp_foreign_table(table));
	given = given_by(root, rel, rel->baserestrictinfo);
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
	rel->rows = clamp_row_est(items_read(root, rel, &given) *
							  clauselist_selectivity(root, others, 0, JOIN_INNER, NULL));
}

/* ---------- paths ---------- */

/* The order of the rows, by this operator, where the query may want it. */
static List *
order_of_rows(PlannerInfo *root, RelOptInfo *rel, Oid operator)
{
	List	   *keys = NIL;

	for (int i = CFP_COL_KEY; i <= CFP_COL_ITEM; i++)
	{
		const CfpForeignTable *table = table_of(rel);
		AttrNumber	column = table->name_column[i];
		Oid			type;
		int32		typmod;
		Oid			collation;
		List	   *key = NIL;

		if (table->name[i] != NULL)
			continue;
		if (column != 0)
		{
			get_atttypetypmodcoll(table->relid, column, &type, &typmod, &collation);
			if (by_bytes(collation))
				key = cfp_build_expression_pathkey(root, (Expr *) makeVar(rel->relid, column, type, typmod, collation, 0),
												   operator, rel);
		}
		if (key == NIL)
			break;
		/* A column that has but one value, or that of one before, needs none. */
		if (!linitial_node(PathKey, key)->pk_eclass->ec_has_const &&
			!list_member_ptr(keys, linitial(key)))
			keys = list_concat(keys, key);
	}
	return keys;
}

/* The query's order, if it is that of the items' names backward; NIL: it is not. */
static List *
order_backward(PlannerInfo *root, RelOptInfo *rel)
{
	List	   *keys = root->query_pathkeys == NIL ? NIL : order_of_rows(root, rel, TEXT_GT);

	return keys != NIL && linitial(keys) == linitial(root->query_pathkeys) ? keys : NIL;
}

/* Scans of what is given, in all directions there are: a look-up, or a page of rows at a time. */
static void
add_scans(PlannerInfo *root, RelOptInfo *rel, const Given *given, double rows,
		  Relids required_outer)
{
	double		read = items_read(root, rel, given);
	CfpBound	bound = bound_of(given);
	Cost		startup = bound == CFP_BOUND_ITEM ? 0 : cpu_tuple_cost;
	Cost		total = startup + read * (cpu_tuple_cost + cpu_operator_cost *
										  (list_length(rel->baserestrictinfo) + 1));
	List	   *backward = NIL;
	ForeignPath *path;

	/* Not in the cache, as all collections cannot be. */
	if (bound < CFP_BOUND_COLLECTION)
		total += read * 4 * cpu_tuple_cost;
	else if (bound != CFP_BOUND_ITEM)
		backward = order_backward(root, rel);
	path = cfp_create_foreignscan_path(root, rel, rows, startup, total,
									   bound == CFP_BOUND_ITEM ? NIL :
									   order_of_rows(root, rel, TextLessOperator),
									   required_outer);
	add_path(rel, (Path *) path);
	if (backward != NIL)
	{
		path = cfp_create_foreignscan_path(root, rel, rows, startup, total, backward,
										   required_outer);
		path->fdw_private = list_make1_int(true);
		add_path(rel, (Path *) path);
	}
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
	Given		given = given_by(root, rel, rel->baserestrictinfo);
	Given		joined;
	Relids		outer = NULL;
	List	   *clauses = NIL;

	add_scans(root, rel, &given, rel->rows, rel->lateral_relids);

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
	add_scans(root, rel, &joined, bound_of(&joined) == CFP_BOUND_ITEM ? 1 :
			  get_baserel_parampathinfo(root, rel, outer)->ppi_rows, outer);
}

/*
 * Which columns are asked for; *numbered: the rows' numbers are, too.  The scan's
 * targets do not say it: they may be all columns, so that rows are passed on as they
 * are.
 */
static List *
columns_wanted(const RelOptInfo *rel, List *checked, bool *numbered)
{
	const CfpForeignTable *table = table_of(rel);
	Bitmapset  *columns = NULL;
	List	   *wanted = NIL;
	bool		all;

	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &columns);
	pull_varattnos((Node *) checked, rel->relid, &columns);
	*numbered = bms_is_member(SelfItemPointerAttributeNumber - FirstLowInvalidHeapAttributeNumber,
							  columns);
	all = bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, columns);
	for (int i = 0; i < table->natts; i++)
	{
		if (table->columns[i].field != CFP_FIELD_DROPPED &&
			(all || bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, columns)))
			wanted = lappend_int(wanted, i + 1);
	}
	return wanted;
}

ForeignScan *
cfp_foreign_plan(PlannerInfo *root, RelOptInfo *rel, Oid table, ForeignPath *path,
				 List *targets, List *clauses, Plan *outer_plan)
{
	Given		given = given_by(root, rel, clauses);
	CfpBound	bound = bound_of(&given);
	List	   *checked = NIL;
	List	   *held = NIL;		/* by what is read */
	List	   *values = NIL;
	List	   *places = NIL;
	List	   *wanted;
	bool		numbered;
	ListCell   *lc;

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
	wanted = columns_wanted(rel, list_concat_copy(checked, held), &numbered);
	return make_foreignscan(targets, checked, rel->relid, values,
							list_make5(list_make1_int(bound), places, wanted, list_make1_int(numbered),
									   list_make1_int(path->fdw_private != NIL)),
							NIL, held, outer_plan);
}
