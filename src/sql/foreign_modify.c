/*-------------------------------------------------------------------------
 *
 * foreign_modify.c
 *		INSERT, UPDATE, DELETE and COPY into a foreign table.
 *
 * Called by the executor, which has checked the privilege on the table.
 *
 * INSERT stores a new version, whether there is an item or not, so that rows
 * may be copied in from anywhere; updated_at, version, operation and txid given are
 * ignored.  With ON CONFLICT DO NOTHING it stores only what is absent, with DO
 * UPDATE what is there is updated instead.  UPDATE and DELETE are conditional on
 * the version the statement has read, and on the one that an UPDATE writes.
 * RETURNING shows what was stored.  CHECK and NOT NULL constraints are asked of
 * that, too: it has what a store sets by itself.
 *
 * Takes no lock of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/appendinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/preload.h"
#include "read/item.h"
#include "record/special.h"
#include "record/value.h"
#include "sql/common.h"
#include "sql/foreign.h"
#include "sql/foreign_modify.h"
#include "sql/foreign_row.h"
#include "sql/foreign_seen.h"
#include "store/claim.h"
#include "store/lock.h"
#include "store/own.h"
#include "tables/tables.h"


/* What a statement does to the table. */
typedef struct Modify
{
	const CfpForeignTable *table;
	CfpRowMap  *map;
	AttrNumber	row_number;		/* in the rows of the plan: which row it is */
	CfpSeen    *seen;			/* the rows as read; NULL: not asked yet */
	TupleTableSlot *old_slot;	/* the row as read */
	OnConflictAction on_conflict;
	ModifyTableState *state;	/* NULL: COPY */
	MemoryContext row_context;	/* until the next row */
} Modify;

/* A text column; NULL is NULL. */
static const char *
text_column(const CfpFieldRow *row, int column, int *len)
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
name_column(const CfpFieldRow *row, int column, int *len)
{
	return row->nulls[column] ? (*len = 0, "") : text_column(row, column, len);
}

static void
take_name(CfpItemName *name, const CfpFieldRow *row)
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
take_value(CfpValue *value, const CfpFieldRow *row, const CfpFieldRow *old)
{
	static const struct
	{
		int			column;
		Oid			type;
	}			columns[] = {
		{CFP_COL_VALUE_INT, INT8OID},
		{CFP_COL_VALUE_FLOAT, FLOAT8OID},
		{CFP_COL_VALUE_STRING, TEXTOID},
		{CFP_FIELD_VALUE, JSONBOID}
	};
	bool		found = false;

	memset(value, 0, sizeof(*value));
	for (int i = 0; i < lengthof(columns); i++)
	{
		int			column = columns[i].column;
		CfpValue	given;

		if (old != NULL && !cfp_field_changed(column, old, row))
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
keep_value(CfpValue *value, const CfpFieldRow *row)
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
check_status(const CfpFields *fields, const CfpFieldRow *new, const CfpFieldRow *old)
{
	int			len;
	const char *status = text_column(new, CFP_COL_STATUS, &len);

	if ((old == NULL ? status != NULL : cfp_field_changed(CFP_COL_STATUS, old, new)) &&
		((status == NULL) != (fields->status == NULL) ||
		 (status != NULL &&
		  (len != fields->status_len || memcmp(status, fields->status, len) != 0))))
		from_data_only("status");

	if ((old == NULL ? !new->nulls[CFP_COL_STATUS_INT] :
		 cfp_field_changed(CFP_COL_STATUS_INT, old, new)) &&
		(new->nulls[CFP_COL_STATUS_INT] == fields->has_status_int ||
		 (fields->has_status_int &&
		  DatumGetInt32(new->values[CFP_COL_STATUS_INT]) != fields->status_int)))
		from_data_only("status_int");
}

/*
 * What each store sets itself may come along, as mappers write whole rows:
 * updated_at, operation and txid are of no account, and the version must be that of the
 * row or, as version columns count, the next.
 */
static void
check_version(const CfpFieldRow *old, const CfpFieldRow *new)
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

/* The fields that name the item must not change. */
static void
check_unchanged(const Modify *modify, const CfpFieldRow *old, const CfpFieldRow *new)
{
	for (int field = CFP_COL_KEY; field < CFP_NAME_COLUMNS; field++)
		if (cfp_field_changed(field, old, new))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" of %s cannot be updated",
							get_attname(modify->table->relid, modify->table->name_column[field], false),
							get_rel_name(modify->table->relid)),
					 errdetail("It is part of the item's name."),
					 errhint("Insert the item under its new name and delete the old one.")));
}

/* timestamp and username of the row, where it gives them, are the parameters. */
static void
take_special_fields(CfpFields *fields, const CfpFieldRow *new, const CfpFieldRow *old)
{
	bool		has_timestamp = !new->nulls[CFP_COL_TIMESTAMP];
	const char *username;
	int			len;

	username = text_column(new, CFP_COL_USERNAME, &len);
	if (old != NULL)
	{
		has_timestamp &= cfp_field_changed(CFP_COL_TIMESTAMP, old, new);
		if (!cfp_field_changed(CFP_COL_USERNAME, old, new))
			username = NULL;
	}
	cfp_special_fields(fields,
					   has_timestamp ? DatumGetTimestampTz(new->values[CFP_COL_TIMESTAMP]) : 0,
					   !has_timestamp, username, len);
	check_status(fields, new, old);
}

/* Has this statement stored the item already? */
static bool
is_stored_by_command(const CfpItemName *name, const EState *estate)
{
	const CfpRecord *own = cfp_pending_find(name, CFP_UP_TO_NOW);
	const CfpRecord *seen = own == NULL ? NULL :
	cfp_pending_find(name, estate->es_snapshot->curcid);

	return own != NULL && (seen == NULL || seen->version != own->version);
}

/*
 * Throws 21000 when this statement has changed the item already, and comes to
 * it again with the row as it was: a join gave it twice.
 */
static void
check_first_change(const CfpItemName *name, const EState *estate, const Modify *modify)
{
	if (is_stored_by_command(name, estate))
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION),
				 errmsg("cannot change item \"%.*s\" of %s twice in one statement",
						name->item_len, name->item, get_rel_name(modify->table->relid)),
				 errhint("Ensure that it finds each item at most once.")));
}

/* Under what condition a row is stored. */
typedef enum Condition
{
	ALWAYS,
	IF_ABSENT,					/* else it is not stored */
	IF_UNCHANGED				/* since *old was read; else it is an error */
} Condition;

/*
 * Store the new row, old is NULL for an INSERT; the slot then shows what is there.
 * False when it was not to be stored.
 */
static bool
store_row(Modify *modify, ResultRelInfo *rel, EState *estate, const CfpFieldRow *new,
		  const CfpFieldRow *old, Condition condition, TupleTableSlot *slot)
{
	CfpItemName name;
	CfpFields	fields;
	int64		version = old == NULL ? 0 : DatumGetInt32(old->values[CFP_COL_VERSION]);

	if (old != NULL)
	{
		check_unchanged(modify, old, new);
		check_version(old, new);
	}
	take_name(&name, new);
	cfp_fields_init(&fields, new->nulls[CFP_COL_DATA] ? NULL :
					DatumGetJsonbP(new->values[CFP_COL_DATA]));
	if (!take_value(&fields.value, new, old))
		keep_value(&fields.value, old);
	take_special_fields(&fields, new, old);
	if (cfp_pending_store(&name, &fields, condition == ALWAYS ? NULL : cfp_expect_version,
						  &version, condition == IF_ABSENT) == 0)
		return false;

	cfp_row_show(modify->map, slot, &name, cfp_record_make(&fields), cfp_own_txid());
	if (RelationGetDescr(rel->ri_RelationDesc)->constr != NULL)
		ExecConstraints(rel, slot, estate);
	return true;
}

/* ---------- ON CONFLICT DO UPDATE ---------- */

pg_noreturn static void
raise_second_time(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("ON CONFLICT DO UPDATE command cannot affect row a second time"),
			 errhint("Ensure that no rows proposed for insertion within the same command have duplicate constrained values.")));
}

/* Update the item that is there, which is locked; false when the WHERE does not hold. */
static bool
update_existing(Modify *modify, ResultRelInfo *rel, EState *estate, TupleTableSlot *slot,
				const CfpItemName *name, const CfpRecord *record, uint64 txid)
{
	OnConflictSetState *conflict = rel->ri_onConflict;
	ExprContext *econtext = modify->state->ps.ps_ExprContext;
	CfpFieldRow old;
	CfpFieldRow new;

	cfp_row_show(modify->map, conflict->oc_Existing, name, record, txid);
	econtext->ecxt_scantuple = conflict->oc_Existing;
	econtext->ecxt_innertuple = slot;
	econtext->ecxt_outertuple = NULL;
	if (!ExecQual(conflict->oc_WhereClause, econtext))
		return false;
	ExecProject(conflict->oc_ProjInfo);

	cfp_row_fields(&old, name, record, txid);
	cfp_row_take(modify->map, conflict->oc_ProjSlot, conflict->oc_Existing, &old, NULL, &new);
	return store_row(modify, rel, estate, &new, &old, IF_UNCHANGED, slot);
}

/*
 * Store what is absent, else lock the item and update what is there then.  False
 * when the row is neither stored nor does it update one.
 */
static bool
insert_or_update(Modify *modify, ResultRelInfo *rel, EState *estate, const CfpFieldRow *new,
				 TupleTableSlot *slot)
{
	CfpItemName name;

	take_name(&name, new);
	for (;;)
	{
		CfpRecord  *record;
		uint64		txid;

		CHECK_FOR_INTERRUPTS();
		if (is_stored_by_command(&name, estate))
			raise_second_time();
		if (store_row(modify, rel, estate, new, NULL, IF_ABSENT, slot))
			return true;
		(void) cfp_item_lock(&name, true, LockWaitBlock);
		record = cfp_item_now(&name, estate, &txid);
		if (record != NULL)
			return update_existing(modify, rel, estate, slot, &name, record, txid);
	}
}

/* ---------- the executor's calls ---------- */

#define ROW_NUMBER		"ctid"

/* Rows are found again by their numbers (foreign_seen.c). */
void
cfp_foreign_add_targets(PlannerInfo *root, Index index, RangeTblEntry *entry, Relation rel)
{
	add_row_identity_var(root, makeVar(index, SelfItemPointerAttributeNumber, TIDOID, -1, InvalidOid, 0),
						 index, ROW_NUMBER);
}

List *
cfp_foreign_plan_modify(PlannerInfo *root, ModifyTable *plan, Index result, int subplan)
{
	return list_make1_int(plan->onConflictAction);
}

static Modify *
begin(ResultRelInfo *rel, CmdType operation, bool may_update)
{
	Modify	   *modify = palloc0(sizeof(Modify));

	cfp_require_preload();
	modify->table = cfp_foreign_table(RelationGetRelid(rel->ri_RelationDesc));
	cfp_check_foreign_rights(modify->table, operation == CMD_INSERT ? ACL_INSERT :
							 operation == CMD_UPDATE ? ACL_UPDATE : ACL_DELETE);
	if (may_update)
		cfp_check_foreign_rights(modify->table, ACL_UPDATE);
	modify->map = cfp_row_map(modify->table, rel->ri_RelationDesc);
	modify->row_context = AllocSetContextCreate(CurrentMemoryContext, "cfp row of a foreign table",
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
	modify = begin(rel, state->operation, linitial_int(private) == ONCONFLICT_UPDATE);
	modify->state = state;
	modify->on_conflict = linitial_int(private);
	if (state->operation == CMD_INSERT)
		return;
	modify->row_number = ExecFindJunkAttributeInTlist(outerPlanState(state)->plan->targetlist, ROW_NUMBER);
	if (!AttributeNumberIsValid(modify->row_number))
		elog(ERROR, "could not find junk column \"%s\"", ROW_NUMBER);
	modify->old_slot = ExecInitExtraTupleSlot(state->ps.state,
											  RelationGetDescr(rel->ri_RelationDesc), &TTSOpsVirtual);
}

/* COPY, and rows routed to the table as a partition. */
void
cfp_foreign_begin_insert(ModifyTableState *state, ResultRelInfo *rel)
{
	(void) begin(rel, CMD_INSERT, false);
}

/* The item of the plan's row as the statement has read it. */
static CfpRecord *
take_old_row(Modify *modify, ResultRelInfo *rel, EState *estate, TupleTableSlot *plan_slot,
			 CfpItemName *name, uint64 *txid)
{
	bool		isnull;
	Datum		datum = ExecGetJunkAttribute(plan_slot, modify->row_number, &isnull);
	CfpRecord  *record;
	int32		version;

	if (isnull)
		elog(ERROR, "the number of the row to change is null");
	if (modify->seen == NULL)
		modify->seen = cfp_seen_of(estate, rel->ri_RangeTableIndex);
	version = cfp_seen_item(modify->seen, (ItemPointer) DatumGetPointer(datum), name);
	PushActiveSnapshot(estate->es_snapshot);
	record = cfp_read_item_before(name, estate->es_snapshot->curcid, txid);
	PopActiveSnapshot();
	if (record == NULL || record->version != version)
		elog(ERROR, "item \"%.*s\" has changed under a snapshot", name->item_len, name->item);
	check_first_change(name, estate, modify);
	return record;
}

TupleTableSlot *
cfp_foreign_insert(EState *estate, ResultRelInfo *rel, TupleTableSlot *slot,
				   TupleTableSlot *plan_slot)
{
	Modify	   *modify = rel->ri_FdwState;
	MemoryContext old_cxt = begin_row(modify);
	CfpFieldRow new;
	bool		done;

	cfp_row_take(modify->map, slot, NULL, NULL, ExecGetInsertedCols(rel, estate), &new);
	if (modify->on_conflict == ONCONFLICT_UPDATE)
		done = insert_or_update(modify, rel, estate, &new, slot);
	else
		done = store_row(modify, rel, estate, &new, NULL,
						 modify->on_conflict == ONCONFLICT_NOTHING ? IF_ABSENT : ALWAYS, slot);
	MemoryContextSwitchTo(old_cxt);
	return done ? slot : NULL;
}

TupleTableSlot *
cfp_foreign_update(EState *estate, ResultRelInfo *rel, TupleTableSlot *slot,
				   TupleTableSlot *plan_slot)
{
	Modify	   *modify = rel->ri_FdwState;
	MemoryContext old_cxt = begin_row(modify);
	CfpItemName name;
	uint64		txid;
	CfpRecord  *record = take_old_row(modify, rel, estate, plan_slot, &name, &txid);
	CfpFieldRow old;
	CfpFieldRow new;

	cfp_row_fields(&old, &name, record, txid);
	if (!modify->table->is_current)
		cfp_row_show(modify->map, modify->old_slot, &name, record, txid);
	cfp_row_take(modify->map, slot, modify->old_slot, &old, NULL, &new);
	(void) store_row(modify, rel, estate, &new, &old, IF_UNCHANGED, slot);
	MemoryContextSwitchTo(old_cxt);
	return slot;
}

TupleTableSlot *
cfp_foreign_delete(EState *estate, ResultRelInfo *rel, TupleTableSlot *slot,
				   TupleTableSlot *plan_slot)
{
	Modify	   *modify = rel->ri_FdwState;
	MemoryContext old_cxt = begin_row(modify);
	CfpFields	fields = {0};
	CfpItemName name;
	uint64		txid;
	CfpRecord  *record = take_old_row(modify, rel, estate, plan_slot, &name, &txid);
	int64		version = record->version;

	cfp_special_fields(&fields, 0, true, NULL, 0);
	cfp_pending_store(&name, &fields, cfp_expect_version, &version, false);
	if (rel->ri_projectReturning != NULL)
		cfp_row_show(modify->map, slot, &name, record, txid);
	MemoryContextSwitchTo(old_cxt);
	return slot;
}
