/*-------------------------------------------------------------------------
 *
 * item.h
 *		Reading one item as the caller's snapshot sees it.
 *
 * See the head of item.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_ITEM_H
#define CFP_ITEM_H

#include "base/names.h"
#include "record/record.h"

/*
 * The item's image (what cfp_get returns), a palloc'd copy; NULL when absent
 * or deleted.  Uses the active snapshot.  The caller has checked privileges.
 */
extern Jsonb *cfp_read_image(const CfpItemName *name);

/*
 * The item's record, a palloc'd copy, tombstones included; NULL when there
 * is none.  *txid (when asked for): of its writer; own pending records have
 * this transaction's.
 */
extern CfpRecord *cfp_read_item(const CfpItemName *name, uint64 *txid);

/* The same, of own records those of commands before this. */
extern CfpRecord *cfp_read_item_before(const CfpItemName *name, CommandId before, uint64 *txid);

#endif							/* CFP_ITEM_H */
