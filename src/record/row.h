/*-------------------------------------------------------------------------
 *
 * row.h
 *		Records as rows of storage_history and storage_latest, and back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_ROW_H
#define CFP_ROW_H

#include "record/record.h"

/*
 * A record from the column values of a table row (detoasts what it must;
 * allocates in CurrentMemoryContext).
 */
extern CfpRecord *cfp_record_from_row(const Datum *values, const bool *nulls);

/* The operation of a row; where it cannot be that, what it must have been. */
extern CfpOperation cfp_row_operation(const Datum *values, const bool *nulls);

/*
 * The columns from CFP_COL_DATA on of a row, but for txid (that and names are
 * the caller's).  Varlena values are allocated in CurrentMemoryContext.
 */
extern void cfp_record_to_row(const CfpRecord *record, Datum *values, bool *nulls);

/* One of those columns, of a record that has been taken apart. */
extern Datum cfp_fields_column(const CfpFields *fields, int column, bool *isnull);

#endif							/* CFP_ROW_H */
