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

	return cfp_record_make(&fields);
}

void
cfp_record_to_row(const CfpRecord *record, Datum *values, bool *nulls)
{
	CfpFields	fields;

	cfp_record_fields(record, &fields);
	for (int i = CFP_COL_DATA; i <= CFP_COL_VERSION; i++)
	{
		values[i] = (Datum) 0;
		nulls[i] = true;
	}

	if (fields.data != NULL)
	{
		values[CFP_COL_DATA] = JsonbPGetDatum(cfp_jsonb_of(fields.data, fields.data_len));
		nulls[CFP_COL_DATA] = false;
	}
	switch (fields.value.type)
	{
		case CFP_VALUE_NONE:
			break;
		case CFP_VALUE_INT:
			values[CFP_COL_VALUE_INT] = Int64GetDatum(fields.value.i);
			nulls[CFP_COL_VALUE_INT] = false;
			break;
		case CFP_VALUE_FLOAT:
			values[CFP_COL_VALUE_FLOAT] = Float8GetDatum(fields.value.f);
			nulls[CFP_COL_VALUE_FLOAT] = false;
			break;
		case CFP_VALUE_STRING:
			values[CFP_COL_VALUE_STRING] =
				PointerGetDatum(cstring_to_text_with_len(fields.value.str,
														 fields.value.str_len));
			nulls[CFP_COL_VALUE_STRING] = false;
			break;
	}
	if (fields.has_timestamp)
	{
		values[CFP_COL_TIMESTAMP] = TimestampTzGetDatum(fields.timestamp);
		nulls[CFP_COL_TIMESTAMP] = false;
	}
	if (fields.status != NULL)
	{
		values[CFP_COL_STATUS] =
			PointerGetDatum(cstring_to_text_with_len(fields.status, fields.status_len));
		nulls[CFP_COL_STATUS] = false;
	}
	if (fields.has_status_int)
	{
		values[CFP_COL_STATUS_INT] = Int32GetDatum(fields.status_int);
		nulls[CFP_COL_STATUS_INT] = false;
	}
	if (fields.username != NULL)
	{
		values[CFP_COL_USERNAME] =
			PointerGetDatum(cstring_to_text_with_len(fields.username,
													 fields.username_len));
		nulls[CFP_COL_USERNAME] = false;
	}
	values[CFP_COL_UPDATED_AT] = TimestampTzGetDatum(fields.updated_at);
	nulls[CFP_COL_UPDATED_AT] = false;
	values[CFP_COL_VERSION] = Int32GetDatum(fields.version);
	nulls[CFP_COL_VERSION] = false;
}
