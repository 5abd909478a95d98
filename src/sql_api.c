/*-------------------------------------------------------------------------
 *
 * sql_api.c
 *		The functions users call: arguments in, results out.
 *
 * Called by the executor only.  Each function checks in this order: that cfp
 * was preloaded, its arguments, the caller's privilege; then it hands over to
 * pending (writing), collection (reading) or worker (requests), and wraps what
 * comes back.  No function is strict: a NULL key is an error when writing and
 * yields NULL or no rows when reading; a NULL item or collection name is the
 * empty string; so is an argument left out.
 *
 * Takes no lock of its own.  What a collection reader's callback is given
 * lives until it returns, so the callbacks here copy what they keep.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "calendar.h"
#include "collection.h"
#include "history.h"
#include "pending.h"
#include "settings.h"
#include "sql_api.h"
#include "tables.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(cfp_store_any);
PG_FUNCTION_INFO_V1(cfp_store_text);
PG_FUNCTION_INFO_V1(cfp_delete);
PG_FUNCTION_INFO_V1(cfp_delete_collection);
PG_FUNCTION_INFO_V1(cfp_get);
PG_FUNCTION_INFO_V1(cfp_get_value);
PG_FUNCTION_INFO_V1(cfp_get_text);
PG_FUNCTION_INFO_V1(cfp_get_data);
PG_FUNCTION_INFO_V1(cfp_item);
PG_FUNCTION_INFO_V1(cfp_get_collection);
PG_FUNCTION_INFO_V1(cfp_get_values);
PG_FUNCTION_INFO_V1(cfp_get_key);
PG_FUNCTION_INFO_V1(cfp_get_collection_json);
PG_FUNCTION_INFO_V1(cfp_items);
PG_FUNCTION_INFO_V1(cfp_history);
PG_FUNCTION_INFO_V1(cfp_flush);
PG_FUNCTION_INFO_V1(cfp_fold);
PG_FUNCTION_INFO_V1(cfp_warm);
PG_FUNCTION_INFO_V1(cfp_evict);
PG_FUNCTION_INFO_V1(cfp_next_end_of_day);

/* ----------
 * Arguments
 * ----------
 */

const char *
cfp_optional_argument(FunctionCallInfo fcinfo, int n, int *len)
{
	if (PG_ARGISNULL(n))
	{
		*len = 0;
		return NULL;
	}
	return cfp_name_argument(fcinfo, n, len);
}

static inline void
item_arguments(FunctionCallInfo fcinfo, int key, int item, int collection,
			   CfpItemName *name)
{
	name->in.key = cfp_name_argument(fcinfo, key, &name->in.key_len);
	name->in.collection = cfp_name_argument(fcinfo, collection, &name->in.collection_len);
	name->item = cfp_name_argument(fcinfo, item, &name->item_len);
}

/* The key is argument 0, the collection name argument 1. */
static inline void
collection_arguments(FunctionCallInfo fcinfo, CfpCollectionName *name)
{
	name->key = cfp_name_argument(fcinfo, 0, &name->key_len);
	name->collection = cfp_name_argument(fcinfo, 1, &name->collection_len);
}

void
cfp_require_key(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("key must not be null"),
				 errhint("An item is named by key, item_name and collection_name; only the last two may be left out.")));
}

DateADT
cfp_date_argument(FunctionCallInfo fcinfo, int n)
{
	DateADT		date;

	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the date must not be null")));
	date = PG_GETARG_DATEADT(n);
	if (DATE_NOT_FINITE(date))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the date must be finite")));
	return date;
}

void
cfp_check_names(const CfpItemName *name)
{
	Size		total = (Size) name->in.key_len + name->in.collection_len + name->item_len;

	if (total > CFP_MAX_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("names are too long"),
				 errdetail("key, collection_name and item_name together have %zu bytes; the limit is %d.",
						   total, CFP_MAX_NAME_BYTES),
				 errhint("Put long texts into data.")));
}

/* False when expected_version is not given. */
static bool
expected_version_argument(FunctionCallInfo fcinfo, int n, int32 *version)
{
	if (PG_ARGISNULL(n))
		return false;
	*version = PG_GETARG_INT32(n);
	if (*version < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expected_version must not be negative"),
				 errhint("Versions start at 1; 0 means that the item must be absent or deleted.")));
	return true;
}

void
cfp_fields_init(CfpFields *fields, Jsonb *data)
{
	static const uint32 empty_object = JB_FOBJECT;

	memset(fields, 0, sizeof(*fields));
	if (data == NULL)
	{
		fields->data = (const JsonbContainer *) &empty_object;
		fields->data_len = sizeof(empty_object);
		return;
	}
	if (!JB_ROOT_IS_OBJECT(data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("data must be a JSON object"),
				 errhint("Wrap it in an object, or store a scalar as value.")));
	fields->data = &data->root;
	fields->data_len = VARSIZE(data) - VARHDRSZ;
}

/* ts and username as parameters, else from data or the session. */
static void
special_arguments(FunctionCallInfo fcinfo, int ts, int username, CfpFields *fields)
{
	int			len;
	const char *str = cfp_optional_argument(fcinfo, username, &len);

	cfp_special_fields(fields, PG_ARGISNULL(ts) ? 0 : PG_GETARG_TIMESTAMPTZ(ts),
					   PG_ARGISNULL(ts), str, len);
}

/* ----------
 * Writing
 * ----------
 */

static Datum
store(FunctionCallInfo fcinfo, Oid value_type)
{
	CfpItemName name;
	CfpFields	fields;
	int32		expected;
	bool		conditional;

	cfp_require_preload();
	cfp_require_key(fcinfo);
	item_arguments(fcinfo, 0, 2, 3, &name);
	cfp_check_names(&name);
	conditional = expected_version_argument(fcinfo, 7, &expected);
	cfp_check_privilege(ACL_INSERT | ACL_UPDATE);

	cfp_fields_init(&fields, PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1));
	cfp_value_route(&fields.value, value_type, PG_GETARG_DATUM(4), PG_ARGISNULL(4));
	special_arguments(fcinfo, 5, 6, &fields);

	PG_RETURN_INT32(cfp_pending_store(&name, &fields,
									  conditional ? cfp_expect_version : NULL,
									  &expected, false));
}

/*
 * cfp_store(key, data, item_name, collection_name, value "any", ts, username,
 * expected_version)
 */
Datum
cfp_store_any(PG_FUNCTION_ARGS)
{
	return store(fcinfo, get_fn_expr_argtype(fcinfo->flinfo, 4));
}

/* The same with value text. */
Datum
cfp_store_text(PG_FUNCTION_ARGS)
{
	return store(fcinfo, TEXTOID);
}

/* Unlike cfp_expect_version it does not match a tombstone: arg is an int32 *. */
static bool
expect_live_version(const CfpRecord *current, void *arg)
{
	return cfp_expect_present(current, NULL) && current->version == *(int32 *) arg;
}

/* Never matches; tells in *arg (a bool) whether there is nothing to delete. */
static bool
note_absent(const CfpRecord *current, void *arg)
{
	*(bool *) arg = !cfp_expect_present(current, NULL);
	return false;
}

/* cfp_delete(key, item_name, collection_name, ts, username, expected_version) */
Datum
cfp_delete(PG_FUNCTION_ARGS)
{
	CfpItemName name;
	CfpFields	fields = {0};
	int32		expected;
	int32		version;

	cfp_require_preload();
	cfp_require_key(fcinfo);
	item_arguments(fcinfo, 0, 1, 2, &name);
	cfp_check_names(&name);
	if (!expected_version_argument(fcinfo, 5, &expected))
		expected = -1;
	cfp_check_privilege(ACL_DELETE);

	special_arguments(fcinfo, 3, 4, &fields);

	if (expected < 0)
		version = cfp_pending_store(&name, &fields, cfp_expect_present, NULL, true);
	else if (expected > 0)
		version = cfp_pending_store(&name, &fields, expect_live_version, &expected, false);
	else
	{
		bool		absent = false;

		/* Nothing was expected: either there is nothing, or it is a conflict. */
		version = cfp_pending_store(&name, &fields, note_absent, &absent, true);
		if (!absent)
			cfp_pending_store(&name, &fields, note_absent, &absent, false);
	}

	if (version == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(version);
}

static bool
collect_item_name(const CfpRow *row, void *arg)
{
	List	  **names = arg;

	*names = lappend(*names, cstring_to_text_with_len(row->item, row->item_len));
	return true;
}

/* cfp_delete_collection(key, collection_name, username) */
Datum
cfp_delete_collection(PG_FUNCTION_ARGS)
{
	CfpItemName name = {0};
	CfpReadOptions options = {0};
	List	   *items = NIL;
	ListCell   *lc;
	const char *username;
	int			username_len;
	int64		deleted = 0;

	cfp_require_preload();
	cfp_require_key(fcinfo);
	collection_arguments(fcinfo, &name.in);
	cfp_check_names(&name);
	cfp_check_privilege(ACL_DELETE);

	username = cfp_optional_argument(fcinfo, 2, &username_len);
	cfp_read_collection(&name.in, &options, collect_item_name, &items);
	foreach(lc, items)
	{
		text	   *item = lfirst(lc);
		CfpFields	fields = {0};

		CHECK_FOR_INTERRUPTS();
		name.item = VARDATA_ANY(item);
		name.item_len = VARSIZE_ANY_EXHDR(item);
		cfp_special_fields(&fields, 0, true, username, username_len);
		if (cfp_pending_store(&name, &fields, cfp_expect_present, NULL, true) != 0)
			deleted++;
	}
	PG_RETURN_INT64(deleted);
}

/* ----------
 * Reading one item: (key, item_name, collection_name)
 * ----------
 */

/* False when the key is NULL. */
static inline bool
begin_item_read(FunctionCallInfo fcinfo, CfpItemName *name)
{
	cfp_require_preload();
	if (PG_ARGISNULL(0))
		return false;
	item_arguments(fcinfo, 0, 1, 2, name);
	cfp_check_privilege(ACL_SELECT);
	return true;
}

/* The item's record; NULL when the key is, or the item is absent or deleted. */
static CfpRecord *
read_item(FunctionCallInfo fcinfo, CfpItemName *name, uint64 *txid)
{
	CfpRecord  *record;

	if (!begin_item_read(fcinfo, name))
		return NULL;
	record = cfp_read_item(name, txid);
	if (record == NULL || CFP_RECORD_IS_TOMBSTONE(record))
		return NULL;
	return record;
}

Datum
cfp_get(PG_FUNCTION_ARGS)
{
	CfpItemName name;
	Jsonb	   *image;

	if (!begin_item_read(fcinfo, &name))
		PG_RETURN_NULL();
	image = cfp_read_image(&name);
	if (image == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(image);
}

Datum
cfp_get_value(PG_FUNCTION_ARGS)
{
	CfpItemName name;
	CfpRecord  *record = read_item(fcinfo, &name, NULL);
	Jsonb	   *value = record != NULL ? cfp_record_value_jsonb(record) : NULL;

	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(value);
}

Datum
cfp_get_text(PG_FUNCTION_ARGS)
{
	CfpItemName name;
	CfpRecord  *record = read_item(fcinfo, &name, NULL);
	text	   *value = record != NULL ? cfp_record_value_text(record) : NULL;

	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(value);
}

Datum
cfp_get_data(PG_FUNCTION_ARGS)
{
	CfpItemName name;
	CfpRecord  *record = read_item(fcinfo, &name, NULL);
	Jsonb	   *data = record != NULL ? cfp_record_data(record) : NULL;

	if (data == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(data);
}

/* ----------
 * Rows
 * ----------
 */

/* Columns that a user has added to the table are NULL in the rows. */
static HeapTuple
form_tuple(TupleDesc desc, const CfpItemName *name, const CfpRecord *record, uint64 txid)
{
	Datum	   *values = palloc0(Max(desc->natts, CFP_NCOLS) * sizeof(Datum));
	bool	   *nulls = palloc(Max(desc->natts, CFP_NCOLS) * sizeof(bool));

	memset(nulls, true, Max(desc->natts, CFP_NCOLS) * sizeof(bool));
	cfp_form_row(name, record, txid, values, nulls);
	return heap_form_tuple(desc, values, nulls);
}

void
cfp_form_row(const CfpItemName *name, const CfpRecord *record, uint64 txid,
			 Datum *values, bool *nulls)
{
	cfp_record_to_row(record, values, nulls);
	values[CFP_COL_KEY] =
		PointerGetDatum(cstring_to_text_with_len(name->in.key, name->in.key_len));
	nulls[CFP_COL_KEY] = false;
	values[CFP_COL_COLLECTION] =
		PointerGetDatum(cstring_to_text_with_len(name->in.collection,
												 name->in.collection_len));
	nulls[CFP_COL_COLLECTION] = false;
	values[CFP_COL_ITEM] =
		PointerGetDatum(cstring_to_text_with_len(name->item, name->item_len));
	nulls[CFP_COL_ITEM] = false;
	values[CFP_COL_TXID] = UInt64GetDatum(txid);
	nulls[CFP_COL_TXID] = false;
}

uint64
cfp_own_txid(void)
{
	return U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
}

void
cfp_rows_begin(FunctionCallInfo fcinfo, CfpRowSink *sink)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	sink->store = rsinfo->setResult;
	sink->desc = rsinfo->setDesc;
	sink->scratch = AllocSetContextCreate(CurrentMemoryContext, "cfp rows",
										  ALLOCSET_DEFAULT_SIZES);
}

void
cfp_rows_put(CfpRowSink *sink, const CfpItemName *name, const CfpRecord *record,
			 uint64 txid)
{
	MemoryContext old = MemoryContextSwitchTo(sink->scratch);

	tuplestore_puttuple(sink->store, form_tuple(sink->desc, name, record, txid));
	MemoryContextSwitchTo(old);
	MemoryContextReset(sink->scratch);
}

void
cfp_rows_end(CfpRowSink *sink)
{
	MemoryContextDelete(sink->scratch);
}

/* cfp_item(key, item_name, collection_name) */
Datum
cfp_item(PG_FUNCTION_ARGS)
{
	CfpItemName name;
	uint64		txid;
	CfpRecord  *record = read_item(fcinfo, &name, &txid);
	TupleDesc	desc;

	if (record == NULL)
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(form_tuple(desc, &name, record, txid)));
}

typedef struct ItemRows
{
	CfpRowSink	sink;
	CfpItemName name;
} ItemRows;

static bool
put_item_row(const CfpRow *row, void *arg)
{
	ItemRows   *rows = arg;

	CHECK_FOR_INTERRUPTS();
	rows->name.item = row->item;
	rows->name.item_len = row->item_len;
	cfp_rows_put(&rows->sink, &rows->name, row->record, row->txid);
	return true;
}

/* An optional limit; -1 when not given. */
static int
limit_argument(FunctionCallInfo fcinfo, int n, const char *argument)
{
	int			limit;

	if (PG_ARGISNULL(n))
		return -1;
	limit = PG_GETARG_INT32(n);
	if (limit < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", argument)));
	return limit;
}

/*
 * cfp_items(key, collection_name, from_item, to_item, max_items,
 * include_deleted)
 */
Datum
cfp_items(PG_FUNCTION_ARGS)
{
	ItemRows	rows;
	CfpReadOptions options = {0};
	int			limit;

	cfp_require_preload();
	limit = limit_argument(fcinfo, 4, "max_items");
	cfp_check_privilege(ACL_SELECT);

	cfp_rows_begin(fcinfo, &rows.sink);
	if (!PG_ARGISNULL(0) && limit != 0)
	{
		collection_arguments(fcinfo, &rows.name.in);
		options.range.from = cfp_optional_argument(fcinfo, 2, &options.range.from_len);
		options.range.to = cfp_optional_argument(fcinfo, 3, &options.range.to_len);
		options.max_items = Max(limit, 0);
		options.include_deleted = !PG_ARGISNULL(5) && PG_GETARG_BOOL(5);
		cfp_read_collection(&rows.name.in, &options, put_item_row, &rows);
	}
	cfp_rows_end(&rows.sink);
	return (Datum) 0;
}

/* Merges own pending versions into those of the table, newest first. */
typedef struct VersionRows
{
	CfpRowSink	sink;
	const CfpItemName *name;
	const CfpPendingRow *own;
	int			nown;
	int			next_own;
	int			limit;			/* -1: none */
	int			count;
} VersionRows;

/* False when the limit is reached. */
static bool
put_version(VersionRows *rows, const CfpRecord *record, uint64 txid)
{
	if (rows->limit >= 0 && rows->count >= rows->limit)
		return false;
	cfp_rows_put(&rows->sink, rows->name, record, txid);
	rows->count++;
	return true;
}

static bool
put_table_version(const char *item, int item_len, const CfpRecord *record,
				  uint64 txid, void *arg)
{
	VersionRows *rows = arg;

	CHECK_FOR_INTERRUPTS();
	while (rows->next_own < rows->nown)
	{
		const CfpPendingRow *own = &rows->own[rows->next_own];

		if (own->version < record->version)
			break;
		rows->next_own++;
		/* One that has been written early is in the table as well. */
		if (own->version > record->version &&
			!put_version(rows, cfp_pending_record(own), cfp_own_txid()))
			return false;
	}
	return put_version(rows, record, txid);
}

/* cfp_history(key, item_name, collection_name, max_versions) */
Datum
cfp_history(PG_FUNCTION_ARGS)
{
	CfpItemName name;
	VersionRows rows = {0};

	cfp_require_preload();
	rows.limit = limit_argument(fcinfo, 3, "max_versions");
	cfp_check_history_privilege();

	cfp_rows_begin(fcinfo, &rows.sink);
	if (!PG_ARGISNULL(0) && rows.limit != 0)
	{
		item_arguments(fcinfo, 0, 1, 2, &name);
		rows.name = &name;
		rows.own = cfp_pending_versions(&name, &rows.nown);
		cfp_table_read_versions(GetActiveSnapshot(), &name, rows.limit,
								put_table_version, &rows);
		while (rows.next_own < rows.nown &&
			   put_version(&rows, cfp_pending_record(&rows.own[rows.next_own]), cfp_own_txid()))
			rows.next_own++;
	}
	cfp_rows_end(&rows.sink);
	return (Datum) 0;
}

/* ----------
 * Collections as jsonb
 * ----------
 */

/* The members of a collection's object; all memory is in context. */
typedef struct Members
{
	MemoryContext context;
	bool		values_only;
	CfpPair    *pairs;
	int			npairs;
	int			room;
	Size		bytes;
} Members;

static bool
add_member(const CfpRow *row, void *arg)
{
	Members    *members = arg;
	MemoryContext old = MemoryContextSwitchTo(members->context);
	CfpPair    *pair;
	char	   *key;

	CHECK_FOR_INTERRUPTS();
	if (members->npairs == members->room)
	{
		members->room = Max(64, members->room * 2);
		members->pairs = members->pairs == NULL ?
			palloc(members->room * sizeof(CfpPair)) :
			repalloc_huge(members->pairs, members->room * sizeof(CfpPair));
	}
	pair = &members->pairs[members->npairs++];
	pair->key_len = row->item_len;

	if (members->values_only)
	{
		Jsonb	   *value = cfp_record_value_jsonb(row->record);

		key = palloc(row->item_len);
		pair->value = value != NULL ? &value->root : NULL;
		pair->value_len = value != NULL ? VARSIZE(value) - VARHDRSZ : 0;
	}
	else
	{
		const Jsonb *image = CFP_RECORD_IMAGE(row->record);
		char	   *copy;

		pair->value_len = VARSIZE(image) - VARHDRSZ;
		copy = palloc(INTALIGN(pair->value_len) + row->item_len);
		memcpy(copy, &image->root, pair->value_len);
		pair->value = (const JsonbContainer *) copy;
		key = copy + INTALIGN(pair->value_len);
	}
	memcpy(key, row->item, row->item_len);
	pair->key = key;
	MemoryContextSwitchTo(old);

	/* No use in collecting more than an object can hold. */
	members->bytes += pair->key_len + pair->value_len;
	return members->bytes <= JENTRY_OFFLENMASK;
}

/* {item_name: record}, or {item_name: value}; counts the items if asked to. */
static Jsonb *
collection_object(const CfpCollectionName *name, bool values_only, int *nitems)
{
	Members		members = {0};
	CfpReadOptions options = {0};
	Jsonb	   *object;

	members.context = AllocSetContextCreate(CurrentMemoryContext, "cfp collection",
											ALLOCSET_DEFAULT_SIZES);
	members.values_only = values_only;
	cfp_read_collection(name, &options, add_member, &members);
	object = cfp_jsonb_object(members.pairs, members.npairs);
	MemoryContextDelete(members.context);
	if (nitems != NULL)
		*nitems = members.npairs;
	return object;
}

/* False when the key is NULL. */
static bool
begin_collection_read(FunctionCallInfo fcinfo, CfpCollectionName *name)
{
	cfp_require_preload();
	if (PG_ARGISNULL(0))
		return false;
	collection_arguments(fcinfo, name);
	cfp_check_privilege(ACL_SELECT);
	return true;
}

/* cfp_get_collection(key, collection_name) */
Datum
cfp_get_collection(PG_FUNCTION_ARGS)
{
	CfpCollectionName name;

	if (!begin_collection_read(fcinfo, &name))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(collection_object(&name, false, NULL));
}

/* cfp_get_values(key, collection_name) */
Datum
cfp_get_values(PG_FUNCTION_ARGS)
{
	CfpCollectionName name;

	if (!begin_collection_read(fcinfo, &name))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(collection_object(&name, true, NULL));
}

/* cfp_get_key(key) */
Datum
cfp_get_key(PG_FUNCTION_ARGS)
{
	CfpCollectionName name;
	List	   *collections;
	ListCell   *lc;
	CfpPair    *pairs;
	int			npairs = 0;

	cfp_require_preload();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	cfp_check_privilege(ACL_SELECT);

	name.key = cfp_name_argument(fcinfo, 0, &name.key_len);
	collections = cfp_read_collections(name.key, name.key_len);
	pairs = palloc(Max(list_length(collections), 1) * sizeof(CfpPair));
	foreach(lc, collections)
	{
		text	   *collection = lfirst(lc);
		Jsonb	   *object;
		int			nitems;

		name.collection = VARDATA_ANY(collection);
		name.collection_len = VARSIZE_ANY_EXHDR(collection);
		object = collection_object(&name, false, &nitems);

		/* One whose items are all deleted is not shown. */
		if (nitems == 0)
			continue;
		pairs[npairs].key = name.collection;
		pairs[npairs].key_len = name.collection_len;
		pairs[npairs].value = &object->root;
		pairs[npairs].value_len = VARSIZE(object) - VARHDRSZ;
		npairs++;
	}
	PG_RETURN_JSONB_P(cfp_jsonb_object(pairs, npairs));
}

/* ----------
 * A collection as JSON text
 * ----------
 */

/* The head of the text; without an etag while there are own stores pending. */
#define HEAD_ETAG			"{\"etag\": \"0000000000000000\", \"items\": {"
#define HEAD_NO_ETAG		"{\"etag\": null, \"items\": {"
#define HEAD_ETAG_OFFSET	10	/* of the digits, which are known last */
#define ETAG_LEN			16

/* The etag's digits, not NUL-terminated. */
static void
put_etag(char *dst, uint64 etag)
{
	char		digits[ETAG_LEN + 1];

	snprintf(digits, sizeof(digits), "%016llx", (unsigned long long) etag);
	memcpy(dst, digits, ETAG_LEN);
}

/* Does the collection, as this snapshot sees it, have that etag? */
static bool
etag_matches(const CfpCollectionName *name, const char *etag, int len)
{
	CfpItemsText text = {0};
	char		current[ETAG_LEN];

	if (len != ETAG_LEN)
		return false;
	cfp_read_collection_text(name, &text);
	put_etag(current, text.etag);
	return memcmp(current, etag, ETAG_LEN) == 0;
}

/* cfp_get_collection_json(key, collection_name, if_none_match) */
Datum
cfp_get_collection_json(PG_FUNCTION_ARGS)
{
	CfpCollectionName name;
	StringInfoData buf;
	CfpItemsText text = {.buf = &buf};
	bool		own;

	if (!begin_collection_read(fcinfo, &name))
		PG_RETURN_NULL();
	own = cfp_pending_in(&name);
	if (!own && !PG_ARGISNULL(2))
	{
		int			len;
		const char *etag = cfp_name_argument(fcinfo, 2, &len);

		if (etag_matches(&name, etag, len))
			PG_RETURN_NULL();
	}

	initStringInfo(&buf);
	enlargeStringInfo(&buf, 32 * 1024);
	buf.len = VARHDRSZ;
	appendStringInfoString(&buf, own ? HEAD_NO_ETAG : HEAD_ETAG);
	cfp_read_collection_text(&name, &text);
	appendBinaryStringInfo(&buf, "}}", 2);

	if (!own)
		put_etag(buf.data + VARHDRSZ + HEAD_ETAG_OFFSET, text.etag);
	SET_VARSIZE(buf.data, buf.len);
	PG_RETURN_POINTER(buf.data);
}

/* ----------
 * Running it
 * ----------
 */

Datum
cfp_flush(PG_FUNCTION_ARGS)
{
	cfp_require_preload();
	PG_RETURN_INT64(cfp_request(CFP_REQUEST_FLUSH));
}

Datum
cfp_fold(PG_FUNCTION_ARGS)
{
	cfp_require_preload();
	PG_RETURN_INT64(cfp_request(CFP_REQUEST_FOLD));
}

/* cfp_warm(key, collection_name): items loaded; NULL when it cannot be cached. */
Datum
cfp_warm(PG_FUNCTION_ARGS)
{
	CfpCollectionName name;
	int64		nitems;

	cfp_require_preload();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	collection_arguments(fcinfo, &name);
	nitems = cfp_collection_warm(&name);
	if (nitems < 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(nitems);
}

/* cfp_evict(key, collection_name) */
Datum
cfp_evict(PG_FUNCTION_ARGS)
{
	CfpCollectionName name;

	cfp_require_preload();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	collection_arguments(fcinfo, &name);
	PG_RETURN_BOOL(cfp_collection_evict(&name));
}

Datum
cfp_next_end_of_day(PG_FUNCTION_ARGS)
{
	TimestampTz now;

	cfp_require_preload();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	now = PG_GETARG_TIMESTAMPTZ(0);
	if (TIMESTAMP_NOT_FINITE(now))
		PG_RETURN_TIMESTAMPTZ(now);
	PG_RETURN_TIMESTAMPTZ(cfp_calendar_next(now, cfp_calendar_zone(),
											cfp_end_of_day_seconds()));
}
