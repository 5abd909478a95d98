/*-------------------------------------------------------------------------
 *
 * close.h
 *		The close of day, step by step.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_CLOSE_H
#define CFP_CLOSE_H

#include "base/names.h"

#include "utils/elog.h"
#include "utils/timestamp.h"

#include "worker/piece.h"

/*
 * Learn where the days stand; warn of an open date that is far ahead.
 * Throws for a time zone that is not known.
 */
extern void cfp_close_look(void);

/*
 * Is there a date to close, or the close of one to be finished?  *next is
 * lowered to the time there will be.  Throws nothing.
 */
extern bool cfp_close_left(TimestampTz now, TimestampTz *next);

/*
 * The close as a piece of the worker's work, a step each time: it is due when
 * there is something left, unless changes by hand are waited for.  It waits
 * for its backup.  No rows.
 */
extern bool cfp_close_due(TimestampTz now, TimestampTz *next);
extern CfpPieceEnd cfp_close_piece(int64 *rows);
extern void cfp_close_failed(const ErrorData *error);

#endif							/* CFP_CLOSE_H */
