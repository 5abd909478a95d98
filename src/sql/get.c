/*-------------------------------------------------------------------------
 *
 * get.c
 *		Reading items: one of them, rows of a collection, versions of an item.
 *
 * Called by the executor only.  Each function checks in this order: that cfp was
 * preloaded, its arguments, the caller's privilege; then it hands over to the
 * reader.  A NULL key yields NULL or no rows; an item or collection name that is
 * NULL or left out is the empty string.
 *
 * Takes no lock of its own.  What a reader's callback is given lives until it
 * returns, so the callbacks here copy what they keep.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "base/preload.h"
#include "read/collection.h"
#include "read/item.h"
#include "sql/common.h"
#include "store/own.h"
#include "tables/read_item.h"
#include "tables/tables.h"

PG_FUNCTION_INFO_V1(cfp_get);
PG_FUNCTION_INFO_V1(cfp_get_value);
PG_FUNCTION_INFO_V1(cfp_get_text);
PG_FUNCTION_INFO_V1(cfp_get_data);
PG_FUNCTION_INFO_V1(cfp_item);
PG_FUNCTION_INFO_V1(cfp_items);
PG_FUNCTION_INFO_V1(cfp_history);

/* ----------
 * One item: (key, item_name, collection_name)
 * ----------
 */

/* False when the key is NULL. */
static inline bool
begin_item_read(FunctionCallInfo fcinfo, CfpItemName *name)
{
	Assert(PG_NARGS() == 3);
	cfp_require_preload();
	if (PG_ARGISNULL(0))
		return false;
	cfp_item_arguments(fcinfo, 0, 1, 2, name);
	cfp_check_privilege(ACL_SELECT);
	return true;
}

/* The item's record; NULL when the key is, or the item is absent or deleted. */
static CfpRecord *
read_item(FunctionCallInfo fcinfo, CfpItemName *name, uint64 *txid)
{
	CfpRecord  *record;

	if (!begin_item_read(fcinfo, name))
		return NULL;
	record = cfp_read_item(name, txid);
	if (record == NULL || CFP_RECORD_IS_TOMBSTONE(record))
		return NULL;
	return record;
}

/* What the function returns, by a pointer that is NULL for NULL. */
static inline Datum
pointer_or_null(FunctionCallInfo fcinfo, const void *value)
{
	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(value);
}

Datum
cfp_get(PG_FUNCTION_ARGS)
{
	CfpItemName name;

	if (!begin_item_read(fcinfo, &name))
		PG_RETURN_NULL();
	return pointer_or_null(fcinfo, cfp_read_image(&name));
}

Datum
cfp_get_value(PG_FUNCTION_ARGS)
{
	CfpItemName name;
	CfpRecord  *record = read_item(fcinfo, &name, NULL);

	return pointer_or_null(fcinfo, record != NULL ? cfp_record_value_jsonb(record) : NULL);
}

Datum
cfp_get_text(PG_FUNCTION_ARGS)
{
	CfpItemName name;
	CfpRecord  *record = read_item(fcinfo, &name, NULL);

	return pointer_or_null(fcinfo, record != NULL ? cfp_record_value_text(record) : NULL);
}

Datum
cfp_get_data(PG_FUNCTION_ARGS)
{
	CfpItemName name;
	CfpRecord  *record = read_item(fcinfo, &name, NULL);

	return pointer_or_null(fcinfo, record != NULL ? cfp_record_data(record) : NULL);
}

/* ----------
 * Rows
 * ----------
 */

/* cfp_item(key, item_name, collection_name) */
Datum
cfp_item(PG_FUNCTION_ARGS)
{
	CfpItemName name;
	uint64		txid;
	CfpRecord  *record = read_item(fcinfo, &name, &txid);
	TupleDesc	desc;

	if (record == NULL)
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(cfp_form_tuple(desc, &name, record, txid)));
}

typedef struct ItemRows
{
	CfpRowSink	sink;
	CfpItemName name;
} ItemRows;

static bool
put_item_row(const CfpRow *row, void *arg)
{
	ItemRows   *rows = arg;

	CHECK_FOR_INTERRUPTS();
	rows->name.item = row->item;
	rows->name.item_len = row->item_len;
	cfp_rows_put(&rows->sink, &rows->name, row->record, row->txid);
	return true;
}

/* An optional limit; -1 when not given. */
static int
limit_argument(FunctionCallInfo fcinfo, int n, const char *argument)
{
	int			limit;

	if (PG_ARGISNULL(n))
		return -1;
	limit = PG_GETARG_INT32(n);
	if (limit < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", argument)));
	return limit;
}

/*
 * cfp_items(key, collection_name, from_item, to_item, max_items,
 * include_deleted)
 */
Datum
cfp_items(PG_FUNCTION_ARGS)
{
	ItemRows	rows;
	CfpReadOptions options = {0};
	int			limit;

	cfp_require_preload();
	limit = limit_argument(fcinfo, 4, "max_items");
	cfp_check_privilege(ACL_SELECT);

	cfp_rows_begin(fcinfo, &rows.sink);
	if (!PG_ARGISNULL(0) && limit != 0)
	{
		cfp_collection_arguments(fcinfo, &rows.name.in);
		options.range.from = cfp_optional_argument(fcinfo, 2, &options.range.from_len);
		options.range.to = cfp_optional_argument(fcinfo, 3, &options.range.to_len);
		options.max_items = Max(limit, 0);
		options.include_deleted = !PG_ARGISNULL(5) && PG_GETARG_BOOL(5);
		cfp_read_collection(&rows.name.in, &options, put_item_row, &rows);
	}
	cfp_rows_end(&rows.sink);
	return (Datum) 0;
}

/* Merges own pending versions into those of the table, newest first. */
typedef struct VersionRows
{
	CfpRowSink	sink;
	const CfpItemName *name;
	const CfpPendingRow *own;
	int			nown;
	int			next_own;
	int			limit;			/* -1: none */
	int			count;
} VersionRows;

/* False when the limit is reached. */
static bool
put_version(VersionRows *rows, const CfpRecord *record, uint64 txid)
{
	if (rows->limit >= 0 && rows->count >= rows->limit)
		return false;
	cfp_rows_put(&rows->sink, rows->name, record, txid);
	rows->count++;
	return true;
}

static bool
put_table_version(const char *item, int item_len, const CfpRecord *record,
				  uint64 txid, void *arg)
{
	VersionRows *rows = arg;

	CHECK_FOR_INTERRUPTS();
	while (rows->next_own < rows->nown)
	{
		const CfpPendingRow *own = &rows->own[rows->next_own];

		/* They come newest first, as those of the table do. */
		Assert(rows->next_own == 0 || own->version < own[-1].version);
		if (own->version < record->version)
			break;
		rows->next_own++;
		/* One that has been written early is in the table as well. */
		if (own->version > record->version &&
			!put_version(rows, cfp_pending_record(own), cfp_own_txid()))
			return false;
	}
	return put_version(rows, record, txid);
}

/* cfp_history(key, item_name, collection_name, max_versions) */
Datum
cfp_history(PG_FUNCTION_ARGS)
{
	CfpItemName name;
	VersionRows rows = {0};

	cfp_require_preload();
	rows.limit = limit_argument(fcinfo, 3, "max_versions");
	cfp_check_history_privilege();

	cfp_rows_begin(fcinfo, &rows.sink);
	if (!PG_ARGISNULL(0) && rows.limit != 0)
	{
		cfp_item_arguments(fcinfo, 0, 1, 2, &name);
		rows.name = &name;
		rows.own = cfp_pending_versions(&name, &rows.nown);
		cfp_table_read_versions(GetActiveSnapshot(), &name, rows.limit,
								put_table_version, &rows);
		while (rows.next_own < rows.nown &&
			   put_version(&rows, cfp_pending_record(&rows.own[rows.next_own]), cfp_own_txid()))
			rows.next_own++;
	}
	cfp_rows_end(&rows.sink);
	return (Datum) 0;
}
