/*-------------------------------------------------------------------------
 *
 * floor.c
 *		The least that a look-up by three names can cost in PostgreSQL.
 *
 * floor_set(jsonb) keeps a value for the session; floor_get(text, text, text)
 * hashes its arguments and returns a copy of that value, which is what any
 * function does that hands out a record it does not own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

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
