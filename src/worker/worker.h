/*-------------------------------------------------------------------------
 *
 * worker.h
 *		The worker of a database: when to flush, reconcile, fold, close a day.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_WORKER_H
#define CFP_WORKER_H

#include "base/names.h"

extern PGDLLEXPORT void cfp_worker_main(Datum arg);

#endif							/* CFP_WORKER_H */
