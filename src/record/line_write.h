/*-------------------------------------------------------------------------
 *
 * line_write.h
 *		One record as one line of JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_LINE_WRITE_H
#define CFP_LINE_WRITE_H

#include "base/names.h"

#include "lib/stringinfo.h"
#include "utils/date.h"

#include "record/forgotten.h"

/*
 * Append the line of a row of storage_history (columns as in columns.h),
 * newline included.  Throws out of memory only.
 */
extern void cfp_line_write(StringInfo buf, const Datum *values, const bool *nulls);

/*
 * Append the first line of a day file, newline included.  It names the
 * incarnation, unless that is NULL.
 */
extern void cfp_line_write_header(StringInfo buf, DateADT date, const char *incarnation);

/* Append the line of something given up, newline included. */
extern void cfp_line_write_forget(StringInfo buf, const CfpForget *forget);

#endif							/* CFP_LINE_WRITE_H */
