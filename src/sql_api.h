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

#include "utils/tuplestore.h"

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
