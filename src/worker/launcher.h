/*-------------------------------------------------------------------------
 *
 * launcher.h
 *		Keeps one worker in each database that has the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_LAUNCHER_H
#define CFP_LAUNCHER_H

#include "base/names.h"

/* Register the launcher (at preload). */
extern void cfp_launcher_init(void);
extern PGDLLEXPORT void cfp_launcher_main(Datum arg);

#endif							/* CFP_LAUNCHER_H */
