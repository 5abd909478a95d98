/*-------------------------------------------------------------------------
 *
 * references.c
 *		Foreign keys that reference the storage tables: refused.
 *
 * They could not hold.  A record is inserted into storage_history at COMMIT,
 * when the keys of what refers to it have been checked, and gets into
 * storage_latest by the next fold; and cfp_prune_history() and
 * cfp_restore_backup() remove rows without asking who refers to them.
 *
 * Each is refused when it is made, whatever statement makes it: the server
 * calls the hook for every new constraint.  One may be there all the same,
 * made in a server that had not loaded cfp: who removes rows asks
 * cfp_refuse_references() first.
 *
 * Takes no lock of its own but ACCESS SHARE on the tables it looks at.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"
#include "tables/references.h"
#include "tables/tables.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_constraint.h"
#include "commands/trigger.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static object_access_hook_type previous_object_access_hook = NULL;

static const char *const storage_tables[] = {"storage_history", "storage_latest"};

/*
 * The table that a new constraint references as a foreign key, or invalid.
 * Its row cannot be seen by an MVCC snapshot yet.
 */
static Oid
referenced_by(Oid constraint)
{
	Relation	constraints = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			referenced = InvalidOid;

	ScanKeyInit(&key, Anum_pg_constraint_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(constraint));
	scan = systable_beginscan(constraints, ConstraintOidIndexId, true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple) &&
		((Form_pg_constraint) GETSTRUCT(tuple))->contype == CONSTRAINT_FOREIGN)
		referenced = ((Form_pg_constraint) GETSTRUCT(tuple))->confrelid;
	systable_endscan(scan);
	table_close(constraints, AccessShareLock);
	return referenced;
}

static void
refuse_reference(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	Oid			referenced;

	if (previous_object_access_hook)
		previous_object_access_hook(access, class, object, sub, arg);
	if (access != OAT_POST_CREATE || class != ConstraintRelationId)
		return;
	referenced = referenced_by(object);
	for (int i = 0; OidIsValid(referenced) && i < lengthof(storage_tables); i++)
	{
		if (referenced == cfp_table_oid(storage_tables[i]))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a foreign key cannot reference \"%s\"", storage_tables[i]),
					 errdetail("Records get into the storage tables when foreign keys have been checked, and pruning and restoring remove rows."),
					 errhint("Keep the item's names and the version as plain columns.")));
	}
}

void
cfp_refuse_references(void)
{
	for (int i = 0; i < lengthof(storage_tables); i++)
	{
		Oid			relid = cfp_table_oid(storage_tables[i]);
		Relation	rel = OidIsValid(relid) ? try_table_open(relid, AccessShareLock) : NULL;

		if (rel == NULL)
			continue;
		for (int k = 0; rel->trigdesc != NULL && k < rel->trigdesc->numtriggers; k++)
		{
			const Trigger *trigger = &rel->trigdesc->triggers[k];

			if (RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_PK)
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("foreign key \"%s\" of table \"%s\" references \"%s\"",
								get_constraint_name(trigger->tgconstraint),
								get_rel_name(trigger->tgconstrrelid), storage_tables[i]),
						 errdetail("It could not hold when rows are removed."),
						 errhint("Drop the foreign key.")));
		}
		table_close(rel, NoLock);
	}
}

void
cfp_references_init(void)
{
	previous_object_access_hook = object_access_hook;
	object_access_hook = refuse_reference;
}
