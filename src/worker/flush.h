/*-------------------------------------------------------------------------
 *
 * flush.h
 *		Flush: what was committed since the last one goes into storage_dirty and the day files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FLUSH_H
#define CFP_FLUSH_H

#include "base/names.h"

#include "worker/piece.h"

/*
 * Put what was committed since the last flush into storage_dirty, and publish
 * that; returns the number of records.  In a transaction of its own (the caller
 * is in none).  Throws; the caller catches.
 */
extern int64 cfp_flush_run(void);

/* The flush as a piece of the worker's work; the rows are the records. */
extern bool cfp_flush_due(TimestampTz now, TimestampTz *next);
extern CfpPieceEnd cfp_flush_piece(int64 *rows);

/* How often this worker has done that. */
extern uint64 cfp_flushes;

/* A flush within other work of the worker: what it is doing stays published. */
extern int64 cfp_flush_batch(void);

/* Forget which items are known to be in storage_dirty. */
extern void cfp_flush_forget(void);

/*
 * A fold has emptied storage_dirty, and no flush has been since it began; the
 * generation is the database's of before that.
 */
extern void cfp_flush_all_folded(uint64 generation);

/* The rows of storage_dirty that the active snapshot sees. */
extern int64 cfp_count_dirty(Oid relid);

#endif							/* CFP_FLUSH_H */
