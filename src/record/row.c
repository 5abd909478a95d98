/*-------------------------------------------------------------------------
 *
 * row.c
 *		Records as rows of storage_history and storage_latest, and back.
 *
 * Called for each row read, and for each record inserted at commit.  Functions
 * of their arguments: no locks, no shared memory.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "record/encode_int.h"
#include "record/row.h"

CfpOperation
cfp_row_operation(const Datum *values, const bool *nulls)
{
	bool		tombstone = nulls[CFP_COL_DATA] && nulls[CFP_COL_VALUE_INT] &&
	nulls[CFP_COL_VALUE_FLOAT] && nulls[CFP_COL_VALUE_STRING];
	CfpOperation operation;

	if (!nulls[CFP_COL_OPERATION])
	{
		operation = cfp_operation_of(values[CFP_COL_OPERATION]);
		if ((operation == CFP_DELETE) == tombstone)
			return operation;
	}
	return cfp_operation_derived(tombstone, DatumGetInt32(values[CFP_COL_VERSION]));
}

CfpRecord *
cfp_record_from_row(const Datum *values, const bool *nulls)
{
	CfpFields	fields = {0};

	/*
	 * Everything is only copied, so short varlenas (whose bytes are not
	 * aligned) need not be expanded first.
	 */
	if (!nulls[CFP_COL_DATA])
	{
		struct varlena *data = PG_DETOAST_DATUM_PACKED(values[CFP_COL_DATA]);

		fields.data = (const JsonbContainer *) VARDATA_ANY(data);
		fields.data_len = VARSIZE_ANY_EXHDR(data);
	}
	if (!nulls[CFP_COL_VALUE_INT])
	{
		fields.value.type = CFP_VALUE_INT;
		fields.value.i = DatumGetInt64(values[CFP_COL_VALUE_INT]);
	}
	else if (!nulls[CFP_COL_VALUE_FLOAT])
	{
		fields.value.type = CFP_VALUE_FLOAT;
		fields.value.f = DatumGetFloat8(values[CFP_COL_VALUE_FLOAT]);
	}
	else if (!nulls[CFP_COL_VALUE_STRING])
	{
		text	   *str = DatumGetTextPP(values[CFP_COL_VALUE_STRING]);

		fields.value.type = CFP_VALUE_STRING;
		fields.value.str = VARDATA_ANY(str);
		fields.value.str_len = VARSIZE_ANY_EXHDR(str);
	}
	if (!nulls[CFP_COL_TIMESTAMP])
	{
		fields.has_timestamp = true;
		fields.timestamp = DatumGetTimestampTz(values[CFP_COL_TIMESTAMP]);
	}
	if (!nulls[CFP_COL_STATUS])
	{
		text	   *status = DatumGetTextPP(values[CFP_COL_STATUS]);

		fields.status = VARDATA_ANY(status);
		fields.status_len = VARSIZE_ANY_EXHDR(status);
	}
	if (!nulls[CFP_COL_STATUS_INT])
	{
		fields.has_status_int = true;
		fields.status_int = DatumGetInt32(values[CFP_COL_STATUS_INT]);
	}
	if (!nulls[CFP_COL_USERNAME])
	{
		text	   *username = DatumGetTextPP(values[CFP_COL_USERNAME]);

		fields.username = VARDATA_ANY(username);
		fields.username_len = VARSIZE_ANY_EXHDR(username);
	}
	fields.updated_at = DatumGetTimestampTz(values[CFP_COL_UPDATED_AT]);
	fields.version = DatumGetInt32(values[CFP_COL_VERSION]);
	fields.create = cfp_row_operation(values, nulls) == CFP_CREATE;

	return cfp_record_make(&fields);
}

/* NULL for a string that is not there. */
static inline Datum
text_or_null(const char *str, int len, bool *isnull)
{
	*isnull = str == NULL;
	return str == NULL ? (Datum) 0 : PointerGetDatum(cstring_to_text_with_len(str, len));
}

static inline Datum
fields_column(const CfpFields *fields, int column, bool *isnull)
{
	*isnull = false;
	switch (column)
	{
		case CFP_COL_DATA:
			*isnull = fields->data == NULL;
			return *isnull ? (Datum) 0 :
				JsonbPGetDatum(cfp_jsonb_of(fields->data, fields->data_len));
		case CFP_COL_VALUE_INT:
			*isnull = fields->value.type != CFP_VALUE_INT;
			return Int64GetDatum(fields->value.i);
		case CFP_COL_VALUE_FLOAT:
			*isnull = fields->value.type != CFP_VALUE_FLOAT;
			return Float8GetDatum(fields->value.f);
		case CFP_COL_VALUE_STRING:
			return text_or_null(fields->value.type == CFP_VALUE_STRING ? fields->value.str : NULL,
								fields->value.str_len, isnull);
		case CFP_COL_TIMESTAMP:
			*isnull = !fields->has_timestamp;
			return TimestampTzGetDatum(fields->timestamp);
		case CFP_COL_STATUS:
			return text_or_null(fields->status, fields->status_len, isnull);
		case CFP_COL_STATUS_INT:
			*isnull = !fields->has_status_int;
			return Int32GetDatum(fields->status_int);
		case CFP_COL_USERNAME:
			return text_or_null(fields->username, fields->username_len, isnull);
		case CFP_COL_UPDATED_AT:
			return TimestampTzGetDatum(fields->updated_at);
		case CFP_COL_VERSION:
			return Int32GetDatum(fields->version);
		case CFP_COL_OPERATION:
			return cfp_operation_datum(cfp_fields_are_tombstone(fields) ? CFP_DELETE :
									   fields->create ? CFP_CREATE : CFP_UPDATE);
	}
	pg_unreachable();
}

Datum
cfp_fields_column(const CfpFields *fields, int column, bool *isnull)
{
	Assert(column >= CFP_COL_DATA && column < CFP_COL_TXID);
	return fields_column(fields, column, isnull);
}

void
cfp_record_to_row(const CfpRecord *record, Datum *values, bool *nulls)
{
	CfpFields	fields;

	cfp_record_fields(record, &fields);
	for (int i = CFP_COL_DATA; i < CFP_COL_TXID; i++)
		values[i] = fields_column(&fields, i, &nulls[i]);
}
