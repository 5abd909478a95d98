/*-------------------------------------------------------------------------
 *
 * items.h
 *		The items of a cached collection.
 *
 * See the head of items.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_ITEMS_H
#define CFP_ITEMS_H

#include "cache/cache.h"

/*
 * Items.  Finding needs the lock in any mode, adding exclusively (or LOADING);
 * adding returns NULL when memory is short.
 */
extern CfpItem *cfp_item_find(const CfpCollection *col, uint32 hash,
							  const char *name, int len);
extern CfpItem *cfp_item_add(CfpCollection *col, uint32 hash,
							 const char *name, int len);

/* Have room for so many, before they are added; false when memory is short. */
extern bool cfp_items_expect(CfpCollection *col, uint32 nitems);

/* What an item with one record takes of a collection, about. */
extern Size cfp_item_bytes(int name_len, const CfpRecord *record);

/*
 * Sort a part of the order array's tail into its sorted part (lock exclusive):
 * as much as the lock should be held for.
 */
extern void cfp_items_sort(CfpCollection *col);

/* The place in the order array (sorted) of the first item not before the name. */
extern uint32 cfp_items_before(const CfpCollection *col, const char *name, int len);
extern int	cfp_item_compare(const CfpItem *item, const char *name, int len);

#endif							/* CFP_ITEMS_H */
