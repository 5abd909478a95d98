/*-------------------------------------------------------------------------
 *
 * rewritten.c
 *		Tables that were emptied or rewritten since a snapshot was taken.
 *
 * TRUNCATE, the forms of ALTER TABLE that rewrite a table, and tools that put
 * a copy in its place leave nothing for older snapshots: to them the table is
 * empty.  Most readers of cfp lock the storage tables after their snapshot was
 * taken, so such a change may come between; scan.c and state.c ask here, and read
 * what can still be read, or says that nothing can.
 *
 * What tells is the table's row in pg_class, which obeys MVCC: the row that
 * the snapshot sees names the file that the table had then.  So nobody has to
 * note the change: it is known with triggers off, after DDL of any kind, for
 * imported snapshots and on a standby.  The row is looked up by name, that of
 * the table which was there before a DROP and CREATE too.  A table that did
 * not exist for the snapshot lacks nothing.
 *
 * VACUUM FULL, CLUSTER and SET TABLESPACE make a new file as well, but keep the
 * rows with their history.  Catalogs do not tell these apart.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "tables/rewritten.h"

/* Is the file that the snapshot knows for the table another one? */
static bool
had_other_file(Relation rel, Snapshot snapshot)
{
	/* As it was before this transaction changed anything. */
	SnapshotData before = *snapshot;
	Relation	classes = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		other = false;

	before.curcid = FirstCommandId;
	ScanKeyInit(&keys[0], Anum_pg_class_relname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(RelationGetRelationName(rel)));
	ScanKeyInit(&keys[1], Anum_pg_class_relnamespace, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationGetNamespace(rel)));
	scan = systable_beginscan(classes, ClassNameNspIndexId, true, &before, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		other = form->oid != RelationGetRelid(rel) ||
			form->relfilenode != rel->rd_rel->relfilenode;
	}
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
	return other;
}

bool
cfp_rewritten(Oid relid, Snapshot snapshot)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Relation	rel;
	bool		unchanged;
	bool		result;

	Assert(IsMVCCSnapshot(snapshot));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);

	/* Mostly its row is older than whatever the snapshot could not see. */
	unchanged = TransactionIdPrecedes(HeapTupleHeaderGetXmin(tuple->t_data), snapshot->xmin);
	ReleaseSysCache(tuple);
	if (likely(unchanged))
		return false;

	rel = table_open(relid, NoLock);
	Assert(CheckRelationLockedByMe(rel, AccessShareLock, true));
	result = !cfp_relation_file_is_own(rel) && had_other_file(rel, snapshot);
	table_close(rel, NoLock);
	return result;
}
