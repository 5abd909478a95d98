/*-------------------------------------------------------------------------
 *
 * foreign_row.c
 *		Items as rows of a foreign table of cfp, and back.
 *
 * Called for each row that is read from such a table or written to it.
 *
 * A member of data becomes its column's type as jsonb_populate_record() has it: by
 * its text and the type's input function, or by that function itself where the type
 * is an array, a composite type or a domain.  Back it goes as by to_jsonb().
 *
 * Takes no lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/typcache.h"

#include "base/names.h"
#include "record/row.h"
#include "sql/common.h"
#include "sql/foreign_row.h"

/* How JSON becomes a column's type. */
typedef enum Conversion
{
	NOT_KNOWN,
	AS_JSONB,
	BY_TEXT,
	BY_RECORD
} Conversion;

typedef struct MappedColumn
{
	const CfpForeignColumn *column;
	Form_pg_attribute att;
	bool		wanted;

	/* from JSON */
	Conversion	conversion;
	FmgrInfo	input;			/* BY_TEXT: of the type; BY_RECORD:
								 * jsonb_populate_record() */
	Oid			ioparam;
	Datum		record;			/* BY_RECORD: all NULL, of the column alone */

	/* to JSON */
	FmgrInfo	to_jsonb;		/* fn_oid 0: not looked up yet */
} MappedColumn;

struct CfpRowMap
{
	const CfpForeignTable *table;
	const char *table_name;
	MemoryContext context;
	Datum	   *values;			/* of a row */
	bool	   *nulls;
	MappedColumn columns[FLEXIBLE_ARRAY_MEMBER];
};

CfpRowMap *
cfp_row_map_of(const CfpForeignTable *table, Relation rel, List *wanted)
{
	TupleDesc	desc = RelationGetDescr(rel);
	CfpRowMap  *map = palloc0(offsetof(CfpRowMap, columns) + desc->natts * sizeof(MappedColumn));
	ListCell   *lc;

	Assert(table->natts == desc->natts);
	map->table = table;
	map->table_name = pstrdup(RelationGetRelationName(rel));
	map->context = CurrentMemoryContext;
	map->values = palloc0(desc->natts * sizeof(Datum));
	map->nulls = palloc(desc->natts * sizeof(bool));
	memset(map->nulls, true, desc->natts * sizeof(bool));
	for (int i = 0; i < desc->natts; i++)
	{
		map->columns[i].column = &table->columns[i];
		map->columns[i].att = TupleDescAttr(desc, i);
	}
	foreach(lc, wanted)
		map->columns[lfirst_int(lc) - 1].wanted = true;
	return map;
}

CfpRowMap *
cfp_row_map(const CfpForeignTable *table, Relation rel)
{
	List	   *all = NIL;

	for (int i = 0; i < table->natts; i++)
	{
		if (table->columns[i].field != CFP_FIELD_DROPPED)
			all = lappend_int(all, i + 1);
	}
	return cfp_row_map_of(table, rel, all);
}

/* ---------- JSON to the types of columns ---------- */

/* A row of one column, which has the type. */
static Datum
empty_record(const MappedColumn *column)
{
	TupleDesc	desc = CreateTemplateTupleDesc(1);
	Datum		value = (Datum) 0;
	bool		isnull = true;

	TupleDescInitEntry(desc, 1, "v", column->att->atttypid, column->att->atttypmod,
					   column->att->attndims);
	TupleDescInitEntryCollation(desc, 1, column->att->attcollation);
	desc = BlessTupleDesc(desc);
	return HeapTupleGetDatum(heap_form_tuple(desc, &value, &isnull));
}

static void
find_conversion(CfpRowMap *map, MappedColumn *column)
{
	Oid			type = column->att->atttypid;
	Oid			input;

	if (type == JSONBOID)
		column->conversion = AS_JSONB;
	else if (get_typtype(type) == TYPTYPE_DOMAIN || get_typtype(type) == TYPTYPE_COMPOSITE ||
			 type == RECORDOID || OidIsValid(get_element_type(type)))
	{
		MemoryContext old = MemoryContextSwitchTo(map->context);
		Node	   *argument = (Node *) makeNullConst(RECORDOID, -1, InvalidOid);
		Node	   *json = (Node *) makeNullConst(JSONBOID, -1, InvalidOid);

		fmgr_info_cxt(F_JSONB_POPULATE_RECORD, &column->input, map->context);
		fmgr_info_set_expr((Node *) makeFuncExpr(F_JSONB_POPULATE_RECORD, RECORDOID,
												 list_make2(argument, json), InvalidOid,
												 InvalidOid, COERCE_EXPLICIT_CALL),
						   &column->input);
		column->record = empty_record(column);
		column->conversion = BY_RECORD;
		MemoryContextSwitchTo(old);
	}
	else
	{
		getTypeInputInfo(type, &input, &column->ioparam);
		fmgr_info_cxt(input, &column->input, map->context);
		column->conversion = BY_TEXT;
	}
}

/* The text of a JSON value: of a string without quotes. */
static char *
json_text(JsonbValue *json)
{
	switch (json->type)
	{
		case jbvString:
			return pnstrdup(json->val.string.val, json->val.string.len);
		case jbvBool:
			return pstrdup(json->val.boolean ? "true" : "false");
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(json->val.numeric)));
		case jbvBinary:
			return JsonbToCString(NULL, json->val.binary.data, json->val.binary.len);
		default:
			break;
	}
	pg_unreachable();
}

/* By a record with this one member. */
static Datum
populate(MappedColumn *column, JsonbValue *json, bool *isnull)
{
	JsonbParseState *state = NULL;
	JsonbValue	name = {.type = jbvString,.val.string = {.val = "v",.len = 1}};
	JsonbValue *object;
	HeapTupleHeader header;
	HeapTupleData tuple;
	TupleDesc	desc;
	Datum		value;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) pushJsonbValue(&state, WJB_KEY, &name);
	(void) pushJsonbValue(&state, WJB_VALUE, json);
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	header = DatumGetHeapTupleHeader(FunctionCall2(&column->input, column->record,
												   JsonbPGetDatum(JsonbValueToJsonb(object))));
	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
								  HeapTupleHeaderGetTypMod(header));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	value = heap_getattr(&tuple, 1, desc, isnull);
	ReleaseTupleDesc(desc);
	return value;
}

/* json NULL: there is none. */
static Datum
column_of_json(CfpRowMap *map, MappedColumn *column, JsonbValue *json, bool *isnull)
{
	Oid			type = column->att->atttypid;
	JsonbValue	null = {.type = jbvNull};

	if (column->conversion == NOT_KNOWN)
		find_conversion(map, column);
	if (json == NULL || json->type == jbvNull)
	{
		/* A domain may refuse NULL. */
		if (column->conversion == BY_RECORD)
			return populate(column, &null, isnull);
		*isnull = true;
		return (Datum) 0;
	}
	*isnull = false;
	if (column->conversion == AS_JSONB)
		return JsonbPGetDatum(JsonbValueToJsonb(json));
	if (column->conversion == BY_RECORD)
		return populate(column, json, isnull);
	if (type == TEXTOID && json->type == jbvString)
		return PointerGetDatum(cstring_to_text_with_len(json->val.string.val,
														json->val.string.len));
	if (type == NUMERICOID && json->type == jbvNumeric && column->att->atttypmod < 0)
		return datumCopy(NumericGetDatum(json->val.numeric), false, -1);
	if (type == BOOLOID && json->type == jbvBool)
		return BoolGetDatum(json->val.boolean);
	if (type == JSONOID)
	{
		Jsonb	   *whole = JsonbValueToJsonb(json);

		return PointerGetDatum(cstring_to_text(JsonbToCString(NULL, &whole->root, VARSIZE(whole))));
	}
	return InputFunctionCall(&column->input, json_text(json), column->ioparam,
							 column->att->atttypmod);
}

/* ---------- an item as a row ---------- */

/* What an error of a conversion is about. */
typedef struct RowContext
{
	const CfpRowMap *map;
	const CfpItemName *name;
	const MappedColumn *column;
} RowContext;

static void
row_error_context(void *arg)
{
	RowContext *context = arg;
	const CfpItemName *name = context->name;

	if (context->column != NULL)
		errcontext("column \"%s\" of foreign table \"%s\", key \"%.*s\", collection \"%.*s\", item \"%.*s\"",
				   NameStr(context->column->att->attname), context->map->table_name,
				   name->in.key_len, name->in.key,
				   name->in.collection_len, name->in.collection,
				   name->item_len, name->item);
}

static Datum
name_datum(const CfpItemName *name, int field)
{
	switch (field)
	{
		case CFP_COL_KEY:
			return PointerGetDatum(cstring_to_text_with_len(name->in.key, name->in.key_len));
		case CFP_COL_COLLECTION:
			return PointerGetDatum(cstring_to_text_with_len(name->in.collection,
															name->in.collection_len));
		default:
			Assert(field == CFP_COL_ITEM);
			return PointerGetDatum(cstring_to_text_with_len(name->item, name->item_len));
	}
}

static Datum
value_datum(CfpRowMap *map, MappedColumn *column, const CfpRecord *record, bool *isnull)
{
	Jsonb	   *value = cfp_record_value_jsonb(record);
	JsonbValue	json;

	*isnull = value == NULL;
	if (column->att->atttypid == JSONBOID || value == NULL)
		return PointerGetDatum(value);
	(void) JsonbExtractScalar(&value->root, &json);
	return column_of_json(map, column, &json, isnull);
}

static Datum
member_datum(CfpRowMap *map, MappedColumn *column, const CfpFields *fields, bool *isnull)
{
	JsonbValue	json;
	JsonbValue *found = NULL;

	/* Of the data only its container is at hand, which is not changed. */
	if (fields->data != NULL)
		found = getKeyJsonValueFromContainer(unconstify(JsonbContainer *, fields->data),
											 column->column->member, column->column->member_len,
											 &json);
	return column_of_json(map, column, found, isnull);
}

/* The values refer to what the slot holds now, perhaps: they are made before it is cleared. */
static void
fill_slot(CfpRowMap *map, TupleTableSlot *slot)
{
	int			natts = map->table->natts;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, map->values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, map->nulls, natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
}

void
cfp_row_show_names(CfpRowMap *map, TupleTableSlot *slot, const CfpItemName *name)
{
	for (int i = 0; i < map->table->natts; i++)
	{
		if (map->columns[i].wanted)
		{
			map->values[i] = name_datum(name, map->columns[i].column->field);
			map->nulls[i] = false;
		}
	}
	fill_slot(map, slot);
}

void
cfp_row_show(CfpRowMap *map, TupleTableSlot *slot, const CfpItemName *name,
			 const CfpRecord *record, uint64 txid)
{
	RowContext	context = {.map = map,.name = name};
	ErrorContextCallback callback;
	CfpFields	fields;

	cfp_record_fields(record, &fields);
	callback.previous = error_context_stack;
	callback.callback = row_error_context;
	callback.arg = &context;
	error_context_stack = &callback;
	for (int i = 0; i < map->table->natts; i++)
	{
		MappedColumn *column = &map->columns[i];
		int			field = column->column->field;

		if (!column->wanted)
			continue;
		map->nulls[i] = false;
		context.column = column;
		if (field < CFP_NAME_COLUMNS)
			map->values[i] = name_datum(name, field);
		else if (field < CFP_COL_TXID)
			map->values[i] = cfp_fields_column(&fields, field, &map->nulls[i]);
		else if (field == CFP_COL_TXID)
			map->values[i] = UInt64GetDatum(txid);
		else if (field == CFP_FIELD_VALUE)
			map->values[i] = value_datum(map, column, record, &map->nulls[i]);
		else
			map->values[i] = member_datum(map, column, &fields, &map->nulls[i]);
	}
	error_context_stack = callback.previous;
	fill_slot(map, slot);
}

void
cfp_row_fields(CfpFieldRow *row, const CfpItemName *name, const CfpRecord *record, uint64 txid)
{
	Jsonb	   *value = cfp_record_value_jsonb(record);

	cfp_form_row(name, record, txid, row->values, row->nulls);
	row->values[CFP_FIELD_VALUE] = PointerGetDatum(value);
	row->nulls[CFP_FIELD_VALUE] = value == NULL;
}

/* ---------- a row as fields ---------- */

bool
cfp_field_changed(int field, const CfpFieldRow *old, const CfpFieldRow *row)
{
	Oid			type = cfp_field_type(field);
	bool		is_varlena = type == TEXTOID || type == JSONBOID;

	if (old->nulls[field] || row->nulls[field])
		return old->nulls[field] != row->nulls[field];
	return is_varlena ?
		!datum_image_eq(old->values[field], row->values[field], false, -1) :
		old->values[field] != row->values[field];
}

static Datum
column_to_jsonb(CfpRowMap *map, MappedColumn *column, Datum value)
{
	if (column->att->atttypid == JSONBOID)
		return value;
	if (!OidIsValid(column->to_jsonb.fn_oid))
	{
		MemoryContext old = MemoryContextSwitchTo(map->context);
		Node	   *argument = (Node *) makeNullConst(column->att->atttypid, column->att->atttypmod,
													  column->att->attcollation);

		fmgr_info_cxt(F_TO_JSONB, &column->to_jsonb, map->context);
		fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(argument),
												 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
						   &column->to_jsonb);
		MemoryContextSwitchTo(old);
	}
	return FunctionCall1(&column->to_jsonb, value);
}

/* Is the column of an UPDATE as it was? */
static bool
is_unchanged(const MappedColumn *column, int attno, TupleTableSlot *slot, TupleTableSlot *old_slot)
{
	if (old_slot == NULL)
		return false;
	if (slot->tts_isnull[attno] || old_slot->tts_isnull[attno])
		return slot->tts_isnull[attno] && old_slot->tts_isnull[attno];
	return datum_image_eq(slot->tts_values[attno], old_slot->tts_values[attno],
						  column->att->attbyval, column->att->attlen);
}

/* The names that the table's options give. */
static void
take_bound_names(CfpRowMap *map, CfpFieldRow *row)
{
	for (int i = 0; i < CFP_NAME_COLUMNS; i++)
	{
		const char *bound = map->table->name[i];

		if (bound == NULL)
			continue;
		if (!row->nulls[i])
		{
			text	   *given = DatumGetTextPP(row->values[i]);

			if (VARSIZE_ANY_EXHDR(given) != strlen(bound) ||
				memcmp(VARDATA_ANY(given), bound, strlen(bound)) != 0)
				ereport(ERROR,
						(errcode(ERRCODE_WITH_CHECK_OPTION_VIOLATION),
						 errmsg("new row violates the options of foreign table \"%s\"",
								map->table_name),
						 errdetail("Its %s is \"%.*s\", and the table has items of \"%s\".",
								   cfp_columns[i].name, (int) VARSIZE_ANY_EXHDR(given),
								   VARDATA_ANY(given), bound)));
		}
		row->values[i] = CStringGetTextDatum(bound);
		row->nulls[i] = false;
	}
}

void
cfp_row_take(CfpRowMap *map, TupleTableSlot *slot, TupleTableSlot *old_slot,
			 const CfpFieldRow *old, const Bitmapset *given, CfpFieldRow *row)
{
	const CfpForeignTable *table = map->table;
	JsonbParseState *state = NULL;
	List	   *removed = NIL;
	bool		any_set = false;
	Datum		data;
	ListCell   *lc;

	slot_getallattrs(slot);
	if (table->is_current)
	{
		memcpy(row->values, slot->tts_values, sizeof(row->values));
		memcpy(row->nulls, slot->tts_isnull, sizeof(row->nulls));
		return;
	}
	if (old_slot != NULL)
		slot_getallattrs(old_slot);

	if (old != NULL)
		*row = *old;
	else
		memset(row->nulls, true, sizeof(row->nulls));
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < table->natts; i++)
	{
		MappedColumn *column = &map->columns[i];
		int			field = column->column->field;
		bool		isnull = slot->tts_isnull[i];
		Datum		value = slot->tts_values[i];

		if (field == CFP_FIELD_DROPPED || is_unchanged(column, i, slot, old_slot))
			continue;
		if (field != CFP_FIELD_MEMBER)
		{
			row->nulls[field] = isnull;
			row->values[field] = isnull || field != CFP_FIELD_VALUE ? value :
				column_to_jsonb(map, column, value);
			if (column->column->member == NULL)
				continue;
		}
		if (isnull && (!column->column->keep_null ||
					   (old == NULL && !bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, given))))
			removed = lappend(removed, cstring_to_text_with_len(column->column->member,
																column->column->member_len));
		else
		{
			JsonbValue	member = {
				.type = jbvString,
				.val.string = {
					.val = unconstify(char *, column->column->member),
					.len = column->column->member_len
				}
			};
			JsonbValue	json = {.type = jbvNull};

			if (!isnull)
				JsonbToJsonbValue(DatumGetJsonbP(column_to_jsonb(map, column, value)), &json);
			(void) pushJsonbValue(&state, WJB_KEY, &member);
			(void) pushJsonbValue(&state, WJB_VALUE, &json);
			any_set = true;
		}
	}
	take_bound_names(map, row);

	data = row->values[CFP_COL_DATA];
	if (any_set)
	{
		Datum		set = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));

		data = row->nulls[CFP_COL_DATA] ? set : DirectFunctionCall2(jsonb_concat, data, set);
		row->nulls[CFP_COL_DATA] = false;
	}
	/* Of an INSERT without data there is nothing to remove from. */
	if (!row->nulls[CFP_COL_DATA])
	{
		foreach(lc, removed)
			data = DirectFunctionCall2(jsonb_delete, data, PointerGetDatum(lfirst(lc)));
	}
	row->values[CFP_COL_DATA] = data;
}
