/*-------------------------------------------------------------------------
 *
 * value.c
 *		Value routing: which of the three columns a value is stored in.
 *
 * Called by the SQL functions and the triggers of storage_current, for each
 * store that has a value.  Functions of their arguments: no locks, no shared
 * memory.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include <math.h>

#include "catalog/pg_type_d.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "record/value.h"

pg_noreturn static void
value_not_finite(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("value must be a finite number"),
			 errdetail("JSON has no NaN and no infinity."),
			 errhint("Store it as text, or store no value.")));
}

static void
route_float(CfpValue *value, float8 f)
{
	if (isnan(f) || isinf(f))
		value_not_finite();
	value->type = CFP_VALUE_FLOAT;
	value->f = f;
}

static void
route_int(CfpValue *value, int64 i)
{
	value->type = CFP_VALUE_INT;
	value->i = i;
}

static void
route_string(CfpValue *value, const char *str, int len)
{
	value->type = CFP_VALUE_STRING;
	value->str = str;
	value->str_len = len;
}

static bool
numeric_less(Numeric a, Numeric b)
{
	return DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(a), NumericGetDatum(b)));
}

bool
cfp_numeric_int8(Numeric num, int64 *result)
{
	if (numeric_is_nan(num) ||
		numeric_less(num, int64_to_numeric(PG_INT64_MIN)) ||
		numeric_less(int64_to_numeric(PG_INT64_MAX), num))
		return false;
	*result = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(num)));
	return true;
}

static void
route_numeric_float(CfpValue *value, Numeric num)
{
	route_float(value, DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(num))));
}

/* By display scale: 5 is an integer, 5.0 a float. */
static bool
is_integer(Numeric num)
{
	return DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(num))) == 0;
}

/* A numeric was chosen for its digits: none is lost without a word. */
static void
route_numeric(CfpValue *value, Numeric num)
{
	if (numeric_is_nan(num) || numeric_is_inf(num))
		value_not_finite();
	if (is_integer(num))
		route_int(value, DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(num))));
	else
		route_numeric_float(value, num);
}

static void
route_json_number(CfpValue *value, Numeric num)
{
	int64		i;

	if (is_integer(num) && cfp_numeric_int8(num, &i))
		route_int(value, i);
	else
		route_numeric_float(value, num);
}

static void
route_jsonb(CfpValue *value, Jsonb *jsonb)
{
	JsonbValue	scalar;

	if (!JB_ROOT_IS_SCALAR(jsonb))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("value must be a JSON scalar, not a JSON %s",
						JB_ROOT_IS_OBJECT(jsonb) ? "object" : "array"),
				 errhint("Put objects and arrays into data.")));

	JsonbExtractScalar(&jsonb->root, &scalar);
	switch (scalar.type)
	{
		case jbvString:
			route_string(value, scalar.val.string.val, scalar.val.string.len);
			break;
		case jbvNumeric:
			route_json_number(value, scalar.val.numeric);
			break;
		case jbvBool:
			route_int(value, scalar.val.boolean ? 1 : 0);
			break;
		default:				/* JSON null */
			break;
	}
}

void
cfp_value_route(CfpValue *value, Oid type, Datum datum, bool isnull)
{
	memset(value, 0, sizeof(*value));
	if (isnull)
		return;

	switch (type)
	{
		case INT2OID:
			route_int(value, DatumGetInt16(datum));
			break;
		case INT4OID:
			route_int(value, DatumGetInt32(datum));
			break;
		case INT8OID:
			route_int(value, DatumGetInt64(datum));
			break;
		case BOOLOID:
			route_int(value, DatumGetBool(datum) ? 1 : 0);
			break;
		case FLOAT4OID:
			route_float(value, (float8) DatumGetFloat4(datum));
			break;
		case FLOAT8OID:
			route_float(value, DatumGetFloat8(datum));
			break;
		case NUMERICOID:
			route_numeric(value, DatumGetNumeric(datum));
			break;
		case TEXTOID:
		case VARCHAROID:
			{
				text	   *str = DatumGetTextPP(datum);

				route_string(value, VARDATA_ANY(str), VARSIZE_ANY_EXHDR(str));
				break;
			}
		case BPCHAROID:
			{
				BpChar	   *str = DatumGetBpCharPP(datum);

				/* The padding is no part of the value, as in a cast to text. */
				route_string(value, VARDATA_ANY(str),
							 bpchartruelen(VARDATA_ANY(str), VARSIZE_ANY_EXHDR(str)));
				break;
			}
		case NAMEOID:
			route_string(value, NameStr(*DatumGetName(datum)),
						 strlen(NameStr(*DatumGetName(datum))));
			break;
		case UNKNOWNOID:
			route_string(value, DatumGetCString(datum), strlen(DatumGetCString(datum)));
			break;
		case JSONBOID:
			route_jsonb(value, DatumGetJsonbP(datum));
			break;
		case JSONOID:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("cannot store a value of type %s", "json"),
					 errhint("Cast it to jsonb.")));
			break;
		case InvalidOid:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("could not determine the type of the value"),
					 errhint("Cast the value to the type it is to have.")));
			break;
		default:
			{
				Oid			base = getBaseType(type);

				if (base != type)
					cfp_value_route(value, base, datum, isnull);
				else
					ereport(ERROR,
							(errcode(ERRCODE_DATATYPE_MISMATCH),
							 errmsg("cannot store a value of type %s",
									format_type_be(type)),
							 errhint("Cast it to bigint, double precision, numeric, boolean, text or jsonb.")));
			}
	}
}
