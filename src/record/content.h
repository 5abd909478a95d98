/*-------------------------------------------------------------------------
 *
 * content.h
 *		What a record may have in it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_CONTENT_H
#define CFP_CONTENT_H

#include "base/names.h"
#include "record/record.h"

/* Levels of data's objects and arrays, its own object included. */
#define CFP_MAX_DEPTH		1000

/* What is wrong, and where. */
typedef struct CfpFault
{
	const char *field;			/* a column, or the setting it came from */
	const char *bytes;			/* that are invalid, and what follows; NULL:
								 * it is nested too deeply */
	int			len;
} CfpFault;

/*
 * Is all text of a record that is to be stored valid, and data not too deep?
 * *fault is set when not, and points into what was given.
 */
extern bool cfp_content_is_sound(const CfpItemName *name, const CfpFields *fields,
								 CfpFault *fault);

/* Is one text valid, or an object not too deep?  field is its column. */
extern bool cfp_text_is_sound(const char *field, const char *str, int len, CfpFault *fault);
extern bool cfp_data_is_sound(const char *field, const JsonbContainer *data, CfpFault *fault);

/* Throws 22021 or 54000. */
pg_noreturn extern void cfp_raise_fault(const CfpFault *fault);

/*
 * Throws 54000 when the record's JSON text would be too large for day files
 * and backups.
 */
extern void cfp_check_json_size(const CfpFields *fields);

/* The fault as an error's message says it; palloc'd. */
extern char *cfp_fault_message(const CfpFault *fault);

#endif							/* CFP_CONTENT_H */
