/*-------------------------------------------------------------------------
 *
 * preload.h
 *		Is cfp in shared_preload_libraries, so that its shared memory is there?
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_PRELOAD_H
#define CFP_PRELOAD_H

#include "base/names.h"

/* Set by _PG_init. */
extern bool cfp_preloaded;

/* Throws 55000 with the setting to make, unless cfp was preloaded. */
extern void cfp_require_preload(void);

#endif							/* CFP_PRELOAD_H */
