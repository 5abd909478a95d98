/*-------------------------------------------------------------------------
 *
 * special.c
 *		The special fields: members of data that have a column of their own.
 *
 * Called for each store, by the SQL functions and the triggers of
 * storage_current.  Functions of their arguments and of the session's settings
 * (cfp.username, and what reads a timestamp): no locks, no shared memory.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/settings.h"
#include "record/special.h"

pg_noreturn static void
special_field_error(int sqlstate, const char *field, const JsonbValue *value,
					const char *wanted)
{
	const char *given;

	switch (value->type)
	{
		case jbvString:
			given = psprintf("\"%s\"",
							 pnstrdup(value->val.string.val,
									  pg_mbcliplen(value->val.string.val,
												   value->val.string.len, 100)));
			break;
		case jbvNumeric:
			given = DatumGetCString(DirectFunctionCall1(numeric_out,
														NumericGetDatum(value->val.numeric)));
			break;
		case jbvBool:
			given = value->val.boolean ? "true" : "false";
			break;
		default:
			given = "an object or array";
			break;
	}
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("invalid value for special field \"%s\"", field),
			 errdetail("The data's \"%s\" is %s, but must be %s.", field, given, wanted),
			 errhint("Correct it, leave it out of data, or use another name for it.")));
}

/* The members of data that are special fields; their lengths tell them apart. */
enum
{
	SPECIAL_STATUS,
	SPECIAL_USERNAME,
	SPECIAL_TIMESTAMP,
	SPECIAL_STATUS_INT,
	NSPECIAL
};

static const char *const special_names[] = {"status", "username", "timestamp", "status_int"};

StaticAssertDecl(lengthof(special_names) == NSPECIAL, "each special field has a name");

/* The special field that a member with a name of this length may be. */
static inline int
special_of_length(int len)
{
	switch (len)
	{
		case 6:
			return SPECIAL_STATUS;
		case 8:
			return SPECIAL_USERNAME;
		case 9:
			return SPECIAL_TIMESTAMP;
		case 10:
			return SPECIAL_STATUS_INT;
		default:
			return NSPECIAL;
	}
}

/* A value of an object, which begins at so many bytes after base. */
static inline void
take_value(JEntry entry, char *base, uint32 offset, JsonbValue *value)
{
	if (JBE_ISSTRING(entry))
	{
		value->type = jbvString;
		value->val.string.val = base + offset;
		value->val.string.len = JBE_OFFLENFLD(entry);
	}
	else if (JBE_ISNUMERIC(entry))
	{
		value->type = jbvNumeric;
		value->val.numeric = (Numeric) (base + INTALIGN(offset));
	}
	else if (JBE_ISBOOL(entry))
	{
		value->type = jbvBool;
		value->val.boolean = JBE_ISBOOL_TRUE(entry);
	}
	else if (!JBE_ISNULL(entry))
		value->type = jbvBinary;
}

/*
 * Find the special fields in data; those that are absent are JSON null.  Most
 * data is a small object, whose entries have their lengths (that of the first
 * one is its offset, too): then one pass finds them all.
 */
static void
find_special_fields(const JsonbContainer *data, JsonbValue *values)
{
	int			nkeys = JsonContainerSize(data);
	const JEntry *keys = data->children;
	const JEntry *entries = keys + nkeys;
	char	   *base = (char *) (entries + nkeys);
	uint8		special[JB_OFFSET_STRIDE / 2];
	uint32		offset = 0;
	bool		found = false;

	Assert(JsonContainerIsObject(data));

	for (int n = 0; n < NSPECIAL; n++)
	{
		Assert(special_of_length(strlen(special_names[n])) == n);
		values[n].type = jbvNull;
	}

	if (nkeys > lengthof(special))
	{
		for (int n = 0; n < NSPECIAL; n++)
			(void) getKeyJsonValueFromContainer((JsonbContainer *) data, special_names[n],
												strlen(special_names[n]), &values[n]);
		return;
	}

	for (int i = 0; i < nkeys; i++)
	{
		int			len = JBE_OFFLENFLD(keys[i]);
		int			n = special_of_length(len);

		if (n < NSPECIAL && memcmp(base + offset, special_names[n], len) != 0)
			n = NSPECIAL;
		special[i] = n;
		found |= n < NSPECIAL;
		offset += len;
	}
	if (!found)
		return;
	for (int i = 0; i < nkeys; i++)
	{
		if (special[i] < NSPECIAL)
			take_value(entries[i], base, offset, &values[special[i]]);
		offset += JBE_OFFLENFLD(entries[i]);
	}
}

static bool
special_string(const JsonbValue *values, int n, const char **str, int *len)
{
	const JsonbValue *value = &values[n];

	if (value->type == jbvNull)
		return false;
	if (value->type != jbvString)
		special_field_error(ERRCODE_INVALID_PARAMETER_VALUE, special_names[n], value,
							"a string or null");
	*str = value->val.string.val;
	*len = value->val.string.len;
	return true;
}

static bool
special_int(const JsonbValue *values, int n, int32 *result)
{
	const JsonbValue *value = &values[n];
	bool		failed = true;

	if (value->type == jbvNull)
		return false;
	if (value->type == jbvNumeric)
	{
		Datum		given = NumericGetDatum(value->val.numeric);
		Datum		whole = DirectFunctionCall2(numeric_trunc, given, Int32GetDatum(0));

		/* Rounding, as a cast would do, would store what was not given. */
		if (DatumGetBool(DirectFunctionCall2(numeric_eq, given, whole)))
			*result = numeric_int4_opt_error(value->val.numeric, &failed);
	}
	if (failed)
		special_field_error(ERRCODE_INVALID_PARAMETER_VALUE, special_names[n], value,
							"a whole number in the range of integer, or null");
	return true;
}

/* What timestamptz_in makes of the string, but with an error that names the field. */
static bool
special_timestamp(const JsonbValue *values, int n, TimestampTz *result)
{
	static const char wanted[] = "a string that timestamptz accepts, or null";
	const JsonbValue *value = &values[n];
	char	   *parts[MAXDATEFIELDS];
	int			types[MAXDATEFIELDS];
	char		workbuf[MAXDATELEN + MAXDATEFIELDS];
	int			nparts;
	int			kind;
	int			tz;
	fsec_t		fsec;
	struct pg_tm tm;
	char	   *str;

	if (value->type == jbvNull)
		return false;
	if (value->type != jbvString)
		special_field_error(ERRCODE_INVALID_PARAMETER_VALUE, special_names[n], value, wanted);

	str = pnstrdup(value->val.string.val, value->val.string.len);
	if (ParseDateTime(str, workbuf, sizeof(workbuf), parts, types,
					  MAXDATEFIELDS, &nparts) != 0 ||
		cfp_DecodeDateTime(parts, types, nparts, &kind, &tm, &fsec, &tz) != 0)
		kind = -1;
	pfree(str);

	switch (kind)
	{
		case DTK_DATE:
			if (tm2timestamp(&tm, fsec, &tz, result) == 0)
				return true;
			break;
		case DTK_EPOCH:
			*result = SetEpochTimestamp();
			return true;
		case DTK_LATE:
			TIMESTAMP_NOEND(*result);
			return true;
		case DTK_EARLY:
			TIMESTAMP_NOBEGIN(*result);
			return true;
		default:
			break;
	}
	special_field_error(ERRCODE_INVALID_DATETIME_FORMAT, special_names[n], value, wanted);
}

void
cfp_special_fields(CfpFields *fields, TimestampTz ts, bool ts_isnull,
				   const char *username, int username_len)
{
	const JsonbContainer *data = fields->data;
	JsonbValue	special[NSPECIAL];

	Assert(IsTransactionState());

	if (data != NULL)
		find_special_fields(data, special);

	fields->has_timestamp = true;
	if (!ts_isnull)
		fields->timestamp = ts;
	else if (data == NULL ||
			 !special_timestamp(special, SPECIAL_TIMESTAMP, &fields->timestamp))
		fields->timestamp = GetCurrentTransactionStartTimestamp();

	if (username != NULL)
	{
		fields->username = username;
		fields->username_len = username_len;
	}
	else if (data == NULL ||
			 !special_string(special, SPECIAL_USERNAME,
							 &fields->username, &fields->username_len))
	{
		fields->username = cfp_username[0] != '\0' ? cfp_username : NULL;
		fields->username_len = strlen(cfp_username);
	}

	if (data == NULL ||
		!special_string(special, SPECIAL_STATUS, &fields->status, &fields->status_len))
		fields->status = NULL;

	fields->has_status_int = data != NULL &&
		special_int(special, SPECIAL_STATUS_INT, &fields->status_int);
}
