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
#include "common/jsonapi.h"
#include "common/relpath.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
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

static inline void
cfp_insert_index_tuples(ResultRelInfo *target, TupleTableSlot *slot, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	(void) ExecInsertIndexTuples(target, slot, estate, false, false, NULL, NIL, false);
#else
	(void) ExecInsertIndexTuples(target, slot, estate, false, false, NULL, NIL);
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
