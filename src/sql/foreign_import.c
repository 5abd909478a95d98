/*-------------------------------------------------------------------------
 *
 * foreign_import.c
 *		IMPORT FOREIGN SCHEMA: typed tables for the collections of a key.
 *
 * The remote schema is a key.  Each of its collections becomes a table, whose
 * columns are the members seen in a sample of its items, each of a type that holds
 * all of its values and gives them back as they are; then the fields.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "common/hashfn.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"

#include "base/names.h"
#include "base/preload.h"
#include "read/collection.h"
#include "read/scope.h"
#include "record/value.h"
#include "sql/foreign.h"
#include "sql/foreign_import.h"
#include "tables/tables.h"

#define DEFAULT_SAMPLE	1000

/* A table has room for so many members besides the fields. */
#define MOST_MEMBERS	1500

/* What values of a member have been seen. */
#define SEEN_BOOLEAN	0x01
#define SEEN_INTEGER	0x02
#define SEEN_NUMBER		0x04
#define SEEN_STRING		0x08
#define SEEN_OTHER		0x10	/* an object, or what is in no array of one
								 * type */
#define SEEN_ARRAY		0x20	/* of what the other bits say */
#define SEEN_SCALAR		0x40

typedef struct Member
{
	const char *name;
	int			seen;
	char		status;			/* of the look-up table */
} Member;

#define SH_PREFIX member_table
#define SH_ELEMENT_TYPE Member
#define SH_KEY_TYPE const char *
#define SH_KEY name
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* What is found of a collection. */
typedef struct Found
{
	member_table_hash *members;
	List	   *names;			/* of the members, in the order in which they
								 * were seen */
	bool		has_value;
	bool		has_status;
	bool		has_status_int;
	bool		too_many;
} Found;

typedef struct ImportOptions
{
	int			sample;			/* items to look at; 0: all */
	const char *prefix;			/* of the tables' names */
} ImportOptions;

static ImportOptions
take_options(List *list)
{
	ImportOptions options = {.sample = DEFAULT_SAMPLE,.prefix = ""};
	ListCell   *lc;

	foreach(lc, list)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, "prefix") == 0)
			options.prefix = defGetString(option);
		else if (strcmp(option->defname, "sample") == 0)
		{
			char	   *value = defGetString(option);

			if (!parse_int(value, &options.sample, 0, NULL) || options.sample < 0)
				ereport(ERROR,
						(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
						 errmsg("option sample cannot be \"%s\"", value),
						 errhint("It is the number of items of each collection that are looked at, 0 for all.")));
		}
		else
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("invalid option \"%s\"", option->defname),
					 errhint("The options of IMPORT FOREIGN SCHEMA are prefix and sample.")));
	}
	return options;
}

/* ---------- looking at a collection ---------- */

static int
kind_of_scalar(const JsonbValue *json)
{
	int64		integer;

	switch (json->type)
	{
		case jbvNull:
			return 0;
		case jbvBool:
			return SEEN_BOOLEAN;
		case jbvString:
			return SEEN_STRING;
		case jbvNumeric:

			/*
			 * An integer that is written with decimals, or in another way,
			 * stays so.
			 */
			if (cfp_numeric_int8(json->val.numeric, &integer) &&
				strcmp(DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(json->val.numeric))),
					   psprintf(INT64_FORMAT, integer)) == 0)
				return SEEN_INTEGER;
			return SEEN_NUMBER;
		default:
			return SEEN_OTHER;
	}
}

static int
kind_of(JsonbValue *json)
{
	JsonbIterator *iterator;
	JsonbValue	element;
	JsonbIteratorToken token;
	int			kind = SEEN_ARRAY;

	if (json->type == jbvNull)
		return 0;
	if (json->type != jbvBinary)
		return SEEN_SCALAR | kind_of_scalar(json);
	if (!JsonContainerIsArray(json->val.binary.data))
		return SEEN_OTHER;
	iterator = JsonbIteratorInit(json->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
			kind |= kind_of_scalar(&element);
	}
	return kind;
}

/* The type that holds all that has been seen, and gives it back as it was. */
static const char *
type_for(int seen)
{
	bool		is_array = (seen & SEEN_ARRAY) != 0;

	if ((seen & SEEN_OTHER) != 0 || (is_array && (seen & SEEN_SCALAR) != 0))
		return "jsonb";
	switch (seen & ~(SEEN_ARRAY | SEEN_SCALAR))
	{
		case SEEN_BOOLEAN:
			return is_array ? "boolean[]" : "boolean";
		case SEEN_INTEGER:
			return is_array ? "bigint[]" : "bigint";
		case SEEN_NUMBER:
		case SEEN_NUMBER | SEEN_INTEGER:
			return is_array ? "numeric[]" : "numeric";
		case SEEN_STRING:
			return is_array ? "text[]" : "text";
		default:
			return "jsonb";
	}
}

/* The members that are fields at the same time. */
static bool
is_special(const char *name)
{
	int			field = cfp_field_named(name);

	return field == CFP_COL_STATUS || field == CFP_COL_STATUS_INT ||
		field == CFP_COL_TIMESTAMP || field == CFP_COL_USERNAME;
}

static void
look_at_member(Found *found, const JsonbValue *name, JsonbValue *json, MemoryContext context)
{
	char	   *str = pnstrdup(name->val.string.val, name->val.string.len);
	Member	   *member = member_table_lookup(found->members, str);
	bool		is_there;

	if (is_special(str))
		return;
	if (member == NULL)
	{
		MemoryContext old;

		if (list_length(found->names) == MOST_MEMBERS)
		{
			found->too_many = true;
			return;
		}
		old = MemoryContextSwitchTo(context);
		str = pstrdup(str);
		member = member_table_insert(found->members, str, &is_there);
		member->seen = 0;
		found->names = lappend(found->names, str);
		MemoryContextSwitchTo(old);
	}
	member->seen |= kind_of(json);
}

static void
look_at_record(Found *found, const CfpRecord *record, MemoryContext context)
{
	CfpFields	fields;
	JsonbIterator *iterator;
	JsonbValue	name;
	JsonbValue	json;
	JsonbIteratorToken token;

	cfp_record_fields(record, &fields);
	found->has_value |= fields.value.type != CFP_VALUE_NONE;
	found->has_status |= fields.status != NULL;
	found->has_status_int |= fields.has_status_int;
	if (fields.data == NULL)
		return;
	iterator = JsonbIteratorInit(unconstify(JsonbContainer *, fields.data));
	while ((token = JsonbIteratorNext(&iterator, &name, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &json, true);
		look_at_member(found, &name, &json, context);
	}
}

static Found
look_at_collection(const CfpCollectionName *name, int sample)
{
	Found		found = {0};
	CfpScope	scope = {
		.has_key = true,
		.has_collection = true,
		.in = *name,
		.command = GetActiveSnapshot()->curcid
	};
	CfpScopeScan *scan = cfp_scope_begin(&scope);
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext of_row = AllocSetContextCreate(caller, "cfp import", ALLOCSET_DEFAULT_SIZES);
	const CfpScopeRow *row;

	found.members = member_table_create(caller, 64, NULL);
	for (int n = 0; (sample == 0 || n < sample) && (row = cfp_scope_next(scan)) != NULL; n++)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(of_row);
		look_at_record(&found, row->record, caller);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(of_row);
	}
	cfp_scope_end(scan);
	MemoryContextDelete(of_row);
	return found;
}

/* ---------- saying it ---------- */

static bool
is_taken(List *names, const char *name)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

/* A name of a column that is not taken and not too long, and no field's. */
static char *
column_name(const char *member, List *taken)
{
	int			room = pg_mbcliplen(member, strlen(member), NAMEDATALEN - 1);
	char	   *name = pnstrdup(member, room);

	if (cfp_field_named(name) >= 0)
		name = psprintf("%s_member", name);
	if (name[0] == '\0')
		name = pstrdup("member");
	for (int n = 1; is_taken(taken, name); n++)
	{
		char	   *suffix = psprintf("_%d", n);

		room = pg_mbcliplen(member, strlen(member), NAMEDATALEN - 1 - strlen(suffix));
		name = psprintf("%.*s%s", room, member, suffix);
	}
	return name;
}

static void
append_field(StringInfo statement, const char *name, const char *type)
{
	appendStringInfo(statement, ",\n\t%s %s", quote_identifier(name), type);
}

static char *
make_statement(const char *table, const char *server, const char *key, const char *collection,
			   const Found *found)
{
	StringInfoData statement;
	List	   *taken = NIL;
	ListCell   *lc;

	initStringInfo(&statement);
	appendStringInfo(&statement, "CREATE FOREIGN TABLE %s (\n\titem_name text COLLATE \"C\" NOT NULL",
					 quote_identifier(table));
	foreach(lc, found->names)
	{
		const char *member = lfirst(lc);
		char	   *name = column_name(member, taken);

		appendStringInfo(&statement, ",\n\t%s %s", quote_identifier(name),
						 type_for(member_table_lookup(found->members, member)->seen));
		if (strcmp(name, member) != 0)
			appendStringInfo(&statement, " OPTIONS (member %s)", quote_literal_cstr(member));
		taken = lappend(taken, name);
	}
	if (found->has_value)
		append_field(&statement, "value", "jsonb");
	if (found->has_status)
		append_field(&statement, "status", "text");
	if (found->has_status_int)
		append_field(&statement, "status_int", "integer");
	append_field(&statement, "timestamp", "timestamptz");
	append_field(&statement, "username", "text");
	append_field(&statement, "updated_at", "timestamptz");
	append_field(&statement, "version", "integer");
	appendStringInfo(&statement, "\n) SERVER %s\nOPTIONS (key %s, collection %s);",
					 quote_identifier(server), quote_literal_cstr(key),
					 quote_literal_cstr(collection));
	return statement.data;
}

List *
cfp_foreign_import(ImportForeignSchemaStmt *stmt, Oid server)
{
	ImportOptions options = take_options(stmt->options);
	const char *key = stmt->remote_schema;
	List	   *collections;
	List	   *statements = NIL;
	ListCell   *lc;

	cfp_require_preload();
	cfp_check_privilege(ACL_SELECT);
	collections = cfp_read_collections(key, strlen(key));
	foreach(lc, collections)
	{
		char	   *collection = text_to_cstring(lfirst(lc));
		char	   *table = psprintf("%s%s", options.prefix,
									 collection[0] != '\0' ? collection : key);
		CfpCollectionName name = {
			.key = key,.key_len = strlen(key),
			.collection = collection,.collection_len = strlen(collection)
		};
		Found		found;

		if (!IsImportableForeignTable(table, stmt))
			continue;
		if (strlen(table) >= NAMEDATALEN || table[0] == '\0')
		{
			ereport(WARNING,
					(errcode(ERRCODE_INVALID_NAME),
					 errmsg("collection \"%s\" is left out", collection),
					 errdetail("\"%s\" cannot be the name of a table.", table),
					 errhint("Use CREATE FOREIGN TABLE with the option collection.")));
			continue;
		}
		found = look_at_collection(&name, options.sample);
		if (found.too_many)
			ereport(WARNING,
					(errmsg("collection \"%s\" has members that are left out", collection),
					 errdetail("Table \"%s\" has columns for the first %d that were seen.",
							   table, MOST_MEMBERS),
					 errhint("They are in data, a column that may be added.")));
		statements = lappend(statements,
							 make_statement(table, stmt->server_name, key, collection, &found));
	}
	return statements;
}
