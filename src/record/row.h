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

/*
 * The columns CFP_COL_DATA .. CFP_COL_VERSION of a row (names and txid are
 * the caller's).  Varlena values are allocated in CurrentMemoryContext.
 */
extern void cfp_record_to_row(const CfpRecord *record, Datum *values, bool *nulls);

/* One of those columns, of a record that has been taken apart. */
extern Datum cfp_fields_column(const CfpFields *fields, int column, bool *isnull);

#endif							/* CFP_ROW_H */
