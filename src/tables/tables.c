/*-------------------------------------------------------------------------
 *
 * tables.c
 *		Where the extension's tables are in this database, and who may use them.
 *
 * Called at the start of every store and read.  What is found in the system
 * catalogs is remembered in this backend; invalidation callbacks only mark
 * it as to be looked up again, they look at nothing themselves:
 *
 *		relcache of one of the tables		tables and privileges
 *		schemas, subscriptions						tables
 *		roles, memberships							privileges
 *
 * Autovacuum sends such invalidations all day, so looking again is kept to
 * catalog look-ups: no relation is opened and no lock is taken, which also
 * makes it safe where waiting is not (pre-commit).  pg_extension sends no
 * invalidations a backend could ask for, but DROP EXTENSION drops the tables;
 * while the extension is not installed each call looks again.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"
#include "record/columns.h"
#include "record/operation.h"
#include "tables/state_columns.h"
#include "tables/tables.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#define STATE_COLUMN(id, name, type) {#name, type},
static const CfpColumn state_columns[] = {
	CFP_STATE_COLUMNS(STATE_COLUMN)
};

static const CfpColumn floors_columns[] = {
	{"key", TEXTOID},
	{"collection_name", TEXTOID},
	{"new_items", INT4OID},
	{"all_items", INT4OID},
};

static const AttrNumber latest_key[] = {CFP_COL_KEY + 1, CFP_COL_COLLECTION + 1, CFP_COL_ITEM + 1};
static const AttrNumber history_key[] = {CFP_COL_KEY + 1, CFP_COL_COLLECTION + 1,
CFP_COL_ITEM + 1, CFP_COL_VERSION + 1};
static const AttrNumber history_txid_key[] = {CFP_COL_TXID + 1};
static const AttrNumber dirty_key[] = {CFP_COL_KEY + 1, CFP_COL_COLLECTION + 1, CFP_COL_ITEM + 1};
static const AttrNumber state_key[] = {1};
static const AttrNumber floors_key[] = {1, 2};

/* What is remembered; good while the counts are those it was made at. */
CfpTables	cfp_tables_found;
bool		cfp_tables_valid = false;
static uint64 table_invalidations = 0;

/* Of history, latest and floors; see gate.c. */
#define TRIGGERS			(3 * 3)

/* Privileges of the users last asked about. */
#define USERS_REMEMBERED	4

#define MAY_READ			0x01
#define MAY_STORE			0x02
#define MAY_DELETE			0x04
#define MAY_UPDATE			0x08
#define MAY_READ_HISTORY	0x10
#define NO_ROW_SECURITY		0x20

typedef struct UserRights
{
	Oid			user;
	uint8		rights;			/* those found so far */
} UserRights;

static UserRights users[USERS_REMEMBERED];
static int	next_user = 0;

static void
forget_rights(void)
{
	memset(users, 0, sizeof(users));
}

static void
forget_tables(void)
{
	cfp_tables_valid = false;
	table_invalidations++;
	forget_rights();
}

static void
relation_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid ||
		relid == cfp_tables_found.history || relid == cfp_tables_found.latest ||
		relid == cfp_tables_found.dirty || relid == cfp_tables_found.state ||
		relid == cfp_tables_found.gate || relid == cfp_tables_found.days ||
		relid == cfp_tables_found.floors ||
		relid == cfp_tables_found.current)
		forget_tables();
}

static void
schema_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	forget_tables();
}

static void
role_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	forget_rights();
}

void
cfp_tables_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, schema_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(SUBSCRIPTIONRELMAP, schema_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, role_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, role_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(DATABASEOID, role_changed, (Datum) 0);
}

/* The extension and its schema; false when it is not installed. */
static bool
find_extension(Oid *extension, Oid *schema)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(CFP_EXTENSION_NAME));
	rel = table_open(ExtensionRelationId, AccessShareLock);
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		Form_pg_extension form = (Form_pg_extension) GETSTRUCT(tuple);

		*extension = form->oid;
		*schema = form->extnamespace;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

Oid
cfp_table_oid(const char *name)
{
	Oid			extension,
				schema;

	if (!find_extension(&extension, &schema))
		return InvalidOid;
	return get_relname_relid(name, schema);
}

Oid
cfp_required_oid(const char *name)
{
	Oid			relid = cfp_table_oid(name);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" of extension \"%s\" is missing",
						name, CFP_EXTENSION_NAME),
				 errhint("Create it again as the extension's script does, or disable the extension's triggers first.")));
	return relid;
}

/*
 * The trigger's FmgrInfo remembers that it has been looked at: it serves one
 * relation.
 */
void
cfp_check_trigger_relation(FunctionCallInfo fcinfo, const char *function,
						   const char *const *relations, int nrelations)
{
	Oid			relid = RelationGetRelid(((TriggerData *) fcinfo->context)->tg_relation);

	Assert(CALLED_AS_TRIGGER(fcinfo));

	if (fcinfo->flinfo->fn_extra != NULL)
		return;
	for (int i = 0; i < nrelations; i++)
	{
		if (cfp_table_oid(relations[i]) == relid)
		{
			fcinfo->flinfo->fn_extra = fcinfo->flinfo;
			return;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("function \"%s\" is for triggers of extension \"%s\" only",
					function, CFP_EXTENSION_NAME)));
}

bool
cfp_updates_same_item(const TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);

	Assert(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) && TRIGGER_FIRED_FOR_ROW(trigger->tg_event));

	for (int i = CFP_COL_KEY; i <= CFP_COL_ITEM; i++)
	{
		bool		isnull;
		Datum		old = heap_getattr(trigger->tg_trigtuple, i + 1, desc, &isnull);
		Datum		new = heap_getattr(trigger->tg_newtuple, i + 1, desc, &isnull);
		text	   *old_name = DatumGetTextPP(old);
		text	   *new_name = DatumGetTextPP(new);

		if (cfp_compare_texts(&old_name, &new_name) != 0)
			return false;
	}
	return true;
}

/*
 * All errors about the tables' shape.  What is wrong is a complete clause.
 */
pg_noreturn static void
table_unusable(Oid schema, const char *table, const char *wrong)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg(CFP_TABLE_UNUSABLE "\"%s\": %s",
					quote_qualified_identifier(get_namespace_name(schema), table),
					wrong),
			 errhint("Undo the change, or save the rows of storage_history and storage_latest with COPY, "
					 "run DROP EXTENSION cfp and CREATE EXTENSION cfp, and copy them back.")));
}

/* The relation's oid; it must exist and be of this kind. */
static Oid
find_relation(Oid schema, const char *name, char relkind)
{
	Oid			relid = get_relname_relid(name, schema);

	if (!OidIsValid(relid))
		table_unusable(schema, name, "it is missing");
	if (get_rel_relkind(relid) != relkind)
		table_unusable(schema, name,
					   relkind == RELKIND_FOREIGN_TABLE ? "it is not a foreign table" : "it is not an ordinary table");
	return relid;
}

/* A crash empties an unlogged table. */
static void
check_logged(Oid schema, const char *table, Oid relid)
{
	if (OidIsValid(relid) && get_rel_persistence(relid) != RELPERSISTENCE_PERMANENT)
		table_unusable(schema, table, "it is unlogged");
}

/* The extension's enum, whose values are looked up. */
static Oid
find_operation_type(Oid schema, const char *table)
{
	Oid			type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
									   CStringGetDatum(CFP_OPERATION_TYPE),
									   ObjectIdGetDatum(schema));

	if (!cfp_operation_set_type(type))
		table_unusable(schema, table, "type " CFP_OPERATION_TYPE " is missing, or a value of it");
	return type;
}

/* The table must begin with these columns; names must compare by bytes. */
static void
check_columns(Oid schema, const char *table, Oid relid,
			  const CfpColumn *columns, int ncolumns)
{
	for (int i = 0; i < ncolumns; i++)
	{
		HeapTuple	tuple = SearchSysCacheAttName(relid, columns[i].name);
		Form_pg_attribute form;
		Oid			type;

		if (!HeapTupleIsValid(tuple))
			table_unusable(schema, table,
						   psprintf("column \"%s\" is missing", columns[i].name));
		form = (Form_pg_attribute) GETSTRUCT(tuple);
		if (form->attnum != i + 1)
			table_unusable(schema, table,
						   psprintf("column \"%s\" is not its column number %d",
									columns[i].name, i + 1));
		type = OidIsValid(columns[i].type) ? columns[i].type : find_operation_type(schema, table);
		if (form->atttypid != type)
			table_unusable(schema, table,
						   psprintf("column \"%s\" has type %s instead of %s",
									columns[i].name,
									format_type_be(form->atttypid),
									format_type_be(type)));
		if (i < CFP_NAME_COLUMNS && form->atttypid == TEXTOID &&
			form->attcollation != C_COLLATION_OID)
			table_unusable(schema, table,
						   psprintf("column \"%s\" does not have collation \"C\"",
									columns[i].name));
		ReleaseSysCache(tuple);
	}
}

/*
 * A valid btree of the table over exactly these columns (the primary key) or
 * beginning with them; InvalidOid when there is none.
 */
static Oid
find_index(Oid relid, bool primary, const AttrNumber *columns, int ncolumns)
{
	Oid			result = InvalidOid;
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_index_indrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	rel = table_open(IndexRelationId, AccessShareLock);
	scan = systable_beginscan(rel, IndexIndrelidIndexId, true, NULL, 1, &key);
	while (!OidIsValid(result) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_index form = (Form_pg_index) GETSTRUCT(tuple);
		HeapTuple	class_tuple;

		if (!form->indisvalid || !form->indisready || !form->indislive)
			continue;
		if (primary ? !form->indisprimary : !heap_attisnull(tuple, Anum_pg_index_indpred, NULL))
			continue;
		if (primary ? form->indnkeyatts != ncolumns : form->indnkeyatts < ncolumns)
			continue;
		if (memcmp(form->indkey.values, columns, ncolumns * sizeof(AttrNumber)) != 0)
			continue;

		class_tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(form->indexrelid));
		if (!HeapTupleIsValid(class_tuple))
			continue;
		if (((Form_pg_class) GETSTRUCT(class_tuple))->relam == BTREE_AM_OID)
			result = form->indexrelid;
		ReleaseSysCache(class_tuple);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

Oid
cfp_index_on(Relation rel, const AttrNumber *columns, int ncolumns)
{
	return find_index(RelationGetRelid(rel), false, columns, ncolumns);
}

static Oid
find_primary_key(Oid schema, const char *table, Oid relid,
				 const AttrNumber *columns, int ncolumns)
{
	Oid			index = find_index(relid, true, columns, ncolumns);

	if (!OidIsValid(index))
		table_unusable(schema, table, "its primary key is missing or has other columns");
	return index;
}

/*
 * Count the table's triggers that tell cfp of hand-made changes: those that
 * fire for everybody, and those that fire in ordinary sessions only.
 */
static void
count_triggers(Oid relid, int *always, int *origin)
{
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	rel = table_open(TriggerRelationId, AccessShareLock);
	scan = systable_beginscan(rel, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if (strcmp(NameStr(form->tgname), "cfp_gate") != 0 &&
			strcmp(NameStr(form->tgname), "cfp_gate_truncate") != 0 &&
			strcmp(NameStr(form->tgname), "cfp_stamp") != 0 &&
			strcmp(NameStr(form->tgname), "cfp_floor") != 0)
			continue;
		if (form->tgenabled == TRIGGER_FIRES_ALWAYS)
			(*always)++;
		else if (form->tgenabled == TRIGGER_FIRES_ON_ORIGIN)
			(*origin)++;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* Does a subscription of this database write to the table? */
static bool
is_subscribed(Oid relid)
{
	CatCList   *list = SearchSysCacheList1(SUBSCRIPTIONRELMAP, ObjectIdGetDatum(relid));
	bool		result = list->n_members > 0;

	ReleaseSysCacheList(list);
	return result;
}

static void
look_up_tables(CfpTables *found)
{
	Oid			schema = found->schema;
	HeapTuple	tuple;
	int			always = 0,
				origin = 0;

	found->history = find_relation(schema, "storage_history", RELKIND_RELATION);
	found->latest = find_relation(schema, "storage_latest", RELKIND_RELATION);
	found->dirty = find_relation(schema, "storage_dirty", RELKIND_RELATION);
	found->floors = find_relation(schema, "storage_floors", RELKIND_RELATION);
	found->days = find_relation(schema, "storage_days", RELKIND_RELATION);
	found->state = find_relation(schema, "cfp_state", RELKIND_RELATION);
	found->gate = find_relation(schema, "cfp_gate", RELKIND_RELATION);
	found->current = find_relation(schema, "storage_current", RELKIND_FOREIGN_TABLE);

	check_logged(schema, "storage_history", found->history);
	check_logged(schema, "storage_latest", found->latest);
	check_logged(schema, "storage_dirty", found->dirty);
	check_logged(schema, "storage_floors", found->floors);
	check_logged(schema, "storage_days", found->days);
	check_logged(schema, "cfp_state", found->state);
	check_logged(schema, "cfp_pruned", get_relname_relid("cfp_pruned", schema));
	check_logged(schema, "cfp_forgotten", get_relname_relid("cfp_forgotten", schema));

	check_columns(schema, "storage_history", found->history,
				  cfp_columns, lengthof(cfp_columns));
	check_columns(schema, "storage_latest", found->latest,
				  cfp_columns, lengthof(cfp_columns));
	check_columns(schema, "storage_dirty", found->dirty, cfp_columns, CFP_NAME_COLUMNS);
	check_columns(schema, "cfp_state", found->state,
				  state_columns, lengthof(state_columns));
	check_columns(schema, "storage_floors", found->floors,
				  floors_columns, lengthof(floors_columns));

	found->history_pkey = find_primary_key(schema, "storage_history", found->history,
										   history_key, lengthof(history_key));
	found->latest_pkey = find_primary_key(schema, "storage_latest", found->latest,
										  latest_key, lengthof(latest_key));
	found->dirty_pkey = find_primary_key(schema, "storage_dirty", found->dirty,
										 dirty_key, lengthof(dirty_key));
	found->state_pkey = find_primary_key(schema, "cfp_state", found->state,
										 state_key, lengthof(state_key));
	found->history_txid = find_index(found->history, false,
									 history_txid_key, lengthof(history_txid_key));
	if (!OidIsValid(found->history_txid))
		table_unusable(schema, "storage_history", "its index on txid is missing");
	found->floors_index = find_index(found->floors, false, floors_key, lengthof(floors_key));
	if (!OidIsValid(found->floors_index))
		table_unusable(schema, "storage_floors", "its index on the names is missing");

	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(found->history));
	if (!HeapTupleIsValid(tuple))
		table_unusable(schema, "storage_history", "it is missing");
	found->owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);

	count_triggers(found->history, &always, &origin);
	count_triggers(found->latest, &always, &origin);
	count_triggers(found->floors, &always, &origin);
	found->triggers_origin = origin > 0 && always + origin == TRIGGERS;
	found->cacheable = always == TRIGGERS &&
		!is_subscribed(found->history) && !is_subscribed(found->latest);
}

const CfpTables *
cfp_tables_if_installed(void)
{
	CfpTables	found = {0};
	uint64		invalidations = table_invalidations;

	if (likely(cfp_tables_valid))
		return &cfp_tables_found;
	if (!find_extension(&found.extension, &found.schema))
		return NULL;

	/*
	 * An invalidation that comes during the look-up is for the next call: the
	 * callback cannot tell whether it concerns tables found just now.
	 */
	look_up_tables(&found);
	cfp_tables_found = found;
	cfp_tables_valid = (invalidations == table_invalidations);
	return &cfp_tables_found;
}

const CfpTables *
cfp_tables_look_up(void)
{
	const CfpTables *result = cfp_tables_if_installed();

	Assert(IsTransactionState());

	if (unlikely(result == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" is not installed in database \"%s\"",
						CFP_EXTENSION_NAME, get_database_name(MyDatabaseId)),
				 errhint("Run CREATE EXTENSION cfp in this database.")));
	return result;
}

CfpTables
cfp_tables_locked(void)
{
	for (;;)
	{
		CfpTables	tables = *cfp_tables();
		uint64		invalidations = table_invalidations;

		LockRelationOid(tables.history, AccessShareLock);
		LockRelationOid(tables.latest, AccessShareLock);
		LockRelationOid(tables.dirty, AccessShareLock);
		LockRelationOid(tables.state, AccessShareLock);
		if (invalidations == table_invalidations)
			return tables;
	}
}

/* What is remembered of the current user; room is made when nothing is. */
static UserRights *
my_rights(void)
{
	Oid			user = GetUserId();
	UserRights *rights;

	for (int i = 0; i < USERS_REMEMBERED; i++)
	{
		if (users[i].user == user)
			return &users[i];
	}

	rights = &users[next_user];
	next_user = (next_user + 1) % USERS_REMEMBERED;
	rights->user = user;
	rights->rights = 0;
	return rights;
}

pg_noreturn static void
permission_denied(const char *kind, const char *relation, const char *needed,
				  const char *grant)
{
	char	   *name = quote_qualified_identifier(get_namespace_name(cfp_tables()->schema),
												  relation);

	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for cfp: %s on %s %s is needed",
					needed, kind, relation),
			 errhint("GRANT %s ON %s TO %s;", grant, name,
					 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

static void
check_row_security(const CfpTables *t, UserRights *rights)
{
	const char *name = NULL;

	if (rights->rights & NO_ROW_SECURITY)
		return;
	if (check_enable_rls(t->history, InvalidOid, true) == RLS_ENABLED)
		name = "storage_history";
	else if (check_enable_rls(t->latest, InvalidOid, true) == RLS_ENABLED)
		name = "storage_latest";
	if (name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cfp does not support row security on table \"%s\"",
						quote_qualified_identifier(get_namespace_name(t->schema), name)),
				 errdetail("Row security is active on it for role \"%s\".",
						   GetUserNameFromId(GetUserId(), false)),
				 errhint("Write functions (SECURITY DEFINER) over cfp's for roles that may see some of the items only, "
						 "or run ALTER TABLE ... DISABLE ROW LEVEL SECURITY.")));
	rights->rights |= NO_ROW_SECURITY;
}

void
cfp_check_row_security(void)
{
	const CfpTables *t = cfp_tables();

	check_row_security(t, my_rights());
}

void
cfp_check_privilege(AclMode mode)
{
	const CfpTables *t = cfp_tables();
	UserRights *rights = my_rights();
	uint8		wanted = mode == ACL_SELECT ? MAY_READ :
	mode == (ACL_INSERT | ACL_UPDATE) ? MAY_STORE :
	mode == ACL_DELETE ? MAY_DELETE : MAY_UPDATE;

	Assert(mode == ACL_SELECT || mode == ACL_DELETE || mode == ACL_UPDATE ||
		   mode == (ACL_INSERT | ACL_UPDATE));

	if (likely((rights->rights & (wanted | NO_ROW_SECURITY)) == (wanted | NO_ROW_SECURITY)))
		return;

	if (pg_class_aclcheck(t->current, rights->user, mode) != ACLCHECK_OK)
	{
		if (wanted == MAY_READ)
			permission_denied("foreign table", "storage_current", "SELECT", "SELECT");
		else if (wanted == MAY_DELETE)
			permission_denied("foreign table", "storage_current", "DELETE", "DELETE");
		else if (wanted == MAY_UPDATE)
			permission_denied("foreign table", "storage_current", "UPDATE", "UPDATE");
		else
			permission_denied("foreign table", "storage_current", "INSERT or UPDATE", "INSERT, UPDATE");
	}
	rights->rights |= wanted;
	check_row_security(t, rights);
}

bool
cfp_may_read(void)
{
	return pg_class_aclcheck(cfp_tables()->current, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

void
cfp_check_history_privilege(void)
{
	const CfpTables *t = cfp_tables();
	UserRights *rights = my_rights();

	if (likely((rights->rights & (MAY_READ_HISTORY | NO_ROW_SECURITY)) ==
			   (MAY_READ_HISTORY | NO_ROW_SECURITY)))
		return;

	if (pg_class_aclcheck(t->history, rights->user, ACL_SELECT) != ACLCHECK_OK)
		permission_denied("table", "storage_history", "SELECT", "SELECT");
	rights->rights |= MAY_READ_HISTORY;
	check_row_security(t, rights);
}
