/*-------------------------------------------------------------------------
 *
 * floor.c
 *		The least that a look-up by three names, and an insert, can cost.
 *
 * floor_set(jsonb) keeps a value for the session; floor_get(text, text, text)
 * hashes its arguments and returns a copy of that value, which is what any
 * function does that hands out a record it does not own.
 *
 * floor_insert(table, key, data, item, collection, value, version) inserts one
 * row into a table with the columns of storage_history: table and indexes
 * only, no query, no cache, no checks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
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
