/*-------------------------------------------------------------------------
 *
 * value.h
 *		The value of a record: an integer, a float or a string.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_VALUE_H
#define CFP_VALUE_H

#include "base/names.h"

typedef enum CfpValueType
{
	CFP_VALUE_NONE = 0,
	CFP_VALUE_INT,
	CFP_VALUE_FLOAT,
	CFP_VALUE_STRING
} CfpValueType;

typedef struct CfpValue
{
	CfpValueType type;
	int64		i;
	float8		f;
	const char *str;			/* not NUL-terminated */
	int			str_len;
} CfpValue;

/*
 * Value routing: one SQL value of the given type becomes a typed value.
 * Strings point into the datum or into CurrentMemoryContext.  Throws 22003
 * (NaN, infinity, out of range) and 42804 (a type that must be cast first).
 */
extern void cfp_value_route(CfpValue *value, Oid type, Datum datum, bool isnull);

#endif							/* CFP_VALUE_H */
