/*-------------------------------------------------------------------------
 *
 * foreign_scan.h
 *		Scanning a foreign table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FOREIGN_SCAN_H
#define CFP_FOREIGN_SCAN_H

#include "base/names.h"

#include "foreign/fdwapi.h"

#include "read/scope.h"
#include "sql/foreign.h"

/* The wrapper's part in running a scan; see fdwapi.h. */
extern void cfp_foreign_begin_scan(ForeignScanState *node, int flags);
extern TupleTableSlot *cfp_foreign_next(ForeignScanState *node);
extern void cfp_foreign_rescan(ForeignScanState *node);
extern void cfp_foreign_end_scan(ForeignScanState *node);
extern void cfp_foreign_explain(ForeignScanState *node, struct ExplainState *explain);

/* Begin to read all items of the table, with the active snapshot; see scope.h. */
extern CfpScopeScan *cfp_foreign_begin_all(const CfpForeignTable *table);

#endif							/* CFP_FOREIGN_SCAN_H */
