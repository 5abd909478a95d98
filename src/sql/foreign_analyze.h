/*-------------------------------------------------------------------------
 *
 * foreign_analyze.h
 *		ANALYZE storage_current.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FOREIGN_ANALYZE_H
#define CFP_FOREIGN_ANALYZE_H

#include "base/names.h"

#include "foreign/fdwapi.h"

/* The wrapper's part in ANALYZE; see fdwapi.h. */
extern bool cfp_foreign_analyze(Relation rel, AcquireSampleRowsFunc *sample,
								BlockNumber *pages);


#endif							/* CFP_FOREIGN_ANALYZE_H */
