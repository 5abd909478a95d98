/*-------------------------------------------------------------------------
 *
 * fold.h
 *		Fold: what storage_dirty names is brought into storage_latest.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_FOLD_H
#define CFP_FOLD_H

#include "base/names.h"

#include "worker/piece.h"

/*
 * Reconcile if the database is marked, then fold storage_dirty into
 * storage_latest, and publish that; returns the number of items.  In
 * transactions of its own, in chunks.  Throws; the caller catches.
 */
extern int64 cfp_fold_run(void);

/* The fold as a piece of the worker's work; the rows are the items. */
extern CfpPieceEnd cfp_fold_piece(int64 *rows);

#endif							/* CFP_FOLD_H */
