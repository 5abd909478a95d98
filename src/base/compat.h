/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Differences between the server versions cfp supports (15 and later).
 *
 * It includes much, so only what needs it includes it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_COMPAT_H
#define CFP_COMPAT_H

#include "access/genam.h"
#include "access/tableam.h"
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "commands/explain.h"
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif
#include "commands/tablecmds.h"
#include "common/jsonapi.h"
#include "commands/trigger.h"
#include "common/relpath.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "nodes/tidbitmap.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "parser/parse_relation.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/datetime.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"

/* Has a DROP DATABASE been interrupted?  Nobody can connect to it then. */
static inline bool
cfp_database_is_invalid(Form_pg_database form)
{
#ifdef DATCONNLIMIT_INVALID_DB
	return form->datconnlimit == DATCONNLIMIT_INVALID_DB;
#else
	return false;
#endif
}

static inline Oid
cfp_primary_key_index(Relation table)
{
#if PG_VERSION_NUM >= 180000
	return RelationGetPrimaryKeyIndex(table, false);
#else
	return RelationGetPrimaryKeyIndex(table);
#endif
}

static inline IndexScanDesc
cfp_index_beginscan(Relation heap, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

static inline IndexScanDesc
cfp_index_beginscan_bitmap(Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan_bitmap(index, snapshot, NULL, nkeys);
#else
	return index_beginscan_bitmap(index, snapshot, nkeys);
#endif
}

/* The rows on the pages of a bitmap.  18 made one step of page and row. */
typedef struct CfpBitmapScan
{
	TableScanDesc scan;
#if PG_VERSION_NUM < 180000
	TBMIterator *iterator;
	TBMIterateResult *page;		/* NULL: none yet */
#endif
} CfpBitmapScan;

static inline void
cfp_bitmap_scan_begin(CfpBitmapScan *rows, Relation table, Snapshot snapshot,
					  TIDBitmap *bitmap)
{
#if PG_VERSION_NUM >= 180000
	rows->scan = table_beginscan_bm(table, snapshot, 0, NULL);
	rows->scan->st.rs_tbmiterator = tbm_begin_iterate(bitmap, NULL, InvalidDsaPointer);
#else
#if PG_VERSION_NUM >= 170000
	rows->scan = table_beginscan_bm(table, snapshot, 0, NULL, true);
#else
	rows->scan = table_beginscan_bm(table, snapshot, 0, NULL);
#endif
	rows->iterator = tbm_begin_iterate(bitmap);
	rows->page = NULL;
#endif
}

/* False after the last row.  *recheck: the bitmap says no more than the page. */
static inline bool
cfp_bitmap_scan_next(CfpBitmapScan *rows, TupleTableSlot *slot, bool *recheck)
{
#if PG_VERSION_NUM >= 180000
	uint64		lossy_pages = 0;
	uint64		exact_pages = 0;

	return table_scan_bitmap_next_tuple(rows->scan, slot, recheck, &lossy_pages, &exact_pages);
#else
	while (rows->page == NULL || !table_scan_bitmap_next_tuple(rows->scan, rows->page, slot))
	{
		do
		{
			rows->page = tbm_iterate(rows->iterator);
			if (rows->page == NULL)
				return false;
		} while (!table_scan_bitmap_next_block(rows->scan, rows->page));
	}
	*recheck = rows->page->recheck;
	return true;
#endif
}

static inline void
cfp_bitmap_scan_end(CfpBitmapScan *rows)
{
#if PG_VERSION_NUM >= 180000
	if (!tbm_exhausted(&rows->scan->st.rs_tbmiterator))
		tbm_end_iterate(&rows->scan->st.rs_tbmiterator);
#else
	tbm_end_iterate(rows->iterator);
#endif
	table_endscan(rows->scan);
}

/* 16 added an argument with details for the error message. */
static inline int
cfp_DecodeDateTime(char **field, int *ftype, int nf, int *dtype,
				   struct pg_tm *tm, fsec_t *fsec, int *tzp)
{
#if PG_VERSION_NUM >= 160000
	DateTimeErrorExtra extra;

	return DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tzp, &extra);
#else
	return DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tzp);
#endif
}

static inline List *
cfp_insert_index_tuples(ResultRelInfo *target, TupleTableSlot *slot, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(target, slot, estate, false, false, NULL, NIL, false);
#else
	return ExecInsertIndexTuples(target, slot, estate, false, false, NULL, NIL);
#endif
}

/* The executor's range table of one table, whose rows get these columns updated. */
static inline void
cfp_init_range_table(EState *estate, Relation rel, Bitmapset *updated)
{
	RangeTblEntry *entry = makeNode(RangeTblEntry);
#if PG_VERSION_NUM >= 160000
	List	   *permissions = NIL;
#endif

	entry->rtekind = RTE_RELATION;
	entry->relid = RelationGetRelid(rel);
	entry->relkind = rel->rd_rel->relkind;
	entry->rellockmode = RowExclusiveLock;
#if PG_VERSION_NUM >= 160000
	addRTEPermissionInfo(&permissions, entry)->updatedCols = updated;
#else
	entry->updatedCols = updated;
#endif
#if PG_VERSION_NUM >= 180000
	ExecInitRangeTable(estate, list_make1(entry), permissions, bms_make_singleton(1));
#elif PG_VERSION_NUM >= 160000
	ExecInitRangeTable(estate, list_make1(entry), permissions);
#else
	ExecInitRangeTable(estate, list_make1(entry));
#endif
}

/* For a row that nobody else changes: there is no plan to evaluate again. */
static inline void
cfp_init_epq(EPQState *epq, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	EvalPlanQualInit(epq, estate, NULL, NIL, -1, NIL);
#else
	EvalPlanQualInit(epq, estate, NULL, NIL, -1);
#endif
}

/* Fire the triggers before a row is updated, or deleted; false: it is not to be. */
static inline bool
cfp_before_row_update(EState *estate, EPQState *epq, ResultRelInfo *target,
					  ItemPointer tid, TupleTableSlot *slot)
{
#if PG_VERSION_NUM >= 180000
	return ExecBRUpdateTriggers(estate, epq, target, tid, NULL, slot, NULL, NULL, false);
#elif PG_VERSION_NUM >= 160000
	return ExecBRUpdateTriggers(estate, epq, target, tid, NULL, slot, NULL, NULL);
#else
	return ExecBRUpdateTriggers(estate, epq, target, tid, NULL, slot, NULL);
#endif
}

static inline bool
cfp_before_row_delete(EState *estate, EPQState *epq, ResultRelInfo *target, ItemPointer tid)
{
#if PG_VERSION_NUM >= 180000
	return ExecBRDeleteTriggers(estate, epq, target, tid, NULL, NULL, NULL, NULL, false);
#elif PG_VERSION_NUM >= 160000
	return ExecBRDeleteTriggers(estate, epq, target, tid, NULL, NULL, NULL, NULL);
#else
	return ExecBRDeleteTriggers(estate, epq, target, tid, NULL, NULL);
#endif
}

/* Update the row and the indexes.  *recheck: those whose constraints are to be looked at. */
static inline TM_Result
cfp_update_tuple(ResultRelInfo *target, ItemPointer tid, TupleTableSlot *slot,
				 EState *estate, List **recheck)
{
	TM_FailureData failure;
	LockTupleMode lockmode;
	TM_Result	result;
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes indexes;
#else
	bool		indexes;
#endif

	result = table_tuple_update(target->ri_RelationDesc, tid, slot, estate->es_output_cid,
								estate->es_snapshot, InvalidSnapshot, true,
								&failure, &lockmode, &indexes);
	*recheck = NIL;
	if (result == TM_Ok && indexes && target->ri_NumIndices > 0)
#if PG_VERSION_NUM >= 160000
		*recheck = ExecInsertIndexTuples(target, slot, estate, true, false, NULL, NIL,
										 indexes == TU_Summarizing);
#else
		*recheck = ExecInsertIndexTuples(target, slot, estate, true, false, NULL, NIL);
#endif
	return result;
}

/* TRUNCATE, without asking for privileges; the caller has locked the table. */
static inline void
cfp_truncate(Relation rel)
{
	List	   *rels = list_make1(rel);
	List	   *relids = list_make1_oid(RelationGetRelid(rel));
	List	   *logged = RelationIsLogicallyLogged(rel) ? relids : NIL;

#if PG_VERSION_NUM >= 160000
	ExecuteTruncateGuts(rels, relids, logged, DROP_RESTRICT, false, false);
#else
	ExecuteTruncateGuts(rels, relids, logged, DROP_RESTRICT, false);
#endif
}

/* REINDEX TABLE, of a table that the caller has locked against everybody. */
static inline void
cfp_reindex_table(Oid relid)
{
	ReindexParams params = {0};
	int			flags = REINDEX_REL_PROCESS_TOAST | REINDEX_REL_CHECK_CONSTRAINTS;

#if PG_VERSION_NUM >= 170000
	(void) reindex_relation(NULL, relid, flags, &params);
#else
	(void) reindex_relation(relid, flags, &params);
#endif
}

/* A lexer of text in the server's encoding, that makes strings of escapes. */
static inline JsonLexContext *
cfp_make_json_lexer(char *text, int len)
{
#if PG_VERSION_NUM >= 170000
	return makeJsonLexContextCstringLen(NULL, text, len, GetDatabaseEncoding(), true);
#else
	return makeJsonLexContextCstringLen(text, len, GetDatabaseEncoding(), true);
#endif
}

/* Has this transaction made the relation's file? */
static inline bool
cfp_relation_file_is_own(Relation rel)
{
#if PG_VERSION_NUM >= 160000
	return rel->rd_createSubid != InvalidSubTransactionId ||
		rel->rd_firstRelfilelocatorSubid != InvalidSubTransactionId;
#else
	return rel->rd_createSubid != InvalidSubTransactionId ||
		rel->rd_firstRelfilenodeSubid != InvalidSubTransactionId;
#endif
}

static inline bool
cfp_may_use_schema(Oid schema, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(NamespaceRelationId, schema, role, ACL_USAGE) == ACLCHECK_OK;
#else
	return pg_namespace_aclcheck(schema, role, ACL_USAGE) == ACLCHECK_OK;
#endif
}

/* The relation's file, as errors name it; palloc'd. */
static inline char *
cfp_relation_path(Relation rel)
{
#if PG_VERSION_NUM >= 180000
	return pstrdup(relpathperm(rel->rd_locator, MAIN_FORKNUM).str);
#elif PG_VERSION_NUM >= 160000
	return relpathperm(rel->rd_locator, MAIN_FORKNUM);
#else
	return relpathperm(rel->rd_node, MAIN_FORKNUM);
#endif
}

/* Does this session hold the lock, in just this mode? */
static inline bool
cfp_lock_held_by_me(const LOCKTAG *tag, LOCKMODE mode)
{
#if PG_VERSION_NUM >= 170000
	return LockHeldByMe(tag, mode, false);
#else
	return LockHeldByMe(tag, mode);
#endif
}

/* The pathkeys of one expression, where the query may want them. */
static inline List *
cfp_build_expression_pathkey(PlannerInfo *root, Expr *expr, Oid opno, RelOptInfo *rel)
{
#if PG_VERSION_NUM >= 160000
	return build_expression_pathkey(root, expr, opno, rel->relids, false);
#else
	return build_expression_pathkey(root, expr, NULL, opno, rel->relids, false);
#endif
}

/* How many elements an array has, about. */
static inline double
cfp_estimate_array_length(PlannerInfo *root, Node *array)
{
#if PG_VERSION_NUM >= 170000
	return estimate_array_length(root, array);
#else
	return estimate_array_length(array);
#endif
}

static inline ForeignPath *
cfp_create_foreignscan_path(PlannerInfo *root, RelOptInfo *rel, double rows, Cost startup,
							Cost total, List *pathkeys, Relids required_outer)
{
#if PG_VERSION_NUM >= 180000
	return create_foreignscan_path(root, rel, NULL, rows, 0, startup, total, pathkeys,
								   required_outer, NULL, NIL, NIL);
#elif PG_VERSION_NUM >= 170000
	return create_foreignscan_path(root, rel, NULL, rows, startup, total, pathkeys,
								   required_outer, NULL, NIL, NIL);
#else
	return create_foreignscan_path(root, rel, NULL, rows, startup, total, pathkeys,
								   required_outer, NULL, NIL);
#endif
}

#endif							/* CFP_COMPAT_H */
