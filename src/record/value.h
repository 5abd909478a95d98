/*-------------------------------------------------------------------------
 *
 * value.h
 *		The value of a record: an integer, a float or a string.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_VALUE_H
#define CFP_VALUE_H

#include "utils/numeric.h"

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
 * Value routing: one SQL value of the given type becomes a typed value.  A
 * JSON number that bigint cannot hold becomes a float, as it is in clients.
 * Strings point into the datum or into CurrentMemoryContext.  Throws 22003
 * (NaN, infinity, out of range) and 42804 (a type that must be cast first).
 */
extern void cfp_value_route(CfpValue *value, Oid type, Datum datum, bool isnull);

/* Rounded to an integer; false, without a result, where bigint cannot hold it. */
extern bool cfp_numeric_int8(Numeric num, int64 *result);

#endif							/* CFP_VALUE_H */
