/*-------------------------------------------------------------------------
 *
 * rewritten.h
 *		Tables that were emptied or rewritten since a snapshot was taken.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_REWRITTEN_H
#define CFP_REWRITTEN_H

#include "base/names.h"

#include "utils/snapshot.h"

/*
 * Has the table another file than it had for this MVCC snapshot?  Then rows
 * that the snapshot should see may be missing in it.  What the current
 * transaction has done itself does not count.  The caller holds a lock on the
 * table, so that it stays as it is.
 */
extern bool cfp_rewritten(Oid relid, Snapshot snapshot);

#endif							/* CFP_REWRITTEN_H */
