/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Differences between the server versions cfp supports (15 and later).
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_COMPAT_H
#define CFP_COMPAT_H

#include "access/genam.h"
#include "access/tableam.h"
#include "common/jsonapi.h"
#include "common/relpath.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "nodes/tidbitmap.h"
#include "utils/datetime.h"
#include "utils/rel.h"

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

#endif							/* CFP_COMPAT_H */
