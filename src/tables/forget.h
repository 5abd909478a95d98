/*-------------------------------------------------------------------------
 *
 * forget.h
 *		What is given up, noted for the day files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FORGET_H
#define CFP_FORGET_H

#include "base/names.h"

#include "utils/date.h"

#include "record/forgotten.h"
#include "tables/table_write.h"

/* The columns of CFP_FORGET_READ, from the row of the last statement. */
#define CFP_FORGET_READ \
	"id, kind, key, collection_name, item_name, from_version, version, date," \
	" snapshot::text, txid, at, from_id, to_id"

/* Take a row that a statement returned; allocates in CurrentMemoryContext. */
extern void cfp_forget_take(uint64 row, CfpForget *forget);

/*
 * In such a transaction as cfp_statement_run() needs, with the gate held: a
 * number that is another one once something has been given up.  It may be
 * another one without that, as after what was rolled back.
 */
extern int64 cfp_forget_count(void);

/*
 * Note, in this transaction, that records are given up; those that are stored
 * later are not.  Each is called while the gate is held in SHARE ROW
 * EXCLUSIVE, cfp_forget_pruned() in ROW EXCLUSIVE or higher, so that no store
 * or no other change by hand comes between.  Needs no privilege, writes
 * directly, as the table's owner, and throws what an INSERT would throw.
 */

/* Around the two that come in numbers. */
extern CfpTableWriter *cfp_forget_begin(void);
extern void cfp_forget_end(CfpTableWriter *writer);

/* The item's records of these versions. */
extern void cfp_forget_item(CfpTableWriter *writer, const CfpItemName *name,
							int32 from_version, int32 version);

/* All of an item up to this version, its tombstone. */
extern void cfp_forget_pruned(CfpTableWriter *writer, const CfpItemName *name,
							  int32 version);

/* Everything. */
extern void cfp_forget_all(void);

/*
 * What the backup of the date, made with this snapshot (as text; NULL: not
 * known), does not have; and what was given up after it was made no longer is.
 */
extern void cfp_forget_restore(DateADT date, const char *snapshot);

/* What has an id from..to is given up no longer: it was brought back. */
extern void cfp_forget_lift(int64 from_id, int64 to_id);

/*
 * Worker: records were committed that come into no day file.  In a flush; no
 * gate is needed.
 */
extern void cfp_forget_gap(void);

#endif							/* CFP_FORGET_H */
