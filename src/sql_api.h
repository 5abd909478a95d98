/*-------------------------------------------------------------------------
 *
 * sql_api.h
 *		What sql_api.c and sql_view.c share: checks of arguments, result rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_SQL_API_H
#define CFP_SQL_API_H

#include "cfp.h"
#include "record.h"

#include "utils/date.h"
#include "utils/tuplestore.h"

/* A text argument; NULL is the empty string.  The bytes belong to the caller. */
static inline const char *
cfp_name_argument(FunctionCallInfo fcinfo, int n, int *len)
{
	text	   *arg;

	if (PG_ARGISNULL(n))
	{
		*len = 0;
		return "";
	}
	arg = PG_GETARG_TEXT_PP(n);
	*len = VARSIZE_ANY_EXHDR(arg);
	return VARDATA_ANY(arg);
}

/* The same where NULL means not given. */
extern const char *cfp_optional_argument(FunctionCallInfo fcinfo, int n, int *len);

/* Throws 22004 when argument 0, the key, is NULL. */
extern void cfp_require_key(FunctionCallInfo fcinfo);

/* A date argument.  Throws 22004 when it is NULL, 22023 when it is infinite. */
extern DateADT cfp_date_argument(FunctionCallInfo fcinfo, int n);

/* Throws 54000 when the names together are too long to be stored. */
extern void cfp_check_names(const CfpItemName *name);

/*
 * Start a record with the given data: NULL means an empty object.  Throws
 * 22023 when it is not an object.  The fields point into data.
 */
extern void cfp_fields_init(CfpFields *fields, Jsonb *data);

/* The row of storage_history or storage_latest that shows a record. */
extern void cfp_form_row(const CfpItemName *name, const CfpRecord *record,
						 uint64 txid, Datum *values, bool *nulls);

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

#endif							/* CFP_SQL_API_H */
