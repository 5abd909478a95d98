/*-------------------------------------------------------------------------
 *
 * attempt.h
 *		A step whose error does not end the transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_ATTEMPT_H
#define CFP_ATTEMPT_H

#include "base/names.h"

#include "utils/elog.h"

/*
 * Take the step.  Returns NULL, or the error that it ended with, palloc'd; what
 * it did is then undone.  Throws when it was cancelled.
 */
extern ErrorData *cfp_attempt(void (*step) (void *arg), void *arg);

#endif							/* CFP_ATTEMPT_H */
