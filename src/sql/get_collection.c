/*-------------------------------------------------------------------------
 *
 * get_collection.c
 *		Whole collections as one value: jsonb objects, and JSON text with an etag.
 *
 * Called by the executor only.  Each function checks in this order: that cfp was
 * preloaded, its arguments, the caller's privilege; then it hands over to the
 * reader.  A NULL key yields NULL; a collection name that is NULL or left out is
 * the empty string.
 *
 * Takes no lock of its own.  What a reader's callback is given lives until it
 * returns, so the callbacks here copy what they keep.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "base/preload.h"
#include "read/collection.h"
#include "read/text.h"
#include "record/encode.h"
#include "sql/common.h"
#include "store/own.h"
#include "tables/tables.h"

PG_FUNCTION_INFO_V1(cfp_get_collection);
PG_FUNCTION_INFO_V1(cfp_get_values);
PG_FUNCTION_INFO_V1(cfp_get_key);
PG_FUNCTION_INFO_V1(cfp_get_collection_json);

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
	cfp_collection_arguments(fcinfo, name);
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

	StaticAssertStmt(sizeof(HEAD_ETAG) > HEAD_ETAG_OFFSET + ETAG_LEN, "the head has the digits");
	snprintf(digits, sizeof(digits), "%016llx", (unsigned long long) etag);
	memcpy(dst, digits, ETAG_LEN);
}

/* Does the collection, as this snapshot sees it, have that etag?  *read: it was looked at. */
static bool
etag_matches(const CfpCollectionName *name, const char *etag, int len, bool *read)
{
	CfpItemsText text = {0};
	char		current[ETAG_LEN];

	if (len != ETAG_LEN)
		return false;
	cfp_read_collection_text(name, &text);
	*read = true;
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

		if (etag_matches(&name, etag, len, &text.again))
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
