/*-------------------------------------------------------------------------
 *
 * sql_batch.c
 *		cfp_store_many() and cfp_get_many(): many items of a collection a call.
 *
 * Called by the executor only.  They do item by item what cfp_store() and
 * cfp_get() do, in the order jsonb keeps its keys in, which is the same in
 * every session: so two batches that wait for each other's versions in flight
 * meet in one order.  A batch that fails fails the (sub)transaction, and with it
 * whatever it has stored.
 *
 * An error about an item has the item's name in its context.
 *
 * Takes no lock of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "lib/qunique.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/preload.h"
#include "read/item.h"
#include "record/encode.h"
#include "record/special.h"
#include "record/value.h"
#include "sql/common.h"
#include "store/claim.h"
#include "tables/tables.h"

PG_FUNCTION_INFO_V1(cfp_store_many);
PG_FUNCTION_INFO_V1(cfp_get_many);

/* What a batch says of one item. */
typedef struct BatchItem
{
	Jsonb	   *data;			/* NULL: not given */
	Datum		value;			/* jsonb */
	bool		has_value;
	bool		has_ts;
	TimestampTz ts;
	bool		conditional;
	int64		expected_version;
} BatchItem;

/* What the predicate of a conditional store has met. */
typedef struct Expectation
{
	int64		expected;
	int32		current;		/* 0: the item does not exist */
	bool		deleted;
} Expectation;

/* The key is argument 0, the collection name argument 2. */
static void
collection_arguments(FunctionCallInfo fcinfo, CfpCollectionName *name)
{
	name->key = cfp_name_argument(fcinfo, 0, &name->key_len);
	name->collection = cfp_name_argument(fcinfo, 2, &name->collection_len);
}

/* ---------- one item's object ---------- */

static bool
field_is(const JsonbValue *field, const char *name)
{
	return field->val.string.len == strlen(name) &&
		memcmp(field->val.string.val, name, field->val.string.len) == 0;
}

static Jsonb *
data_field(JsonbValue *value)
{
	if (value->type == jbvNull)
		return NULL;
	if (value->type != jbvBinary)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("data must be a JSON object"),
				 errhint("Wrap it in an object, or store a scalar as value.")));
	return JsonbValueToJsonb(value);
}

static TimestampTz
ts_field(const JsonbValue *value)
{
	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
				 errmsg("ts must be a string with a date and time"),
				 errhint("Write it as \"2026-01-31T12:00:00Z\".")));
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
												   CStringGetDatum(pnstrdup(value->val.string.val,
																			value->val.string.len)),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
}

static int64
expected_version_field(const JsonbValue *value)
{
	int64		version = 0;
	bool		valid = false;

	/* 2.0 is an integer, 2.5 is none. */
	if (value->type == jbvNumeric)
	{
		Datum		integral = DirectFunctionCall2(numeric_round,
												   NumericGetDatum(value->val.numeric),
												   Int32GetDatum(0));

		valid = DatumGetBool(DirectFunctionCall2(numeric_eq, integral,
												 NumericGetDatum(value->val.numeric))) &&
			cfp_numeric_int8(value->val.numeric, &version) && version >= 0;
	}
	if (!valid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expected_version must be an integer, and not be negative"),
				 errhint("Versions start at 1; 0 means that the item must be absent or deleted.")));
	return version;
}

/* Take the item's object apart; *it stands before it. */
static void
read_batch_item(JsonbIterator **it, BatchItem *item)
{
	JsonbValue	field;
	JsonbValue	value;

	memset(item, 0, sizeof(*item));
	if (JsonbIteratorNext(it, &field, false) != WJB_BEGIN_OBJECT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an item must be given as a JSON object"),
				 errhint("Write {\"data\": {...}, \"value\": ..., \"ts\": ..., \"expected_version\": ...}; each may be left out.")));
	while (JsonbIteratorNext(it, &field, false) == WJB_KEY)
	{
		JsonbIteratorNext(it, &value, true);
		if (field_is(&field, "data"))
			item->data = data_field(&value);
		else if (field_is(&field, "value"))
		{
			item->has_value = value.type != jbvNull;
			if (item->has_value)
				item->value = JsonbPGetDatum(JsonbValueToJsonb(&value));
		}
		else if (field_is(&field, "ts"))
		{
			item->has_ts = value.type != jbvNull;
			if (item->has_ts)
				item->ts = ts_field(&value);
		}
		else if (field_is(&field, "expected_version"))
		{
			item->conditional = value.type != jbvNull;
			if (item->conditional)
				item->expected_version = expected_version_field(&value);
		}
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown field \"%.*s\"", field.val.string.len, field.val.string.val),
					 errhint("An item's fields are data, value, ts and expected_version; what belongs to the item goes into data.")));
	}
}

/* ---------- storing ---------- */

/* Called under locks: cannot throw. */
static bool
meets_expectation(const CfpRecord *current, void *arg)
{
	Expectation *expectation = arg;

	expectation->current = current == NULL ? 0 : current->version;
	expectation->deleted = current != NULL && CFP_RECORD_IS_TOMBSTONE(current);
	return cfp_expect_version(current, &expectation->expected);
}

static void
note_conflict(StringInfo conflicts, const CfpItemName *name, const Expectation *met)
{
	if (conflicts->len > 0)
		appendStringInfoChar(conflicts, '\n');
	appendStringInfo(conflicts, "item \"%.*s\": expected version " INT64_FORMAT,
					 name->item_len, name->item, met->expected);
	if (!cfp_may_read())
		return;
	if (met->current == 0)
		appendStringInfoString(conflicts, ", it does not exist");
	else
		appendStringInfo(conflicts, ", its current version is %d%s", met->current,
						 met->deleted ? " (deleted)" : "");
}

static void
item_context(void *arg)
{
	const CfpItemName *name = arg;

	if (name->item != NULL)
		errcontext("item \"%.*s\"", name->item_len, name->item);
}

/* False on a conflict, which has been noted. */
static bool
store_batch_item(const CfpItemName *name, BatchItem *item, const char *username,
				 int username_len, StringInfo conflicts)
{
	CfpFields	fields;
	Expectation expectation = {0};

	cfp_check_names(name);
	cfp_fields_init(&fields, item->data);
	cfp_value_route(&fields.value, JSONBOID, item->value, !item->has_value);
	cfp_special_fields(&fields, item->ts, !item->has_ts, username, username_len);

	/* Else it would be refused as a cfp_store(). */
	PreventCommandIfReadOnly("cfp_store_many()");
	PreventCommandIfParallelMode("cfp_store_many()");
	expectation.expected = item->expected_version;
	if (cfp_pending_store(name, &fields, item->conditional ? meets_expectation : NULL,
						  &expectation, true) != 0)
		return true;
	note_conflict(conflicts, name, &expectation);
	return false;
}

/* cfp_store_many(key, items, collection_name, username) */
Datum
cfp_store_many(PG_FUNCTION_ARGS)
{
	CfpItemName name = {0};
	const char *username;
	int			username_len;
	Jsonb	   *items;
	JsonbIterator *it;
	JsonbValue	value;
	StringInfoData conflicts;
	ErrorContextCallback context;
	MemoryContext item_cxt;
	MemoryContext old_cxt;
	int			stored = 0;

	cfp_require_preload();
	cfp_require_key(fcinfo);
	collection_arguments(fcinfo, &name.in);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("items must not be null"),
				 errhint("Pass {} to store nothing.")));
	items = PG_GETARG_JSONB_P(1);
	if (!JB_ROOT_IS_OBJECT(items))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("items must be a JSON object"),
				 errhint("Write {item_name: {\"data\": {...}, \"value\": ...}, ...}.")));
	username = cfp_optional_argument(fcinfo, 3, &username_len);
	cfp_check_privilege(ACL_INSERT | ACL_UPDATE);

	initStringInfo(&conflicts);
	item_cxt = AllocSetContextCreate(CurrentMemoryContext, "cfp batch item",
									 ALLOCSET_DEFAULT_SIZES);
	context.callback = item_context;
	context.arg = &name;
	context.previous = error_context_stack;
	error_context_stack = &context;

	it = JsonbIteratorInit(&items->root);
	JsonbIteratorNext(&it, &value, false);
	while (JsonbIteratorNext(&it, &value, false) == WJB_KEY)
	{
		BatchItem	item;

		CHECK_FOR_INTERRUPTS();
		name.item = value.val.string.val;
		name.item_len = value.val.string.len;
		old_cxt = MemoryContextSwitchTo(item_cxt);
		read_batch_item(&it, &item);
		stored += store_batch_item(&name, &item, username, username_len, &conflicts);
		MemoryContextSwitchTo(old_cxt);
		MemoryContextReset(item_cxt);
	}
	error_context_stack = context.previous;
	MemoryContextDelete(item_cxt);

	if (conflicts.len > 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("items are not at the expected versions; none of the batch is stored"),
				 errdetail_internal("%s", conflicts.data),
				 errhint("Read the items again and retry.")));
	PG_RETURN_INT32(stored);
}

/* ---------- reading ---------- */

/* cfp_get_many(key, item_names, collection_name) */
Datum
cfp_get_many(PG_FUNCTION_ARGS)
{
	CfpItemName name = {0};
	Datum	   *names;
	bool	   *nulls;
	int			nnames;
	text	  **items;
	CfpPair    *pairs;
	int			npairs = 0;

	cfp_require_preload();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	collection_arguments(fcinfo, &name.in);
	cfp_check_privilege(ACL_SELECT);

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &names, &nulls, &nnames);
	items = palloc(Max(nnames, 1) * sizeof(text *));
	for (int i = 0; i < nnames; i++)
		items[i] = nulls[i] ? cstring_to_text("") : DatumGetTextPP(names[i]);
	qsort(items, nnames, sizeof(text *), cfp_compare_texts);
	nnames = qunique(items, nnames, sizeof(text *), cfp_compare_texts);

	pairs = palloc(Max(nnames, 1) * sizeof(CfpPair));
	for (int i = 0; i < nnames; i++)
	{
		Jsonb	   *image;

		CHECK_FOR_INTERRUPTS();
		name.item = VARDATA_ANY(items[i]);
		name.item_len = VARSIZE_ANY_EXHDR(items[i]);
		image = cfp_read_image(&name);
		if (image == NULL)
			continue;
		pairs[npairs].key = name.item;
		pairs[npairs].key_len = name.item_len;
		pairs[npairs].value = &image->root;
		pairs[npairs++].value_len = VARSIZE(image) - VARHDRSZ;
	}
	PG_RETURN_JSONB_P(cfp_jsonb_object(pairs, npairs));
}
