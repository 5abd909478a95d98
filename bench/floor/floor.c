/*-------------------------------------------------------------------------
 *
 * floor.c
 *		The least that a look-up by three names, an answer, an insert, and lines
 *		of JSON can cost.
 *
 * floor_set(jsonb) keeps a value for the session; floor_get(text, text, text)
 * hashes its arguments and returns a copy of that value, which is what any
 * function does that hands out a record it does not own.
 *
 * floor_text(size) returns a copy of so many bytes of text.
 *
 * floor_insert(table, key, data, item, collection, value, version) inserts one
 * row into a table with the columns of storage_history: table and indexes
 * only, no query, no cache, no checks.  floor_insert_many(table, key, datas,
 * items, collection, values, version) inserts several, in the order given.
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

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/array.h"
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

PG_FUNCTION_INFO_V1(floor_text);
Datum
floor_text(PG_FUNCTION_ARGS)
{
	static text *kept = NULL;
	int			size = PG_GETARG_INT32(0);
	text	   *result;

	if (kept == NULL || VARSIZE(kept) != size + VARHDRSZ)
	{
		kept = MemoryContextAlloc(TopMemoryContext, size + VARHDRSZ);
		SET_VARSIZE(kept, size + VARHDRSZ);
		memset(VARDATA(kept), 'x', size);
	}
	result = palloc(VARSIZE(kept));
	memcpy(result, kept, VARSIZE(kept));
	PG_RETURN_TEXT_P(result);
}

/* A table and its indexes; what is known of these is kept for the session. */
#define MAX_INDEXES		4

typedef struct Target
{
	Oid			relid;
	int			nindexes;
	Oid			index_oids[MAX_INDEXES];
	IndexInfo  *infos[MAX_INDEXES];
	Relation	table;
	Relation	indexes[MAX_INDEXES];
} Target;

static Target *
open_target(Oid relid)
{
	static Target target;

	target.table = table_open(relid, RowExclusiveLock);
	if (target.relid != relid)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		List	   *oids = RelationGetIndexList(target.table);
		ListCell   *lc;

		if (list_length(oids) > MAX_INDEXES)
			elog(ERROR, "too many indexes");
		target.nindexes = 0;
		foreach(lc, oids)
		{
			Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);

			target.index_oids[target.nindexes] = lfirst_oid(lc);
			target.infos[target.nindexes++] = BuildIndexInfo(index);
			index_close(index, NoLock);
		}
		target.relid = relid;
		MemoryContextSwitchTo(old);
	}
	for (int i = 0; i < target.nindexes; i++)
		target.indexes[i] = index_open(target.index_oids[i], RowExclusiveLock);
	return &target;
}

static void
close_target(Target *target)
{
	for (int i = 0; i < target->nindexes; i++)
		index_close(target->indexes[i], RowExclusiveLock);
	table_close(target->table, NoLock);
}

/* A row in the order of storage_history, with as many bytes as cfp stores. */
static void
fill_row(TupleTableSlot *slot, Datum key, Datum collection, Datum item,
		 Datum data, Datum value, Datum version)
{
	static text *status = NULL;
	static text *username = NULL;

	if (status == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		status = cstring_to_text("held");
		username = cstring_to_text("box-office-3");
		MemoryContextSwitchTo(old);
	}
	ExecClearTuple(slot);
	slot->tts_values[0] = key;
	slot->tts_values[1] = collection;
	slot->tts_values[2] = item;
	slot->tts_values[3] = data;
	slot->tts_values[4] = value;
	slot->tts_values[7] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	slot->tts_values[8] = PointerGetDatum(status);
	slot->tts_values[10] = PointerGetDatum(username);
	slot->tts_values[11] = TimestampTzGetDatum(GetCurrentTimestamp());
	slot->tts_values[12] = version;
	slot->tts_values[13] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	memset(slot->tts_isnull, false, 14 * sizeof(bool));
	slot->tts_isnull[5] = slot->tts_isnull[6] = slot->tts_isnull[9] = true;
	ExecStoreVirtualTuple(slot);
}

static void
insert_into_indexes(Target *target, TupleTableSlot *slot)
{
	for (int i = 0; i < target->nindexes; i++)
	{
		Datum		values[INDEX_MAX_KEYS];
		bool		isnull[INDEX_MAX_KEYS];

		FormIndexDatum(target->infos[i], slot, NULL, values, isnull);
		index_insert(target->indexes[i], values, isnull, &slot->tts_tid, target->table,
					 target->indexes[i]->rd_index->indisunique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
					 false, target->infos[i]);
	}
}

PG_FUNCTION_INFO_V1(floor_insert);
Datum
floor_insert(PG_FUNCTION_ARGS)
{
	Target	   *target = open_target(PG_GETARG_OID(0));
	TupleTableSlot *slot = table_slot_create(target->table, NULL);

	fill_row(slot, PG_GETARG_DATUM(1), PG_GETARG_DATUM(4), PG_GETARG_DATUM(3),
			 PG_GETARG_DATUM(2), PG_GETARG_DATUM(5), PG_GETARG_DATUM(6));
	table_tuple_insert(target->table, slot, GetCurrentCommandId(true), 0, NULL);
	insert_into_indexes(target, slot);
	ExecDropSingleTupleTableSlot(slot);
	close_target(target);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(floor_insert_many);
Datum
floor_insert_many(PG_FUNCTION_ARGS)
{
	Target	   *target = open_target(PG_GETARG_OID(0));
	Datum	   *datas;
	Datum	   *items;
	Datum	   *values;
	int			n;
	TupleTableSlot **slots;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), JSONBOID, -1, false, TYPALIGN_INT, &datas, NULL, &n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(3), TEXTOID, -1, false, TYPALIGN_INT, &items, NULL, &n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(5), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &values, NULL, &n);
	slots = palloc(n * sizeof(TupleTableSlot *));
	for (int i = 0; i < n; i++)
	{
		slots[i] = table_slot_create(target->table, NULL);
		fill_row(slots[i], PG_GETARG_DATUM(1), PG_GETARG_DATUM(4), items[i],
				 datas[i], values[i], PG_GETARG_DATUM(6));
	}
	table_multi_insert(target->table, slots, n, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < n; i++)
	{
		insert_into_indexes(target, slots[i]);
		ExecDropSingleTupleTableSlot(slots[i]);
	}
	close_target(target);
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
