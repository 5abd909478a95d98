/*-------------------------------------------------------------------------
 *
 * sql_view.c
 *		What the view storage_current is made of.
 *
 * The view shows the storage tables as they would be if folded now, merged
 * with the transaction's own pending records (cfp_pending_rows), and refuses
 * roles that row security should filter (cfp_view_guard).  Its INSTEAD OF
 * triggers (cfp_current_trigger) store and delete.  Called by the executor
 * only, which has checked the privilege on the view.
 *
 * INSERT stores a new version, whether there is an item or not, so that rows
 * may be copied in from anywhere; updated_at, version and txid given are
 * ignored.  UPDATE and DELETE are conditional on the version the statement
 * has read, and on the one that an UPDATE writes.  RETURNING shows what was stored.
 *
 * Takes no lock of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/preload.h"
#include "record/special.h"
#include "record/value.h"
#include "sql/common.h"
#include "store/claim.h"
#include "store/own.h"
#include "tables/tables.h"

PG_FUNCTION_INFO_V1(cfp_current_trigger);
PG_FUNCTION_INFO_V1(cfp_pending_rows);
PG_FUNCTION_INFO_V1(cfp_view_guard);

/* The columns of the view: the tables' (CFP_COL_...), then `value`. */
#define VIEW_VALUE		CFP_NCOLS
#define VIEW_NCOLS		(CFP_NCOLS + 1)

typedef struct ViewRow
{
	Datum		values[VIEW_NCOLS];
	bool		nulls[VIEW_NCOLS];
} ViewRow;

static void
take_row(ViewRow *row, HeapTuple tuple, TupleDesc desc)
{
	heap_deform_tuple(tuple, desc, row->values, row->nulls);
}

static bool
changed(int column, const ViewRow *old, const ViewRow *new, TupleDesc desc)
{
	Form_pg_attribute att = TupleDescAttr(desc, column);

	if (old->nulls[column] || new->nulls[column])
		return old->nulls[column] != new->nulls[column];
	return !datum_image_eq(old->values[column], new->values[column],
						   att->attbyval, att->attlen);
}

/* A text column; NULL is NULL. */
static const char *
text_column(const ViewRow *row, int column, int *len)
{
	text	   *str;

	if (row->nulls[column])
	{
		*len = 0;
		return NULL;
	}
	str = DatumGetTextPP(row->values[column]);
	*len = VARSIZE_ANY_EXHDR(str);
	return VARDATA_ANY(str);
}

/* A name column; NULL is the empty string. */
static const char *
name_column(const ViewRow *row, int column, int *len)
{
	return row->nulls[column] ? (*len = 0, "") : text_column(row, column, len);
}

static void
take_name(CfpItemName *name, const ViewRow *row)
{
	if (row->nulls[CFP_COL_KEY])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("key must not be null"),
				 errhint("An item is named by key, item_name and collection_name; only the last two may be left out.")));
	name->in.key = name_column(row, CFP_COL_KEY, &name->in.key_len);
	name->in.collection = name_column(row, CFP_COL_COLLECTION, &name->in.collection_len);
	name->item = name_column(row, CFP_COL_ITEM, &name->item_len);
	cfp_check_names(name);
}

static bool
same_value(const CfpValue *a, const CfpValue *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type)
	{
		case CFP_VALUE_NONE:
			break;
		case CFP_VALUE_INT:
			return a->i == b->i;
		case CFP_VALUE_FLOAT:
			return a->f == b->f;
		case CFP_VALUE_STRING:
			return a->str_len == b->str_len &&
				memcmp(a->str, b->str, a->str_len) == 0;
	}
	return true;
}

/*
 * The value that a row gives, in whichever of its four columns; with old,
 * only columns that differ from it count.  False when none counts.
 */
static bool
take_value(CfpValue *value, const ViewRow *row, const ViewRow *old, TupleDesc desc)
{
	static const struct
	{
		int			column;
		Oid			type;
	}			columns[] = {
		{CFP_COL_VALUE_INT, INT8OID},
		{CFP_COL_VALUE_FLOAT, FLOAT8OID},
		{CFP_COL_VALUE_STRING, TEXTOID},
		{VIEW_VALUE, JSONBOID}
	};
	bool		found = false;

	memset(value, 0, sizeof(*value));
	for (int i = 0; i < lengthof(columns); i++)
	{
		int			column = columns[i].column;
		CfpValue	given;

		if (old != NULL && !changed(column, old, row, desc))
			continue;
		found = true;
		cfp_value_route(&given, columns[i].type, row->values[column], row->nulls[column]);
		if (given.type == CFP_VALUE_NONE)
			continue;
		if (value->type == CFP_VALUE_NONE)
			*value = given;
		else if (!same_value(value, &given))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("an item can have only one value"),
					 errhint("Set only one of value, value_int, value_float and value_string.")));
	}
	return found;
}

/* The value of a row of the view, as it is, also one that no store accepts. */
static void
keep_value(CfpValue *value, const ViewRow *row)
{
	Assert(row != NULL);

	if (!row->nulls[CFP_COL_VALUE_FLOAT])
	{
		memset(value, 0, sizeof(*value));
		value->type = CFP_VALUE_FLOAT;
		value->f = DatumGetFloat8(row->values[CFP_COL_VALUE_FLOAT]);
	}
	else if (!row->nulls[CFP_COL_VALUE_INT])
		cfp_value_route(value, INT8OID, row->values[CFP_COL_VALUE_INT], false);
	else
		cfp_value_route(value, TEXTOID, row->values[CFP_COL_VALUE_STRING],
						row->nulls[CFP_COL_VALUE_STRING]);
}

pg_noreturn static void from_data_only(const char *column);

static void
from_data_only(const char *column)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("column \"%s\" of storage_current cannot be set to other than what data says",
					column),
			 errhint("Set it in data: data || jsonb_build_object('%s', ...).", column)));
}

/*
 * status and status_int come from data.  What a row gives for them must agree
 * with it, unless it was left out (INSERT) or as it was (UPDATE).
 */
static void
check_status(const CfpFields *fields, const ViewRow *new, const ViewRow *old,
			 TupleDesc desc)
{
	int			len;
	const char *status = text_column(new, CFP_COL_STATUS, &len);

	if ((old == NULL ? status != NULL : changed(CFP_COL_STATUS, old, new, desc)) &&
		((status == NULL) != (fields->status == NULL) ||
		 (status != NULL &&
		  (len != fields->status_len || memcmp(status, fields->status, len) != 0))))
		from_data_only("status");

	if ((old == NULL ? !new->nulls[CFP_COL_STATUS_INT] :
		 changed(CFP_COL_STATUS_INT, old, new, desc)) &&
		(new->nulls[CFP_COL_STATUS_INT] == fields->has_status_int ||
		 (fields->has_status_int &&
		  DatumGetInt32(new->values[CFP_COL_STATUS_INT]) != fields->status_int)))
		from_data_only("status_int");
}

/*
 * What each store sets itself may come along, as mappers write whole rows:
 * updated_at and txid are of no account, and the version must be that of the
 * row or, as version columns count, the next.
 */
static void
check_version(const ViewRow *old, const ViewRow *new)
{
	int64		current = DatumGetInt32(old->values[CFP_COL_VERSION]);
	int64		given;

	if (new->nulls[CFP_COL_VERSION])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("version must not be null"),
				 errhint("Each store sets it: leave it out, or give what was read.")));
	given = DatumGetInt32(new->values[CFP_COL_VERSION]);
	if (given != current && given != current + 1)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the item is not at the expected version"),
				 cfp_may_read() ?
				 errdetail("Its version is " INT64_FORMAT ", the row that is written has " INT64_FORMAT ".",
						   current, given) : 0,
				 errhint("Read the item again and retry.")));
}

/* Columns that name the item must not change. */
static void
check_unchanged(const ViewRow *old, const ViewRow *new, TupleDesc desc)
{
	static const int names[] = {CFP_COL_KEY, CFP_COL_COLLECTION, CFP_COL_ITEM};

	for (int i = 0; i < lengthof(names); i++)
		if (changed(names[i], old, new, desc))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" of storage_current cannot be updated",
							NameStr(TupleDescAttr(desc, names[i])->attname)),
					 errdetail("It is part of the item's name."),
					 errhint("Insert the item under its new name and delete the old one.")));
}

/* timestamp and username of the row, where it gives them, are the parameters. */
static void
take_special_fields(CfpFields *fields, const ViewRow *new, const ViewRow *old,
					TupleDesc desc)
{
	bool		has_timestamp = !new->nulls[CFP_COL_TIMESTAMP];
	const char *username;
	int			len;

	username = text_column(new, CFP_COL_USERNAME, &len);
	if (old != NULL)
	{
		has_timestamp &= changed(CFP_COL_TIMESTAMP, old, new, desc);
		if (!changed(CFP_COL_USERNAME, old, new, desc))
			username = NULL;
	}
	cfp_special_fields(fields,
					   has_timestamp ? DatumGetTimestampTz(new->values[CFP_COL_TIMESTAMP]) : 0,
					   !has_timestamp, username, len);
	check_status(fields, new, old, desc);
}

/*
 * Throws 21000 when this statement has changed the item already, and comes to
 * it again with the row as it was: a join gave it twice.
 */
static void
check_first_change(const CfpItemName *name)
{
	const CfpRecord *own = cfp_pending_find(name, CFP_UP_TO_NOW);
	const CfpRecord *seen = own == NULL ? NULL :
	cfp_pending_find(name, GetActiveSnapshot()->curcid);

	if (own != NULL && (seen == NULL || seen->version != own->version))
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("cannot change item \"%.*s\" of storage_current twice in one statement",
						name->item_len, name->item),
				 errhint("Ensure that it finds each item at most once.")));
}

/* Store the new row; old is NULL for an INSERT.  Returns the row as stored. */
static HeapTuple
store_row(const ViewRow *new, const ViewRow *old, TupleDesc desc)
{
	CfpItemName name;
	CfpFields	fields;
	CfpRecord  *record;
	Jsonb	   *value;
	ViewRow		stored;

	if (old != NULL)
	{
		check_unchanged(old, new, desc);
		check_version(old, new);
	}
	take_name(&name, new);
	cfp_fields_init(&fields, new->nulls[CFP_COL_DATA] ? NULL :
					DatumGetJsonbP(new->values[CFP_COL_DATA]));
	if (!take_value(&fields.value, new, old, desc))
		keep_value(&fields.value, old);
	take_special_fields(&fields, new, old, desc);

	if (old == NULL)
		cfp_pending_store(&name, &fields, NULL, NULL, false);
	else
	{
		int64		version = DatumGetInt32(old->values[CFP_COL_VERSION]);

		check_first_change(&name);
		cfp_pending_store(&name, &fields, cfp_expect_version, &version, false);
	}

	record = cfp_record_make(&fields);
	value = cfp_record_value_jsonb(record);
	cfp_form_row(&name, record, cfp_own_txid(), stored.values, stored.nulls);
	stored.values[VIEW_VALUE] = PointerGetDatum(value);
	stored.nulls[VIEW_VALUE] = value == NULL;
	return heap_form_tuple(desc, stored.values, stored.nulls);
}

static void
delete_row(const ViewRow *old)
{
	CfpItemName name;
	CfpFields	fields = {0};
	int64		version = DatumGetInt32(old->values[CFP_COL_VERSION]);

	take_name(&name, old);
	check_first_change(&name);
	cfp_special_fields(&fields, 0, true, NULL, 0);
	cfp_pending_store(&name, &fields, cfp_expect_version, &version, false);
}

/* INSTEAD OF INSERT OR UPDATE OR DELETE ON storage_current FOR EACH ROW */
Datum
cfp_current_trigger(PG_FUNCTION_ARGS)
{
	static const char *const view[] = {"storage_current"};
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	ViewRow		first;
	ViewRow		second;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_INSTEAD(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("cfp_current_trigger() can be called only by the triggers of storage_current")));
	cfp_check_trigger_relation(fcinfo, "cfp_current_trigger", view, lengthof(view));
	desc = RelationGetDescr(trigger->tg_relation);
	if (desc->natts != VIEW_NCOLS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("view storage_current has been altered"),
				 errdetail("It has %d columns instead of %d.", desc->natts, VIEW_NCOLS)));

	cfp_require_preload();
	cfp_check_row_security();

	take_row(&first, trigger->tg_trigtuple, desc);
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
	{
		delete_row(&first);
		return PointerGetDatum(trigger->tg_trigtuple);
	}
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return PointerGetDatum(store_row(&first, NULL, desc));
	take_row(&second, trigger->tg_newtuple, desc);
	return PointerGetDatum(store_row(&second, &first, desc));
}

/*
 * Is the function called in a query over storage_current?  Then the executor
 * has checked who reads it, though not for the user it runs as.
 */
static bool
asked_by_view(FunctionCallInfo fcinfo)
{
	EState	   *estate = ((ReturnSetInfo *) fcinfo->resultinfo)->econtext->ecxt_estate;
	Oid			view = cfp_tables()->current;
	ListCell   *lc;

	foreach(lc, estate ? estate->es_range_table : NIL)
	{
		if (((RangeTblEntry *) lfirst(lc))->relid == view)
			return true;
	}
	return false;
}

/* The newest own record of each item stored in this transaction. */
Datum
cfp_pending_rows(PG_FUNCTION_ARGS)
{
	CfpRowSink	sink;

	cfp_rows_begin(fcinfo, &sink);
	if (!asked_by_view(fcinfo))
		cfp_check_privilege(ACL_SELECT);
	if (cfp_pending_any)
	{
		int			nrows;
		CfpPendingRow *rows = cfp_pending_all(NULL, 0, GetActiveSnapshot()->curcid, &nrows);

		for (int i = 0; i < nrows; i++)
		{
			MemoryContext old = MemoryContextSwitchTo(sink.scratch);
			const CfpRecord *record = cfp_pending_record(&rows[i]);

			MemoryContextSwitchTo(old);
			cfp_rows_put(&sink, &rows[i].name, record, cfp_own_txid());
		}
	}
	cfp_rows_end(&sink);
	return (Datum) 0;
}

/* True; throws 0A000 when row security is active for the user. */
Datum
cfp_view_guard(PG_FUNCTION_ARGS)
{
	cfp_check_row_security();
	PG_RETURN_BOOL(true);
}
