/*-------------------------------------------------------------------------
 *
 * text.h
 *		A collection as JSON text.
 *
 * See the head of text.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_TEXT_H
#define CFP_TEXT_H

#include "base/names.h"

#include "lib/stringinfo.h"

/* A collection's items as JSON text: `"item": {...}, "item": {...}`. */
typedef struct CfpItemsText
{
	StringInfo	buf;			/* appended to; NULL: only the etag is wanted */
	bool		again;			/* the same get has read it before: not
								 * counted */
	uint64		etag;			/* the sum of the items' */
	int64		nitems;
} CfpItemsText;

/* Add a collection's items, not the deleted ones, to a text. */
extern void cfp_read_collection_text(const CfpCollectionName *name, CfpItemsText *text);

#endif							/* CFP_TEXT_H */
