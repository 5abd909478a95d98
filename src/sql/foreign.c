/*-------------------------------------------------------------------------
 *
 * foreign.c
 *		Foreign tables of cfp: what their columns are.
 *
 * storage_current has a column for each field of an item.  A typed table is one
 * that a user has made: it has the items of a collection, of a key, or of both as
 * its options say, and its columns are fields, or members of data.
 *
 * Called when a statement on such a table is planned, when it begins, and for each
 * option that is given.
 *
 * What a table is, is found in the catalogs and remembered per backend until the
 * table is altered.  A statement may be using it then: so what is out of date
 * lives on to the end of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_type_d.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/names.h"
#include "record/operation.h"
#include "sql/foreign.h"
#include "tables/tables.h"

/* Options: of tables the names that are bound, of columns what they are, of both what NULL is. */
#define OPTION_KEY			"key"
#define OPTION_COLLECTION	"collection"
#define OPTION_FIELD		"field"
#define OPTION_MEMBER		"member"
#define OPTION_NULL			"null"
#define NULL_KEEP			"keep"
#define NULL_REMOVE			"remove"

/* ---------- fields ---------- */

static const CfpColumn value_field = {"value", JSONBOID};

static const char *
field_name(int field)
{
	return field < CFP_NCOLS ? cfp_columns[field].name : value_field.name;
}

Oid
cfp_field_type(int field)
{
	Assert(field >= 0 && field < CFP_NFIELDS);
	if (field == CFP_COL_OPERATION)
	{
		(void) cfp_tables();
		return cfp_operation_type();
	}
	return field < CFP_NCOLS ? cfp_columns[field].type : value_field.type;
}

int
cfp_field_named(const char *name)
{
	for (int field = 0; field < CFP_NFIELDS; field++)
		if (strcmp(field_name(field), name) == 0)
			return field;
	return -1;
}

/* ---------- options ---------- */

static void
check_field_option(const char *value)
{
	if (cfp_field_named(value) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("an item has no field \"%s\"", value),
				 errhint("Its fields are the columns of storage_current. A member of data is named by the option member.")));
}

static void
check_null_option(const char *value)
{
	if (strcmp(value, NULL_KEEP) != 0 && strcmp(value, NULL_REMOVE) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("option null cannot be \"%s\"", value),
				 errhint("It is 'keep', to store NULL as JSON null, or 'remove', to leave the member out.")));
}

static void
check_name_option(const char *value)
{
	if (strlen(value) > CFP_MAX_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("names are too long"),
				 errdetail("key, collection_name and item_name together may have %d bytes.",
						   CFP_MAX_NAME_BYTES)));
}

void
cfp_check_foreign_options(Oid catalog, List *options)
{
	ListCell   *lc;
	bool		is_table = catalog == ForeignTableRelationId;
	bool		is_column = catalog == AttributeRelationId;
	bool		has_field = false;
	bool		has_member = false;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);
		char	   *value = defGetString(option);

		if (is_table && (strcmp(option->defname, OPTION_KEY) == 0 ||
						 strcmp(option->defname, OPTION_COLLECTION) == 0))
			check_name_option(value);
		else if (is_column && strcmp(option->defname, OPTION_FIELD) == 0)
		{
			check_field_option(value);
			has_field = true;
		}
		else if (is_column && strcmp(option->defname, OPTION_MEMBER) == 0)
			has_member = true;
		else if ((is_table || is_column) && strcmp(option->defname, OPTION_NULL) == 0)
			check_null_option(value);
		else
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("invalid option \"%s\"", option->defname),
					 is_table ? errhint("A table has the options key, collection and null.") :
					 is_column ? errhint("A column has the options field, member and null.") :
					 errhint("There are no options in this context.")));
	}
	if (has_field && has_member)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("a column cannot be both a field and a member of data"),
				 errhint("Give only one of the options field and member.")));
}

static const char *
option_value(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		if (strcmp(lfirst_node(DefElem, lc)->defname, name) == 0)
			return defGetString(lfirst_node(DefElem, lc));
	}
	return NULL;
}

/* ---------- what a table is ---------- */

typedef struct KnownTable
{
	Oid			relid;			/* hash key */
	bool		valid;
	CfpForeignTable *table;
	MemoryContext context;		/* the table's */
} KnownTable;

static HTAB *known_tables = NULL;

/* A field may be but one column, and has its own type; the value may have any. */
static void
check_field_column(const CfpForeignTable *table, int attno, Form_pg_attribute att, int field)
{
	for (int i = 0; i < attno; i++)
	{
		if (table->columns[i].field == field)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_COLUMN_NAME),
					 errmsg("two columns of foreign table \"%s\" are the field \"%s\"",
							get_rel_name(table->relid), field_name(field)),
					 errhint("Give one of them the option member, if it is a member of data.")));
	}
	if (field != CFP_FIELD_VALUE && att->atttypid != cfp_field_type(field))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
				 errmsg("column \"%s\" of foreign table \"%s\" must be of type %s",
						NameStr(att->attname), get_rel_name(table->relid),
						format_type_be(cfp_field_type(field))),
				 errdetail("It is the field \"%s\" of an item.", field_name(field)),
				 errhint("Give it the option member, if it is a member of data.")));
}

static void
check_member_column(const CfpForeignTable *table, int attno)
{
	const CfpForeignColumn *column = &table->columns[attno];

	for (int i = 0; i < attno; i++)
	{
		const CfpForeignColumn *other = &table->columns[i];

		if (other->member != NULL && other->member_len == column->member_len &&
			memcmp(other->member, column->member, column->member_len) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_COLUMN_NAME),
					 errmsg("two columns of foreign table \"%s\" are the member \"%s\" of data",
							get_rel_name(table->relid), column->member)));
	}
}

static void
describe_column(CfpForeignTable *table, int attno, Form_pg_attribute att, bool keep_null)
{
	CfpForeignColumn *column = &table->columns[attno];
	List	   *options = GetForeignColumnOptions(table->relid, attno + 1);
	const char *field = option_value(options, OPTION_FIELD);
	const char *member = option_value(options, OPTION_MEMBER);
	const char *null = option_value(options, OPTION_NULL);

	column->field = field != NULL ? cfp_field_named(field) :
		member != NULL ? -1 : cfp_field_named(NameStr(att->attname));
	if (column->field >= 0)
	{
		check_field_column(table, attno, att, column->field);
		if (column->field < CFP_NAME_COLUMNS)
			table->name_column[column->field] = attno + 1;
		if (column->field != CFP_COL_STATUS && column->field != CFP_COL_STATUS_INT)
			return;
		member = field_name(column->field);
	}
	else
		column->field = CFP_FIELD_MEMBER;
	column->member = pstrdup(member != NULL ? member : NameStr(att->attname));
	column->member_len = strlen(column->member);
	column->keep_null = null != NULL ? strcmp(null, NULL_KEEP) == 0 : keep_null;
	check_member_column(table, attno);
}

/* storage_current has the fields for columns, as they were made. */
static void
describe_current(CfpForeignTable *table, TupleDesc desc)
{
	int			wrong = -1;

	for (int i = 0; i < desc->natts && wrong < 0; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (i >= CFP_NFIELDS ? !att->attisdropped :
			att->attisdropped || att->atttypid != cfp_field_type(i) ||
			strcmp(NameStr(att->attname), field_name(i)) != 0)
			wrong = i;
		table->columns[i].field = i < CFP_NFIELDS ? i : CFP_FIELD_DROPPED;
	}
	if (wrong >= 0 || desc->natts < CFP_NFIELDS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("foreign table storage_current has been altered"),
				 wrong >= CFP_NFIELDS ?
				 errdetail("Column \"%s\" is none of its own.", NameStr(TupleDescAttr(desc, wrong)->attname)) :
				 errdetail("Column \"%s\" is not as it was.",
						   wrong >= 0 ? field_name(wrong) : value_field.name),
				 errhint("Undo the change.")));
	for (int i = 0; i < CFP_NAME_COLUMNS; i++)
		table->name_column[i] = i + 1;
}

static void
describe_typed(CfpForeignTable *table, TupleDesc desc)
{
	List	   *options = GetForeignTable(table->relid)->options;
	const char *null = option_value(options, OPTION_NULL);
	const char *key = option_value(options, OPTION_KEY);
	const char *collection = option_value(options, OPTION_COLLECTION);

	if (key != NULL)
		table->name[CFP_COL_KEY] = pstrdup(key);
	if (collection != NULL)
		table->name[CFP_COL_COLLECTION] = pstrdup(collection);
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attisdropped)
			table->columns[i].field = CFP_FIELD_DROPPED;
		else
			describe_column(table, i, TupleDescAttr(desc, i),
							null != NULL && strcmp(null, NULL_KEEP) == 0);
	}
}

static CfpForeignTable *
describe(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);
	CfpForeignTable *table = palloc0(offsetof(CfpForeignTable, columns) +
									 desc->natts * sizeof(CfpForeignColumn));

	table->relid = relid;
	table->owner = rel->rd_rel->relowner;
	table->is_current = relid == cfp_tables()->current;
	table->natts = desc->natts;
	if (table->is_current)
		describe_current(table, desc);
	else
		describe_typed(table, desc);
	table_close(rel, NoLock);
	return table;
}

static void
forget_table(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	KnownTable *known;

	if (OidIsValid(relid))
	{
		known = hash_search(known_tables, &relid, HASH_FIND, NULL);
		if (known != NULL)
			known->valid = false;
		return;
	}
	hash_seq_init(&status, known_tables);
	while ((known = hash_seq_search(&status)) != NULL)
		known->valid = false;
}

void
cfp_foreign_init(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(KnownTable)};

	known_tables = hash_create("cfp foreign tables", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(forget_table, (Datum) 0);
}

const CfpForeignTable *
cfp_foreign_table(Oid relid)
{
	MemoryContext context;
	MemoryContext old;
	CfpForeignTable *table;
	KnownTable *known = hash_search(known_tables, &relid, HASH_FIND, NULL);

	Assert(IsTransactionState());
	if (likely(known != NULL && known->valid &&
			   known->table->is_current == (relid == cfp_tables()->current)))
		return known->table;

	context = AllocSetContextCreate(CurrentMemoryContext, "cfp foreign table",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	table = describe(relid);
	MemoryContextSwitchTo(old);

	known = hash_search(known_tables, &relid, HASH_FIND, NULL);
	if (known == NULL)
	{
		known = hash_search(known_tables, &relid, HASH_ENTER, NULL);
		known->context = NULL;
	}
	if (known->context != NULL)
		MemoryContextSetParent(known->context, TopTransactionContext);
	MemoryContextSetParent(context, CacheMemoryContext);
	known->context = context;
	known->table = table;
	known->valid = true;
	return table;
}

void
cfp_check_foreign_rights(const CfpForeignTable *table, AclMode mode)
{
	if (!table->is_current &&
		pg_class_aclcheck(cfp_tables()->current, table->owner, mode) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign table storage_current"),
				 errdetail("The owner of foreign table \"%s\", %s, does not have the privilege.",
						   get_rel_name(table->relid), GetUserNameFromId(table->owner, false)),
				 errhint("Grant it to the owner, as for a view over storage_current.")));
	cfp_check_row_security();
}
