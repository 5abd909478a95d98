/*-------------------------------------------------------------------------
 *
 * json_line.h
 *		One record as one line of JSON, and back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_JSON_LINE_H
#define CFP_JSON_LINE_H

#include "cfp.h"

#include "lib/stringinfo.h"
#include "utils/date.h"

/*
 * Append the line of a row of storage_history (columns as in record.h),
 * newline included.  Throws out of memory only.
 */
extern void cfp_line_write(StringInfo buf, const Datum *values, const bool *nulls);

/* Append the first line of a day file, newline included. */
extern void cfp_line_write_header(StringInfo buf, DateADT date);

typedef enum CfpLineKind
{
	CFP_LINE_RECORD,			/* values and nulls are filled in */
	CFP_LINE_HEADER,
	CFP_LINE_BAD				/* *problem says why, as the DETAIL of a message */
} CfpLineKind;

/*
 * Read a line (without its newline).  Varlena values and *problem are
 * allocated in CurrentMemoryContext.  Bad content is never thrown.
 */
extern CfpLineKind cfp_line_read(const char *line, int len, Datum *values, bool *nulls,
								 char **problem);

#endif							/* CFP_JSON_LINE_H */
