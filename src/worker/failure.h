/*-------------------------------------------------------------------------
 *
 * failure.h
 *		What becomes of an error in a piece of the worker's work.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FAILURE_H
#define CFP_FAILURE_H

#include "base/names.h"

#include "utils/elog.h"

#include "worker/piece.h"

/*
 * Log the error, keep it for cfp_stat, and set the time to try the piece
 * again.  In no transaction.
 */
extern void cfp_failure_note(CfpPiece *piece, ErrorData *error);

#endif							/* CFP_FAILURE_H */
