/*-------------------------------------------------------------------------
 *
 * store.c
 *		Storing and deleting items: cfp_store(), cfp_delete(), cfp_delete_collection().
 *
 * Called by the executor only.  Each function checks in this order: that cfp was
 * preloaded, its arguments, the caller's privilege; then it hands over to
 * claim.c.  A NULL key is an error; an item or collection name that is NULL or
 * left out is the empty string.
 *
 * Takes no lock of its own.  Predicates of conditional stores are called under
 * locks and cannot throw.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/preload.h"
#include "read/collection.h"
#include "record/special.h"
#include "record/value.h"
#include "sql/common.h"
#include "store/claim.h"
#include "tables/tables.h"

PG_FUNCTION_INFO_V1(cfp_store_any);
PG_FUNCTION_INFO_V1(cfp_store_text);
PG_FUNCTION_INFO_V1(cfp_store_json);
PG_FUNCTION_INFO_V1(cfp_delete);
PG_FUNCTION_INFO_V1(cfp_delete_collection);

/* False when expected_version is not given. */
static bool
expected_version_argument(FunctionCallInfo fcinfo, int n, int64 *version)
{
	if (PG_ARGISNULL(n))
		return false;
	*version = PG_GETARG_INT64(n);
	if (*version < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expected_version must not be negative"),
				 errhint("Versions start at 1; 0 means that the item must be absent or deleted.")));
	return true;
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

static Datum
store_item(FunctionCallInfo fcinfo, Oid value_type)
{
	CfpItemName name;
	CfpFields	fields;
	int64		expected;
	bool		conditional;

	Assert(PG_NARGS() == 8);
	cfp_require_preload();
	cfp_require_key(fcinfo);
	cfp_item_arguments(fcinfo, 0, 2, 3, &name);
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
	return store_item(fcinfo, get_fn_expr_argtype(fcinfo->flinfo, 4));
}

/* As cfp_store(..., value "any", ...), with value text, which literals of no type become. */
Datum
cfp_store_text(PG_FUNCTION_ARGS)
{
	return store_item(fcinfo, TEXTOID);
}

/*
 * As cfp_store(..., value "any", ...), with value jsonb: one function, whose
 * parameters have the types that drivers and API generators take for granted.
 */
Datum
cfp_store_json(PG_FUNCTION_ARGS)
{
	return store_item(fcinfo, JSONBOID);
}

/* Unlike cfp_expect_version it does not match a tombstone: arg is an int64 *. */
static bool
expect_live_version(const CfpRecord *current, void *arg)
{
	return cfp_expect_present(current, NULL) && current->version == *(int64 *) arg;
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
	int64		expected;
	int32		version;

	cfp_require_preload();
	cfp_require_key(fcinfo);
	cfp_item_arguments(fcinfo, 0, 1, 2, &name);
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
	cfp_collection_arguments(fcinfo, &name.in);
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
