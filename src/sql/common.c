/*-------------------------------------------------------------------------
 *
 * common.c
 *		What the SQL functions share: checks of arguments, result rows.
 *
 * Called by the other files of this wing.  No SQL function is strict: a NULL key
 * is an error when writing and yields NULL or no rows when reading; a NULL item
 * or collection name is the empty string; so is an argument left out.
 *
 * What is asked at each store and each get stands in common.h, inline.
 *
 * Takes no lock.  A CfpRowSink belongs to one call of one function.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "record/row.h"
#include "sql/common.h"

/* ----------
 * Arguments
 * ----------
 */

void
cfp_raise_null_key(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("key must not be null"),
			 errhint("An item is named by key, item_name and collection_name; only the last two may be left out.")));
}

void
cfp_raise_long_names(Size total)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("names are too long"),
			 errdetail("key, collection_name and item_name together have %zu bytes; the limit is %d.",
					   total, CFP_MAX_NAME_BYTES),
			 errhint("Put long texts into data.")));
}

DateADT
cfp_date_argument(FunctionCallInfo fcinfo, int n)
{
	DateADT		date;

	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the date must not be null")));
	date = PG_GETARG_DATEADT(n);
	if (DATE_NOT_FINITE(date))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the date must be finite")));
	return date;
}

void
cfp_fields_init(CfpFields *fields, Jsonb *data)
{
	static const uint32 empty_object = JB_FOBJECT;

	memset(fields, 0, sizeof(*fields));
	if (data == NULL)
	{
		fields->data = (const JsonbContainer *) &empty_object;
		fields->data_len = sizeof(empty_object);
		return;
	}
	if (!JB_ROOT_IS_OBJECT(data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("data must be a JSON object"),
				 errhint("Wrap it in an object, or store a scalar as value.")));
	fields->data = &data->root;
	fields->data_len = VARSIZE(data) - VARHDRSZ;
}

/* ----------
 * Rows
 * ----------
 */

void
cfp_form_row(const CfpItemName *name, const CfpRecord *record, uint64 txid,
			 Datum *values, bool *nulls)
{
	cfp_record_to_row(record, values, nulls);
	cfp_form_names(name, values, nulls);
	values[CFP_COL_TXID] = UInt64GetDatum(txid);
	nulls[CFP_COL_TXID] = false;
}

void
cfp_form_names(const CfpItemName *name, Datum *values, bool *nulls)
{
	values[CFP_COL_KEY] =
		PointerGetDatum(cstring_to_text_with_len(name->in.key, name->in.key_len));
	nulls[CFP_COL_KEY] = false;
	values[CFP_COL_COLLECTION] =
		PointerGetDatum(cstring_to_text_with_len(name->in.collection,
												 name->in.collection_len));
	nulls[CFP_COL_COLLECTION] = false;
	values[CFP_COL_ITEM] =
		PointerGetDatum(cstring_to_text_with_len(name->item, name->item_len));
	nulls[CFP_COL_ITEM] = false;
}

HeapTuple
cfp_form_tuple(TupleDesc desc, const CfpItemName *name, const CfpRecord *record, uint64 txid)
{
	Datum	   *values = palloc0(Max(desc->natts, CFP_NCOLS) * sizeof(Datum));
	bool	   *nulls = palloc(Max(desc->natts, CFP_NCOLS) * sizeof(bool));

	memset(nulls, true, Max(desc->natts, CFP_NCOLS) * sizeof(bool));
	cfp_form_row(name, record, txid, values, nulls);
	return heap_form_tuple(desc, values, nulls);
}

uint64
cfp_own_txid(void)
{
	return U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
}

void
cfp_rows_begin(FunctionCallInfo fcinfo, CfpRowSink *sink)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	sink->store = rsinfo->setResult;
	sink->desc = rsinfo->setDesc;
	sink->scratch = AllocSetContextCreate(CurrentMemoryContext, "cfp rows",
										  ALLOCSET_DEFAULT_SIZES);
}

void
cfp_rows_put(CfpRowSink *sink, const CfpItemName *name, const CfpRecord *record,
			 uint64 txid)
{
	MemoryContext old = MemoryContextSwitchTo(sink->scratch);

	tuplestore_puttuple(sink->store, cfp_form_tuple(sink->desc, name, record, txid));
	MemoryContextSwitchTo(old);
	MemoryContextReset(sink->scratch);
}

void
cfp_rows_end(CfpRowSink *sink)
{
	Assert(CurrentMemoryContext != sink->scratch);
	MemoryContextDelete(sink->scratch);
}
