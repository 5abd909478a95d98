/*-------------------------------------------------------------------------
 *
 * special.h
 *		The special fields: members of data that have a column of their own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_SPECIAL_H
#define CFP_SPECIAL_H

#include "record/record.h"

/*
 * Fills timestamp, status, status_int, username of *fields from fields->data
 * and the parameters (ts_isnull / username NULL: not given; then data's, then
 * now() / the setting cfp.username).  Throws 22023 or 22007 naming the field
 * when one cannot be converted.
 */
extern void cfp_special_fields(CfpFields *fields, TimestampTz ts, bool ts_isnull,
							   const char *username, int username_len);

#endif							/* CFP_SPECIAL_H */
