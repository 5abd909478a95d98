/*-------------------------------------------------------------------------
 *
 * aside.h
 *		Commands that need a worker away, or that launcher and worker hear of.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_ASIDE_H
#define CFP_ASIDE_H

#include "base/names.h"

/* Set up the utility hook and the transaction callback (at preload). */
extern void cfp_aside_init(void);

#endif							/* CFP_ASIDE_H */
