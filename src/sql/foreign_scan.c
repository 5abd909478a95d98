/*-------------------------------------------------------------------------
 *
 * foreign_scan.c
 *		Scanning a foreign table: through the cache, as the functions read.
 *
 * Called by the executor, which has checked the privilege on the table.
 *
 * Rows that the statement changes or locks are numbered (foreign_seen.c).  A row is
 * locked when the plan has found that it is one to return, as a table's is: then
 * its item is locked, and read anew if it has changed since.
 *
 * Takes no lock of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/preload.h"
#include "read/item.h"
#include "read/scope.h"
#include "shared/database.h"
#include "sql/common.h"
#include "sql/foreign.h"
#include "sql/foreign_plan.h"
#include "sql/foreign_row.h"
#include "sql/foreign_scan.h"
#include "sql/foreign_seen.h"
#include "tables/tables.h"

typedef struct CurrentScan
{
	CfpBound	bound;
	List	   *values;			/* ExprStates */
	int			place[CFP_NGIVEN];	/* in values; -1: not given */
	CfpRowMap  *map;
	bool		nothing;		/* no column is wanted */
	bool		names_only;		/* no other column is wanted */
	bool		backward;
	CfpSeen    *seen;			/* NULL: rows need no numbers */

	CfpCounts	counts;			/* of its reads, for EXPLAIN ANALYZE */

	bool		started;
	bool		done;
	MemoryContext context;		/* of what is given, until a rescan */
	CfpCollectionName in;
	CfpScopeScan *scan;			/* NULL: items by their names */
	text	  **items;
	int			nitems;
	int			next;
} CurrentScan;

/* What EXPLAIN calls it. */
static const char *const bound_texts[] = {
	[CFP_BOUND_ALL] = "all items",
	[CFP_BOUND_KEY] = "a key",
	[CFP_BOUND_COLLECTION] = "collection",
	[CFP_BOUND_RANGE] = "range",
	[CFP_BOUND_ITEMS] = "items",
	[CFP_BOUND_ITEM] = "item"
};

void
cfp_foreign_begin_scan(ForeignScanState *node, int flags)
{
	ForeignScan *plan = castNode(ForeignScan, node->ss.ps.plan);
	EState	   *estate = node->ss.ps.state;
	Relation	rel = node->ss.ss_currentRelation;
	CurrentScan *scan = palloc0(sizeof(CurrentScan));
	List	   *places = list_nth(plan->fdw_private, CFP_PRIVATE_GIVEN);
	List	   *wanted = list_nth(plan->fdw_private, CFP_PRIVATE_WANTED);
	const CfpForeignTable *table;
	ListCell   *lc;

	scan->bound = linitial_int(list_nth(plan->fdw_private, CFP_PRIVATE_BOUND));
	for (int i = 0; i < CFP_NGIVEN; i++)
		scan->place[i] = list_nth_int(places, i);
	scan->backward = linitial_int(list_nth(plan->fdw_private, CFP_PRIVATE_BACKWARD));
	node->fdw_state = scan;
	if (flags & EXEC_FLAG_EXPLAIN_ONLY)
		return;

	cfp_require_preload();
	table = cfp_foreign_table(RelationGetRelid(rel));
	cfp_check_foreign_rights(table, ACL_SELECT);
	scan->values = ExecInitExprList(plan->fdw_exprs, (PlanState *) node);
	scan->context = AllocSetContextCreate(CurrentMemoryContext, "cfp scan of a foreign table",
										  ALLOCSET_DEFAULT_SIZES);
	scan->map = cfp_row_map_of(table, rel, wanted);
	scan->nothing = wanted == NIL;
	scan->names_only = true;
	foreach(lc, wanted)
		scan->names_only &= table->columns[lfirst_int(lc) - 1].field < CFP_NAME_COLUMNS;

	/* Where a row is looked at again, the rows are of the statement itself. */
	if (linitial_int(list_nth(plan->fdw_private, CFP_PRIVATE_NUMBERED)) &&
		estate->es_epq_active == NULL)
		scan->seen = cfp_seen_begin(estate, plan->scan.scanrelid, scan->map);
}

/* What is given, of the scan's context; false when it is NULL. */
static bool
evaluate(ForeignScanState *node, int what, Datum *value)
{
	CurrentScan *scan = node->fdw_state;
	bool		isnull;

	*value = ExecEvalExpr(list_nth(scan->values, scan->place[what]),
						  node->ss.ps.ps_ExprContext, &isnull);
	return !isnull;
}

static bool
give_name(ForeignScanState *node, int what, const char **name, int *len)
{
	CurrentScan *scan = node->fdw_state;
	Datum		value;
	text	   *str;
	MemoryContext old;

	if (!evaluate(node, what, &value))
		return false;
	old = MemoryContextSwitchTo(scan->context);
	str = DatumGetTextPCopy(value);
	MemoryContextSwitchTo(old);
	*name = VARDATA_ANY(str);
	*len = VARSIZE_ANY_EXHDR(str);
	return true;
}

/* The names of an array, sorted, each once. */
static bool
give_items(ForeignScanState *node)
{
	CurrentScan *scan = node->fdw_state;
	Datum		array;
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	MemoryContext old;

	if (!evaluate(node, CFP_GIVEN_ITEMS, &array))
		return false;
	old = MemoryContextSwitchTo(scan->context);
	deconstruct_array(DatumGetArrayTypePCopy(array), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &n);
	scan->items = palloc((n + 1) * sizeof(text *));
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			scan->items[scan->nitems++] = DatumGetTextPP(elements[i]);
	}
	qsort(scan->items, scan->nitems, sizeof(text *), cfp_compare_texts);
	n = scan->nitems;
	scan->nitems = 0;
	for (int i = 0; i < n; i++)
	{
		if (i == 0 || cfp_compare_texts(&scan->items[scan->nitems - 1], &scan->items[i]) != 0)
			scan->items[scan->nitems++] = scan->items[i];
	}
	MemoryContextSwitchTo(old);
	return true;
}

/* Begin to read; false when something that is given is NULL, as nothing equals it. */
static bool
start(ForeignScanState *node)
{
	CurrentScan *scan = node->fdw_state;
	CfpScope	scope = {.command = node->ss.ps.state->es_snapshot->curcid};
	MemoryContext old;

	scope.has_key = scan->bound >= CFP_BOUND_KEY;
	scope.has_collection = scan->place[CFP_GIVEN_COLLECTION] >= 0;
	if (scope.has_key &&
		!give_name(node, CFP_GIVEN_KEY, &scope.in.key, &scope.in.key_len))
		return false;
	if (scope.has_collection &&
		!give_name(node, CFP_GIVEN_COLLECTION, &scope.in.collection, &scope.in.collection_len))
		return false;
	scope.no_records = scan->names_only && scan->seen == NULL;
	scope.no_names = scan->nothing && scan->seen == NULL;
	scope.backward = scan->backward;
	scan->in = scope.in;
	switch (scan->bound)
	{
		case CFP_BOUND_ITEM:
			{
				Datum		item;

				if (!evaluate(node, CFP_GIVEN_ITEM, &item))
					return false;
				old = MemoryContextSwitchTo(scan->context);
				scan->items = palloc(sizeof(text *));
				scan->items[0] = DatumGetTextPCopy(item);
				scan->nitems = 1;
				MemoryContextSwitchTo(old);
				return true;
			}
		case CFP_BOUND_ITEMS:
			return give_items(node);
		case CFP_BOUND_RANGE:
			if (scan->place[CFP_GIVEN_FROM] >= 0 &&
				!give_name(node, CFP_GIVEN_FROM, &scope.range.from, &scope.range.from_len))
				return false;
			if (scan->place[CFP_GIVEN_TO] >= 0 &&
				!give_name(node, CFP_GIVEN_TO, &scope.range.to, &scope.range.to_len))
				return false;
			break;
		case CFP_BOUND_COLLECTION:
		case CFP_BOUND_KEY:
		case CFP_BOUND_ALL:
			break;
	}
	old = MemoryContextSwitchTo(scan->context);
	scan->scan = cfp_scope_begin(&scope);
	MemoryContextSwitchTo(old);
	return true;
}

/* record NULL: only names are wanted */
static void
fill_slot(const CurrentScan *scan, TupleTableSlot *slot, const CfpItemName *name,
		  const CfpRecord *record, uint64 txid)
{
	if (scan->nothing)
	{
		memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
		ExecStoreVirtualTuple(slot);
	}
	else if (scan->names_only)
		cfp_row_show_names(scan->map, slot, name);
	else
		cfp_row_show(scan->map, slot, name, record, txid);
	if (scan->seen != NULL)
		cfp_seen_add(scan->seen, name, record->version, &slot->tts_tid);
}

/* The next item by name that is there; false at the end. */
static bool
next_item(CurrentScan *scan, TupleTableSlot *slot, CommandId command)
{
	while (scan->next < scan->nitems)
	{
		int			next = scan->next++;
		text	   *item = scan->items[scan->backward ? scan->nitems - 1 - next : next];
		CfpItemName name = {.in = scan->in,.item = VARDATA_ANY(item),.item_len = VARSIZE_ANY_EXHDR(item)};
		uint64		txid;
		CfpRecord  *record = cfp_read_item_before(&name, command, &txid);

		if (record != NULL && !CFP_RECORD_IS_TOMBSTONE(record))
		{
			fill_slot(scan, slot, &name, record, txid);
			return true;
		}
	}
	return false;
}

static bool
next_row(CurrentScan *scan, TupleTableSlot *slot)
{
	const CfpScopeRow *row = cfp_scope_next(scan->scan);

	if (row == NULL)
		return false;
	fill_slot(scan, slot, &row->name, row->record, row->txid);
	return true;
}

/* Add what has been counted since. */
static void
count_since(CurrentScan *scan, const CfpCounts *before)
{
	scan->counts.hits += cfp_counts.hits - before->hits;
	scan->counts.misses += cfp_counts.misses - before->misses;
	scan->counts.loads += cfp_counts.loads - before->loads;
	for (int i = 0; i < CFP_READ_REASONS; i++)
		scan->counts.table_reads[i] += cfp_counts.table_reads[i] - before->table_reads[i];
}

TupleTableSlot *
cfp_foreign_next(ForeignScanState *node)
{
	CurrentScan *scan = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	EState	   *estate = node->ss.ps.state;
	CfpCounts	before;

	ExecClearTuple(slot);
	if (scan->done)
		return slot;
	if (scan->scan != NULL && cfp_scope_has_next(scan->scan))
	{
		(void) next_row(scan, slot);
		return slot;
	}

	before = cfp_counts;
	PushActiveSnapshot(estate->es_snapshot);
	if (!scan->started)
	{
		scan->started = true;
		scan->done = !start(node);
	}
	if (!scan->done)
		scan->done = scan->scan != NULL ? !next_row(scan, slot) :
			!next_item(scan, slot, estate->es_snapshot->curcid);
	PopActiveSnapshot();
	if (node->ss.ps.instrument != NULL)
		count_since(scan, &before);
	return slot;
}

static void
stop(CurrentScan *scan)
{
	if (scan->context == NULL)
		return;					/* EXPLAIN has not begun it */
	if (scan->scan != NULL)
		cfp_scope_end(scan->scan);
	MemoryContextReset(scan->context);
	scan->scan = NULL;
	scan->items = NULL;
	scan->nitems = scan->next = 0;
	scan->started = scan->done = false;
}

void
cfp_foreign_rescan(ForeignScanState *node)
{
	stop(node->fdw_state);
}

void
cfp_foreign_end_scan(ForeignScanState *node)
{
	if (node->fdw_state != NULL)
		stop(node->fdw_state);
}

/* Why the tables were read, as EXPLAIN ANALYZE says it. */
static const char *const reason_texts[CFP_READ_REASONS] = {
	[CFP_READ_SERIALIZABLE] = "Table Reads, Serializable",
	[CFP_READ_OLD_SNAPSHOT] = "Table Reads, Old Snapshot",
	[CFP_READ_PRUNED] = "Table Reads, Pruned",
	[CFP_READ_BYPASSED] = "Table Reads, Bypassed",
	[CFP_READ_HAND_CHANGE] = "Table Reads, Changed By Hand",
	[CFP_READ_RECOVERY] = "Table Reads, Recovery",
	[CFP_READ_OTHER] = "Table Reads, Not Cached"
};

static void
explain_count(const char *what, uint64 count, struct ExplainState *explain)
{
	if (count > 0 || explain->format != EXPLAIN_FORMAT_TEXT)
		ExplainPropertyUInteger(what, NULL, count, explain);
}

void
cfp_foreign_explain(ForeignScanState *node, struct ExplainState *explain)
{
	CurrentScan *scan = node->fdw_state;

	ExplainPropertyText(scan->bound >= CFP_BOUND_COLLECTION ? "Cache" : "Tables",
						bound_texts[scan->bound], explain);
	if (scan->backward)
		ExplainPropertyText("Order", "backward", explain);
	if (!explain->analyze)
		return;
	explain_count("Cache Hits", scan->counts.hits, explain);
	explain_count("Cache Misses", scan->counts.misses, explain);
	explain_count("Loads", scan->counts.loads, explain);
	for (int i = 0; i < CFP_READ_REASONS; i++)
		explain_count(reason_texts[i], scan->counts.table_reads[i], explain);
}

/* ---------- all items of a table ---------- */

static bool
bound_name(const CfpForeignTable *table, int field, const char **name, int *len)
{
	*name = table->name[field];
	*len = *name == NULL ? 0 : strlen(*name);
	return *name != NULL;
}

CfpScopeScan *
cfp_foreign_begin_all(const CfpForeignTable *table)
{
	CfpScope	scope = {.command = GetActiveSnapshot()->curcid};

	scope.has_key = bound_name(table, CFP_COL_KEY, &scope.in.key, &scope.in.key_len);
	scope.has_collection = bound_name(table, CFP_COL_COLLECTION, &scope.in.collection,
									  &scope.in.collection_len);
	return cfp_scope_begin(&scope);
}
