/*-------------------------------------------------------------------------
 *
 * cfp.h
 *		What every room of cfp shares: names, limits, shared-memory set-up.
 *
 * Data flows through the rooms in this order:
 *
 *		a session		sql_api, sql_batch, sql_view -> record -> pending ->
 *						history (tables) and cache (memory);
 *						collection (load, read, evict) sits on cache and history
 *		the worker		flush (new_rows) -> json_line -> day_files; fold -> latest; close
 *						of day: days, close, retention; kept alive by launcher,
 *						asked by requests
 *		the job worker	backup -> copy_file, manifest; restore, rebuild, prune;
 *						asked by jobs
 *
 * Below them: tables, gate, database (shared entry), statement (transactions
 * of the workers), day_dir and instance_lock (files).
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_H
#define CFP_H

#include "postgres.h"

#include "fmgr.h"
#include "storage/lwlock.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* As of 18 it stands before the declaration. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* The extension's name, and the name of every log prefix and worker type. */
#define CFP_EXTENSION_NAME	"cfp"

/* Names together (key, collection, item) must fit a btree entry. */
#define CFP_MAX_NAME_BYTES	2000

/*
 * Names.  Not NUL-terminated; the bytes belong to the caller (usually they
 * point into function arguments).  "No name" is the empty string, never NULL.
 */
typedef struct CfpCollectionName
{
	const char *key;
	const char *collection;
	int			key_len;
	int			collection_len;
} CfpCollectionName;

typedef struct CfpItemName
{
	CfpCollectionName in;
	const char *item;
	int			item_len;
} CfpItemName;

/* The order of names: by bytes, the shorter first (collation "C"). */
static inline int
cfp_compare_names(const char *a, int a_len, const char *b, int b_len)
{
	int			cmp = memcmp(a, b, Min(a_len, b_len));

	return cmp != 0 ? cmp : a_len - b_len;
}

/* The same of two text pointers, for qsort. */
static inline int
cfp_compare_texts(const void *a, const void *b)
{
	const text *x = *(text *const *) a;
	const text *y = *(text *const *) b;

	return cfp_compare_names(VARDATA_ANY(x), VARSIZE_ANY_EXHDR(x),
							 VARDATA_ANY(y), VARSIZE_ANY_EXHDR(y));
}

/* True when cfp was in shared_preload_libraries, so shared memory is there. */
extern bool cfp_preloaded;

/* Throws 55000 with the setting to make, unless cfp was preloaded. */
extern void cfp_require_preload(void);

#endif							/* CFP_H */
