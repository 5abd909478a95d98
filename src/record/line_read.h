/*-------------------------------------------------------------------------
 *
 * line_read.h
 *		A line of JSON as the record it was written of.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_LINE_READ_H
#define CFP_LINE_READ_H

#include "base/names.h"

#include "record/forgotten.h"

typedef enum CfpLineKind
{
	CFP_LINE_RECORD,			/* values and nulls are filled in */
	CFP_LINE_HEADER,
	CFP_LINE_FORGET,			/* *forget is filled in, if asked for */
	CFP_LINE_BAD				/* *problem says why, as the DETAIL of a
								 * message */
} CfpLineKind;

/*
 * Read a line (without its newline).  *checked, false before the first line of
 * a file: one of its lines had a checksum, so that all after it must.  Values
 * and nulls have CFP_NCOLS places (columns.h).  Varlena
 * values and *problem are allocated in CurrentMemoryContext, or static.  Bad
 * content is never thrown.
 */
extern CfpLineKind cfp_line_read(const char *line, int len, bool *checked, Datum *values,
								 bool *nulls, CfpForget *forget, char **problem);

#endif							/* CFP_LINE_READ_H */
