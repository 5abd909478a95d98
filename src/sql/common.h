/*-------------------------------------------------------------------------
 *
 * common.h
 *		What the SQL functions share: checks of arguments, result rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_SQL_COMMON_H
#define CFP_SQL_COMMON_H

#include "base/names.h"
#include "record/record.h"

#include "access/htup.h"
#include "fmgr.h"
#include "utils/date.h"
#include "utils/tuplestore.h"

/* A text argument; NULL is the empty string.  The bytes belong to the caller. */
static inline const char *
cfp_name_argument(FunctionCallInfo fcinfo, int n, int *len)
{
	text	   *arg;

	Assert(n < PG_NARGS());
	if (PG_ARGISNULL(n))
	{
		*len = 0;
		return "";
	}
	arg = PG_GETARG_TEXT_PP(n);
	*len = VARSIZE_ANY_EXHDR(arg);
	return VARDATA_ANY(arg);
}

/* A text argument that may be left out: NULL then.  The bytes belong to the caller. */
static inline const char *
cfp_optional_argument(FunctionCallInfo fcinfo, int n, int *len)
{
	if (PG_ARGISNULL(n))
	{
		*len = 0;
		return NULL;
	}
	return cfp_name_argument(fcinfo, n, len);
}

/* The arguments with these numbers, which name an item. */
static inline void
cfp_item_arguments(FunctionCallInfo fcinfo, int key, int item, int collection,
				   CfpItemName *name)
{
	name->in.key = cfp_name_argument(fcinfo, key, &name->in.key_len);
	name->in.collection = cfp_name_argument(fcinfo, collection, &name->in.collection_len);
	name->item = cfp_name_argument(fcinfo, item, &name->item_len);
}

/* The key is argument 0, the collection name argument 1. */
static inline void
cfp_collection_arguments(FunctionCallInfo fcinfo, CfpCollectionName *name)
{
	name->key = cfp_name_argument(fcinfo, 0, &name->key_len);
	name->collection = cfp_name_argument(fcinfo, 1, &name->collection_len);
}

pg_noreturn extern void cfp_raise_null_key(void);
pg_noreturn extern void cfp_raise_long_names(Size total);

/* Throws 22004 when argument 0, the key, is NULL. */
static inline void
cfp_require_key(FunctionCallInfo fcinfo)
{
	if (unlikely(PG_ARGISNULL(0)))
		cfp_raise_null_key();
}

/* A date argument.  Throws 22004 when it is NULL, 22023 when it is infinite. */
extern DateADT cfp_date_argument(FunctionCallInfo fcinfo, int n);

/* Throws 54000 when the names together are too long to be stored. */
static inline void
cfp_check_names(const CfpItemName *name)
{
	Size		total = (Size) name->in.key_len + name->in.collection_len + name->item_len;

	if (unlikely(total > CFP_MAX_NAME_BYTES))
		cfp_raise_long_names(total);
}

/*
 * Start a record with the given data: NULL means an empty object.  Throws
 * 22023 when it is not an object.  The fields point into data.
 */
extern void cfp_fields_init(CfpFields *fields, Jsonb *data);

/* The row of storage_history or storage_latest that shows a record. */
extern void cfp_form_row(const CfpItemName *name, const CfpRecord *record,
						 uint64 txid, Datum *values, bool *nulls);

/* Only its names. */
extern void cfp_form_names(const CfpItemName *name, Datum *values, bool *nulls);

/* That row as a tuple of a result; columns that a user has added to the table are NULL. */
extern HeapTuple cfp_form_tuple(TupleDesc desc, const CfpItemName *name,
								const CfpRecord *record, uint64 txid);

/* This transaction's id as the txid column has it. */
extern uint64 cfp_own_txid(void);

/* Rows of a set-returning function, collected in a tuplestore. */
typedef struct CfpRowSink
{
	Tuplestorestate *store;
	TupleDesc	desc;
	MemoryContext scratch;		/* of one row */
} CfpRowSink;

extern void cfp_rows_begin(FunctionCallInfo fcinfo, CfpRowSink *sink);
extern void cfp_rows_put(CfpRowSink *sink, const CfpItemName *name,
						 const CfpRecord *record, uint64 txid);
extern void cfp_rows_end(CfpRowSink *sink);

#endif							/* CFP_SQL_COMMON_H */
