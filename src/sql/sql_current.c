/*-------------------------------------------------------------------------
 *
 * sql_current.c
 *		What the view storage_current asks while it is read.
 *
 * The view's branches are plain SQL over the storage tables, so that its
 * reader's conditions reach their indexes.  These functions give them what
 * only C knows: where the last flush stands, whether storage_dirty may be
 * relied on, the version this transaction has stored itself, and the value
 * as one jsonb scalar.  They run as the caller, write nothing, take no locks
 * but those of reading cfp_state, and tell nothing about items of others.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"
#include "base/compat.h"
#include "record/record.h"
#include "store/own.h"
#include "tables/scan.h"
#include "tables/state.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

PG_FUNCTION_INFO_V1(cfp_whole_history);
PG_FUNCTION_INFO_V1(cfp_flushed_xmax);
PG_FUNCTION_INFO_V1(cfp_flushed_xip);
PG_FUNCTION_INFO_V1(cfp_pending_version);
PG_FUNCTION_INFO_V1(cfp_value_jsonb);

/*
 * With more rows than this not yet flushed, looking through them for one item
 * costs more than walking along the primary key of the history.
 */
#define MAX_UNFLUSHED	5000

/*
 * The cursor as the statement sees it.  These functions may be asked for each
 * row of a scan; the call site lives as long as the statement's execution,
 * which has one snapshot, so it keeps the answer.
 */
static CfpCursor *
statement_cursor(FunctionCallInfo fcinfo)
{
	CfpCursor  *cursor = fcinfo->flinfo->fn_extra;

	if (cursor == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		cursor = palloc0(sizeof(CfpCursor));
		cfp_cursor_read(GetActiveSnapshot(), cursor);
		fcinfo->flinfo->fn_extra = cursor;
		MemoryContextSwitchTo(old);
	}
	return cursor;
}

/*
 * Has the index on txid more than MAX_UNFLUSHED entries the last flush has not
 * seen?  Counts entries, visible or not: it only decides which way to read.
 * SnapshotAny keeps it from locking anything under SERIALIZABLE.
 */
static bool
much_unflushed(const CfpCursor *cursor)
{
	CfpTables	tables = cfp_tables_locked();
	Relation	history = table_open(tables.history, NoLock);
	Relation	index = index_open(tables.history_txid, AccessShareLock);
	IndexScanDesc scan = cfp_index_beginscan(history, index, SnapshotAny, 1);
	ScanKeyData key;
	int			n = 0;

	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_XID8GE,
				FullTransactionIdGetDatum(FullTransactionIdFromU64(cursor->seen.xmax)));
	index_rescan(scan, &key, 1, NULL, 0);
	while (n <= MAX_UNFLUSHED && index_getnext_tid(scan, ForwardScanDirection) != NULL)
		n++;
	index_endscan(scan);
	index_close(index, NoLock);
	table_close(history, NoLock);
	return n > MAX_UNFLUSHED;
}

Datum
cfp_whole_history(PG_FUNCTION_ARGS)
{
	CfpCursor  *cursor = statement_cursor(fcinfo);

	PG_RETURN_BOOL(cursor->whole_history || much_unflushed(cursor));
}

Datum
cfp_flushed_xmax(PG_FUNCTION_ARGS)
{
	PG_RETURN_FULLTRANSACTIONID(FullTransactionIdFromU64(statement_cursor(fcinfo)->seen.xmax));
}

Datum
cfp_flushed_xip(PG_FUNCTION_ARGS)
{
	const CfpSeen *seen = &statement_cursor(fcinfo)->seen;
	Datum	   *xids = palloc(seen->nxip * sizeof(Datum));

	for (int i = 0; i < seen->nxip; i++)
		xids[i] = FullTransactionIdGetDatum(FullTransactionIdFromU64(seen->xip[i]));
	PG_RETURN_ARRAYTYPE_P(construct_array(xids, seen->nxip, XID8OID,
										  sizeof(FullTransactionId),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

Datum
cfp_pending_version(PG_FUNCTION_ARGS)
{
	CfpItemName name;
	text	   *key,
			   *collection,
			   *item;
	const CfpRecord *record;

	if (!cfp_pending_any || PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_INT32(0);

	key = PG_GETARG_TEXT_PP(0);
	collection = PG_GETARG_TEXT_PP(1);
	item = PG_GETARG_TEXT_PP(2);
	name.in.key = VARDATA_ANY(key);
	name.in.key_len = VARSIZE_ANY_EXHDR(key);
	name.in.collection = VARDATA_ANY(collection);
	name.in.collection_len = VARSIZE_ANY_EXHDR(collection);
	name.item = VARDATA_ANY(item);
	name.item_len = VARSIZE_ANY_EXHDR(item);
	record = cfp_pending_find(&name, GetActiveSnapshot()->curcid);
	PG_RETURN_INT32(record ? record->version : 0);
}

Datum
cfp_value_jsonb(PG_FUNCTION_ARGS)
{
	CfpFields	fields = {0};

	if (!PG_ARGISNULL(0))
	{
		fields.value.type = CFP_VALUE_INT;
		fields.value.i = PG_GETARG_INT64(0);
	}
	else if (!PG_ARGISNULL(1))
	{
		fields.value.type = CFP_VALUE_FLOAT;
		fields.value.f = PG_GETARG_FLOAT8(1);
	}
	else if (!PG_ARGISNULL(2))
	{
		text	   *string = PG_GETARG_TEXT_PP(2);

		fields.value.type = CFP_VALUE_STRING;
		fields.value.str = VARDATA_ANY(string);
		fields.value.str_len = VARSIZE_ANY_EXHDR(string);
	}
	else
		PG_RETURN_NULL();

	PG_RETURN_JSONB_P(cfp_record_value_jsonb(cfp_record_make(&fields)));
}
