/*-------------------------------------------------------------------------
 *
 * piece.h
 *		A piece of the worker's work: a row of the table in worker.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_PIECE_H
#define CFP_PIECE_H

#include "base/names.h"

#include "utils/elog.h"

#include "base/retry.h"

/* How an attempt at a piece of work has ended. */
typedef enum CfpPieceEnd
{
	CFP_PIECE_NOT_DUE,			/* it was not made */
	CFP_PIECE_DONE,
	CFP_PIECE_WAITS,			/* for somebody else's work; nothing was done */
	CFP_PIECE_LEAVE,			/* done, and the worker has to end */
	CFP_PIECE_FAILED			/* it has thrown */
} CfpPieceEnd;

typedef struct CfpPiece
{
	const char *name;			/* for the log */

	/*
	 * Is it due?  If not, *next is lowered to the time it will be.  Asked
	 * each turn, in no transaction; throws nothing.  NULL: only done when
	 * asked for.
	 */
	bool		(*due) (TimestampTz now, TimestampTz *next);

	/*
	 * Do it, in transactions of its own; *rows is what the asker is told.
	 * Throws; then it is tried again later.
	 */
	CfpPieceEnd (*run) (int64 *rows);

	/* It has failed, for a reason that was logged; may throw.  May be NULL. */
	void		(*failed) (const ErrorData *error);

	/* State. */
	CfpBackoff	backoff;
	uint32		error;			/* hash of the last one's message */
} CfpPiece;

#endif							/* CFP_PIECE_H */
