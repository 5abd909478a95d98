/*-------------------------------------------------------------------------
 *
 * names.h
 *		Names and limits that all of cfp shares.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_NAMES_H
#define CFP_NAMES_H

#include "postgres.h"

#include "fmgr.h"
#include "storage/lwlock.h"

/* What servers have in different places, where they have it. */
#if __has_include("varatt.h")
#include "varatt.h"
#endif
#ifndef pg_noreturn
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

/* The order of names that are texts, by pointers to them: for qsort. */
static inline int
cfp_compare_texts(const void *a, const void *b)
{
	const text *x = *(text *const *) a;
	const text *y = *(text *const *) b;

	return cfp_compare_names(VARDATA_ANY(x), VARSIZE_ANY_EXHDR(x),
							 VARDATA_ANY(y), VARSIZE_ANY_EXHDR(y));
}

#endif							/* CFP_NAMES_H */
