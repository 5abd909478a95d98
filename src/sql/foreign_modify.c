/*-------------------------------------------------------------------------
 *
 * foreign_modify.c
 *		INSERT, UPDATE, DELETE and COPY into storage_current.
 *
 * Called by the executor, which has checked the privilege on the table.
 *
 * INSERT stores a new version, whether there is an item or not, so that rows
 * may be copied in from anywhere; updated_at, version and txid given are
 * ignored.  With ON CONFLICT DO NOTHING it stores only what is absent.  UPDATE
 * and DELETE are conditional on the version the statement has read, and on the
 * one that an UPDATE writes.  RETURNING shows what was stored.
 *
 * Takes no lock of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "optimizer/appendinfo.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/preload.h"
#include "record/special.h"
#include "record/value.h"
#include "sql/common.h"
#include "sql/foreign.h"
#include "sql/foreign_modify.h"
#include "store/claim.h"
#include "store/own.h"
#include "tables/tables.h"


typedef struct CurrentRow
{
	Datum		values[CURRENT_NCOLS];
	bool		nulls[CURRENT_NCOLS];
} CurrentRow;

/* What a statement does to the table. */
typedef struct Modify
{
	AttrNumber	old_row;		/* in the rows of the plan: the row as read */
	bool		only_absent;	/* ON CONFLICT DO NOTHING */
	MemoryContext row_context;	/* until the next row */
} Modify;

static void
take_slot(CurrentRow *row, TupleTableSlot *slot)
{
	slot_getallattrs(slot);
	memcpy(row->values, slot->tts_values, sizeof(row->values));
	memcpy(row->nulls, slot->tts_isnull, sizeof(row->nulls));
}

static void
give_slot(TupleTableSlot *slot, const CurrentRow *row)
{
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	memcpy(slot->tts_values, row->values, sizeof(row->values));
	memcpy(slot->tts_isnull, row->nulls, sizeof(row->nulls));
	ExecStoreVirtualTuple(slot);
}

static bool
changed(int column, const CurrentRow *old, const CurrentRow *new, TupleDesc desc)
{
	Form_pg_attribute att = TupleDescAttr(desc, column);

	if (old->nulls[column] || new->nulls[column])
		return old->nulls[column] != new->nulls[column];
	return !datum_image_eq(old->values[column], new->values[column],
						   att->attbyval, att->attlen);
}

/* A text column; NULL is NULL. */
static const char *
text_column(const CurrentRow *row, int column, int *len)
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
name_column(const CurrentRow *row, int column, int *len)
{
	return row->nulls[column] ? (*len = 0, "") : text_column(row, column, len);
}

static void
take_name(CfpItemName *name, const CurrentRow *row)
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
take_value(CfpValue *value, const CurrentRow *row, const CurrentRow *old, TupleDesc desc)
{
	static const struct
	{
		int			column;
		Oid			type;
	}			columns[] = {
		{CFP_COL_VALUE_INT, INT8OID},
		{CFP_COL_VALUE_FLOAT, FLOAT8OID},
		{CFP_COL_VALUE_STRING, TEXTOID},
		{CURRENT_VALUE, JSONBOID}
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

/* The value of a row of the table, as it is, also one that no store accepts. */
static void
keep_value(CfpValue *value, const CurrentRow *row)
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
check_status(const CfpFields *fields, const CurrentRow *new, const CurrentRow *old,
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
check_version(const CurrentRow *old, const CurrentRow *new)
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
check_unchanged(const CurrentRow *old, const CurrentRow *new, TupleDesc desc)
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
take_special_fields(CfpFields *fields, const CurrentRow *new, const CurrentRow *old,
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

/*
 * Store the new row, old is NULL for an INSERT; *stored becomes what is there
 * then.  False when only what is absent was to be stored, and it is not.
 */
static bool
store_row(const CurrentRow *new, const CurrentRow *old, bool only_absent, TupleDesc desc,
		  CurrentRow *stored)
{
	CfpItemName name;
	CfpFields	fields;
	CfpRecord  *record;
	Jsonb	   *value;

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

	if (old != NULL)
	{
		int64		version = DatumGetInt32(old->values[CFP_COL_VERSION]);

		check_first_change(&name);
		cfp_pending_store(&name, &fields, cfp_expect_version, &version, false);
	}
	else if (only_absent)
	{
		int64		absent = 0;

		if (cfp_pending_store(&name, &fields, cfp_expect_version, &absent, true) == 0)
			return false;
	}
	else
		cfp_pending_store(&name, &fields, NULL, NULL, false);

	record = cfp_record_make(&fields);
	value = cfp_record_value_jsonb(record);
	cfp_form_row(&name, record, cfp_own_txid(), stored->values, stored->nulls);
	stored->values[CURRENT_VALUE] = PointerGetDatum(value);
	stored->nulls[CURRENT_VALUE] = value == NULL;
	return true;
}

static void
delete_row(const CurrentRow *old)
{
	CfpItemName name;
	CfpFields	fields = {0};
	int64		version = DatumGetInt32(old->values[CFP_COL_VERSION]);

	take_name(&name, old);
	check_first_change(&name);
	cfp_special_fields(&fields, 0, true, NULL, 0);
	cfp_pending_store(&name, &fields, cfp_expect_version, &version, false);
}

/* ---------- the executor's calls ---------- */

#define OLD_ROW		"wholerow"

/* The row as it was read comes along: its version is expected, its values compared. */
void
cfp_foreign_add_targets(PlannerInfo *root, Index index, RangeTblEntry *entry, Relation rel)
{
	add_row_identity_var(root, makeWholeRowVar(entry, index, 0, false), index, OLD_ROW);
}

List *
cfp_foreign_plan_modify(PlannerInfo *root, ModifyTable *plan, Index result, int subplan)
{
	return list_make1_int(plan->onConflictAction == ONCONFLICT_NOTHING);
}

static Modify *
begin(ResultRelInfo *rel)
{
	Modify	   *modify = palloc0(sizeof(Modify));

	cfp_require_preload();
	cfp_check_foreign_table(RelationGetRelid(rel->ri_RelationDesc));
	cfp_check_row_security();
	modify->row_context = AllocSetContextCreate(CurrentMemoryContext, "cfp row of storage_current",
												ALLOCSET_DEFAULT_SIZES);
	rel->ri_FdwState = modify;
	return modify;
}

/* What the slot shows of the row before is of no use any more. */
static MemoryContext
begin_row(const Modify *modify)
{
	MemoryContextReset(modify->row_context);
	return MemoryContextSwitchTo(modify->row_context);
}

void
cfp_foreign_begin_modify(ModifyTableState *state, ResultRelInfo *rel, List *private,
						 int subplan, int flags)
{
	Modify	   *modify;

	if (flags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	modify = begin(rel);
	modify->only_absent = linitial_int(private);
	if (state->operation != CMD_INSERT)
	{
		modify->old_row = ExecFindJunkAttributeInTlist(outerPlanState(state)->plan->targetlist, OLD_ROW);
		if (!AttributeNumberIsValid(modify->old_row))
			elog(ERROR, "could not find junk column \"%s\"", OLD_ROW);
	}
}

/* COPY, and rows routed to the table as a partition. */
void
cfp_foreign_begin_insert(ModifyTableState *state, ResultRelInfo *rel)
{
	(void) begin(rel);
}

static void
take_old_row(CurrentRow *row, const Modify *modify, TupleTableSlot *plan_slot, TupleDesc desc)
{
	bool		isnull;
	Datum		datum = ExecGetJunkAttribute(plan_slot, modify->old_row, &isnull);
	HeapTupleHeader header;
	HeapTupleData tuple;
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));

	if (isnull)
		elog(ERROR, "the row to change is null");
	header = DatumGetHeapTupleHeader(datum);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, values, nulls);
	memcpy(row->values, values, sizeof(row->values));
	memcpy(row->nulls, nulls, sizeof(row->nulls));
}

TupleTableSlot *
cfp_foreign_insert(EState *estate, ResultRelInfo *rel, TupleTableSlot *slot,
				   TupleTableSlot *plan_slot)
{
	Modify	   *modify = rel->ri_FdwState;
	MemoryContext old_cxt = begin_row(modify);
	CurrentRow	new;
	CurrentRow	stored;
	bool		done;

	take_slot(&new, slot);
	done = store_row(&new, NULL, modify->only_absent, slot->tts_tupleDescriptor, &stored);
	if (done)
		give_slot(slot, &stored);
	MemoryContextSwitchTo(old_cxt);
	return done ? slot : NULL;
}

TupleTableSlot *
cfp_foreign_update(EState *estate, ResultRelInfo *rel, TupleTableSlot *slot,
				   TupleTableSlot *plan_slot)
{
	MemoryContext old_cxt = begin_row(rel->ri_FdwState);
	CurrentRow	old;
	CurrentRow	new;
	CurrentRow	stored;

	take_old_row(&old, rel->ri_FdwState, plan_slot, slot->tts_tupleDescriptor);
	take_slot(&new, slot);
	(void) store_row(&new, &old, false, slot->tts_tupleDescriptor, &stored);
	give_slot(slot, &stored);
	MemoryContextSwitchTo(old_cxt);
	return slot;
}

TupleTableSlot *
cfp_foreign_delete(EState *estate, ResultRelInfo *rel, TupleTableSlot *slot,
				   TupleTableSlot *plan_slot)
{
	MemoryContext old_cxt = begin_row(rel->ri_FdwState);
	CurrentRow	old;

	take_old_row(&old, rel->ri_FdwState, plan_slot, slot->tts_tupleDescriptor);
	delete_row(&old);
	give_slot(slot, &old);
	MemoryContextSwitchTo(old_cxt);
	return slot;
}
