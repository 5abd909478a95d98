/*-------------------------------------------------------------------------
 *
 * floor.c
 *		The least that a look-up by three names, an insert, and lines of JSON
 *		can cost.
 *
 * floor_set(jsonb) keeps a value for the session; floor_get(text, text, text)
 * hashes its arguments and returns a copy of that value, which is what any
 * function does that hands out a record it does not own.
 *
 * floor_insert(table, key, data, item, collection, value, version) inserts one
 * row into a table with the columns of storage_history: table and indexes
 * only, no query, no cache, no checks.
 *
 * floor_json(table) makes json-c serialise the rows of such a table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

/* Both json-c and the server have a json_object. */
#define json_object jsonc_object
#include <json-c/json.h>
#undef json_object
typedef struct jsonc_object jsonc_object;

#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

PG_MODULE_MAGIC;

static Jsonb *constant = NULL;
static uint32 mixed = 0;		/* keeps the hashes from being optimised away */

PG_FUNCTION_INFO_V1(floor_set);
Datum
floor_set(PG_FUNCTION_ARGS)
{
	Jsonb	   *value = PG_GETARG_JSONB_P(0);

	constant = MemoryContextAlloc(TopMemoryContext, VARSIZE(value));
	memcpy(constant, value, VARSIZE(value));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(floor_get);
Datum
floor_get(PG_FUNCTION_ARGS)
{
	Jsonb	   *result;

	for (int i = 0; i < 3; i++)
	{
		text	   *name = PG_GETARG_TEXT_PP(i);

		mixed ^= hash_bytes((const unsigned char *) VARDATA_ANY(name),
							VARSIZE_ANY_EXHDR(name));
	}
	if (constant == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("floor_set() has not been called in this session")));
	result = palloc(VARSIZE(constant));
	memcpy(result, constant, VARSIZE(constant));
	PG_RETURN_JSONB_P(result);
}

PG_FUNCTION_INFO_V1(floor_insert);
Datum
floor_insert(PG_FUNCTION_ARGS)
{
	/* columns of key, data, item, collection, value */
	static const int columns[] = {0, 3, 2, 1, 4};
	Relation	table = table_open(PG_GETARG_OID(0), RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *target = makeNode(ResultRelInfo);

	InitResultRelInfo(target, table, 0, NULL, 0);
	ExecOpenIndices(target, false);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, 14 * sizeof(bool));
	for (int i = 0; i < 5; i++)
	{
		slot->tts_values[columns[i]] = PG_GETARG_DATUM(i + 1);
		slot->tts_isnull[columns[i]] = false;
	}
	slot->tts_values[11] = TimestampTzGetDatum(GetCurrentTimestamp());
	slot->tts_values[12] = PG_GETARG_DATUM(6);
	slot->tts_values[13] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	slot->tts_isnull[11] = slot->tts_isnull[12] = slot->tts_isnull[13] = false;
	ExecStoreVirtualTuple(slot);

	table_tuple_insert(table, slot, GetCurrentCommandId(true), 0, NULL);
#if PG_VERSION_NUM >= 160000
	ExecInsertIndexTuples(target, slot, estate, false, false, NULL, NIL, false);
#else
	ExecInsertIndexTuples(target, slot, estate, false, false, NULL, NIL);
#endif
	ExecDropSingleTupleTableSlot(slot);
	ExecCloseIndices(target);
	FreeExecutorState(estate);
	table_close(table, NoLock);
	PG_RETURN_VOID();
}

/*
 * floor_json(table): microseconds that json-c takes to serialise the rows of
 * a table with the columns of storage_history as the lines of day files have
 * them.  Each row becomes a json-c object, data included, made, serialised
 * and dropped; only that is timed, not reading the row.
 */
static jsonc_object *
text_object(Datum value, bool isnull)
{
	text	   *string;

	if (isnull)
		return NULL;
	string = DatumGetTextPP(value);
	return json_object_new_string_len(VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
}

static jsonc_object *
data_object(JsonbContainer *container)
{
	JsonbIterator *iterator = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	value;
	jsonc_object *stack[64];
	char	   *keys[64];
	jsonc_object *done = NULL;
	int			depth = -1;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		jsonc_object *object = NULL;

		switch (token)
		{
			case WJB_BEGIN_OBJECT:
			case WJB_BEGIN_ARRAY:
				if (++depth == lengthof(stack))
					elog(ERROR, "data is nested too deep");
				stack[depth] = token == WJB_BEGIN_OBJECT ?
					json_object_new_object() : json_object_new_array();
				continue;
			case WJB_KEY:
				keys[depth] = pnstrdup(value.val.string.val, value.val.string.len);
				continue;
			case WJB_END_OBJECT:
			case WJB_END_ARRAY:
				object = stack[depth--];
				break;
			default:
				if (value.type == jbvString)
					object = json_object_new_string_len(value.val.string.val, value.val.string.len);
				else if (value.type == jbvNumeric)
				{
					char	   *number = DatumGetCString(DirectFunctionCall1(numeric_out,
																			 NumericGetDatum(value.val.numeric)));

					object = strpbrk(number, ".eE") ?
						json_object_new_double_s(strtod(number, NULL), number) :
						json_object_new_int64(strtoll(number, NULL, 10));
				}
				else if (value.type == jbvBool)
					object = json_object_new_boolean(value.val.boolean);
				break;
		}
		if (depth < 0)
			done = object;
		else if (json_object_is_type(stack[depth], json_type_array))
			json_object_array_add(stack[depth], object);
		else
			json_object_object_add(stack[depth], keys[depth], object);
	}
	return done;
}

static jsonc_object *
time_object(Datum value, bool isnull)
{
	char		text[MAXDATELEN + 1];
	struct pg_tm tm;
	fsec_t		fsec;

	if (isnull)
		return NULL;
	timestamp2tm(DatumGetTimestampTz(value), NULL, &tm, &fsec, NULL, NULL);
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year,
			 tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, fsec);
	return json_object_new_string(text);
}

static Size
serialise_row(Datum *values, bool *nulls)
{
	jsonc_object *row = json_object_new_object();
	jsonc_object *value = NULL;
	Size		len;

	if (!nulls[4])
		value = json_object_new_int64(DatumGetInt64(values[4]));
	else if (!nulls[5])
		value = json_object_new_double(DatumGetFloat8(values[5]));
	else
		value = text_object(values[6], nulls[6]);
	json_object_object_add(row, "key", text_object(values[0], nulls[0]));
	json_object_object_add(row, "collection_name", text_object(values[1], nulls[1]));
	json_object_object_add(row, "item_name", text_object(values[2], nulls[2]));
	json_object_object_add(row, "data", nulls[3] ? NULL :
						   data_object(&DatumGetJsonbP(values[3])->root));
	json_object_object_add(row, "value", value);
	json_object_object_add(row, "timestamp", time_object(values[7], nulls[7]));
	json_object_object_add(row, "status", text_object(values[8], nulls[8]));
	json_object_object_add(row, "status_int", nulls[9] ? NULL : json_object_new_int(DatumGetInt32(values[9])));
	json_object_object_add(row, "username", text_object(values[10], nulls[10]));
	json_object_object_add(row, "updated_at", time_object(values[11], nulls[11]));
	json_object_object_add(row, "version", json_object_new_int(DatumGetInt32(values[12])));
	json_object_object_add(row, "txid", json_object_new_int64(DatumGetInt64(values[13])));
	json_object_to_json_string_length(row, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
	json_object_put(row);
	return len;
}

PG_FUNCTION_INFO_V1(floor_json);
Datum
floor_json(PG_FUNCTION_ARGS)
{
	Relation	table = table_open(PG_GETARG_OID(0), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	TableScanDesc scan = table_beginscan(table, GetActiveSnapshot(), 0, NULL);
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "floor row",
													  ALLOCSET_DEFAULT_SIZES);
	instr_time	total;
	Size		bytes = 0;

	INSTR_TIME_SET_ZERO(total);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(row_context);
		instr_time	start,
					end;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		INSTR_TIME_SET_CURRENT(start);
		bytes += serialise_row(slot->tts_values, slot->tts_isnull);
		INSTR_TIME_SET_CURRENT(end);
		INSTR_TIME_ACCUM_DIFF(total, end, start);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_context);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(table, AccessShareLock);
	mixed ^= (uint32) bytes;
	PG_RETURN_INT64(INSTR_TIME_GET_MICROSEC(total));
}
