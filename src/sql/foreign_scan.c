/*-------------------------------------------------------------------------
 *
 * foreign_scan.c
 *		Scanning storage_current: through the cache, as the functions read.
 *
 * Called by the executor, which has checked the privilege on the table.
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
#include "sql/common.h"
#include "sql/foreign.h"
#include "sql/foreign_plan.h"
#include "sql/foreign_scan.h"
#include "tables/tables.h"

typedef struct CurrentScan
{
	CfpBound	bound;
	List	   *values;			/* ExprStates */
	int			place[CFP_NGIVEN];	/* in values; -1: not given */
	CfpWanted	wanted;

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
	CurrentScan *scan = palloc0(sizeof(CurrentScan));
	List	   *places = list_nth(plan->fdw_private, CFP_PRIVATE_GIVEN);

	scan->bound = linitial_int(list_nth(plan->fdw_private, CFP_PRIVATE_BOUND));
	for (int i = 0; i < CFP_NGIVEN; i++)
		scan->place[i] = list_nth_int(places, i);
	scan->wanted = linitial_int(list_nth(plan->fdw_private, CFP_PRIVATE_WANTED));
	scan->values = ExecInitExprList(plan->fdw_exprs, (PlanState *) node);
	scan->context = AllocSetContextCreate(CurrentMemoryContext, "cfp scan of storage_current",
										  ALLOCSET_DEFAULT_SIZES);
	node->fdw_state = scan;
	if (flags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	cfp_require_preload();
	cfp_check_foreign_table(RelationGetRelid(node->ss.ss_currentRelation));
	cfp_check_row_security();
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
	scope.has_collection = scan->bound >= CFP_BOUND_COLLECTION;
	if (scope.has_key &&
		!give_name(node, CFP_GIVEN_KEY, &scope.in.key, &scope.in.key_len))
		return false;
	if (scope.has_collection &&
		!give_name(node, CFP_GIVEN_COLLECTION, &scope.in.collection, &scope.in.collection_len))
		return false;
	scope.no_records = scan->wanted != CFP_WANT_ALL;
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

static void
fill_slot(const CurrentScan *scan, TupleTableSlot *slot, const CfpItemName *name,
		  const CfpRecord *record, uint64 txid)
{
	Jsonb	   *value;

	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	if (scan->wanted == CFP_WANT_ALL)
	{
		value = cfp_record_value_jsonb(record);
		cfp_form_row(name, record, txid, slot->tts_values, slot->tts_isnull);
		slot->tts_values[CURRENT_VALUE] = PointerGetDatum(value);
		slot->tts_isnull[CURRENT_VALUE] = value == NULL;
	}
	else if (scan->wanted == CFP_WANT_NAMES)
		cfp_form_names(name, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
}

TupleTableSlot *
cfp_foreign_next(ForeignScanState *node)
{
	CurrentScan *scan = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	EState	   *estate = node->ss.ps.state;

	ExecClearTuple(slot);
	PushActiveSnapshot(estate->es_snapshot);
	if (!scan->started)
	{
		scan->started = true;
		scan->done = !start(node);
	}
	while (!scan->done && TTS_EMPTY(slot))
	{
		if (scan->scan != NULL)
		{
			const CfpScopeRow *row = cfp_scope_next(scan->scan);

			if (row == NULL)
				scan->done = true;
			else
				fill_slot(scan, slot, &row->name, row->record, row->txid);
		}
		else if (scan->next < scan->nitems)
		{
			text	   *item = scan->items[scan->next++];
			CfpItemName name = {.in = scan->in,.item = VARDATA_ANY(item),.item_len = VARSIZE_ANY_EXHDR(item)};
			uint64		txid;
			CfpRecord  *record = cfp_read_item_before(&name, estate->es_snapshot->curcid, &txid);

			if (record != NULL && !CFP_RECORD_IS_TOMBSTONE(record))
				fill_slot(scan, slot, &name, record, txid);
		}
		else
			scan->done = true;
	}
	PopActiveSnapshot();
	return slot;
}

static void
stop(CurrentScan *scan)
{
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

void
cfp_foreign_explain(ForeignScanState *node, struct ExplainState *explain)
{
	CurrentScan *scan = node->fdw_state;

	ExplainPropertyText(scan->bound >= CFP_BOUND_COLLECTION ? "Cache" : "Tables",
						bound_texts[scan->bound], explain);
}
