/*-------------------------------------------------------------------------
 *
 * replay.h
 *		What the day files say was given up, and which records it covers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_REPLAY_H
#define CFP_REPLAY_H

#include "base/names.h"

#include "files/day_reader.h"
#include "record/forgotten.h"
#include "nodes/pg_list.h"
#include "utils/date.h"

typedef struct CfpReplay CfpReplay;

/*
 * Find the day files of the dates from this one on.  In a transaction with a
 * snapshot, as cfp_replay_read(); what both keep is allocated in the context
 * that is current here.  Throws what reading files throws.
 */
extern CfpReplay *cfp_replay_begin(DateADT from);

/*
 * Read about so many bytes more of what was given up.  False when all is read;
 * then what follows may be called.  Lines that cannot be read are passed over
 * in silence: who reads the records reports them.
 */
extern bool cfp_replay_read(CfpReplay *replay, int64 bytes);

/* Bytes read so far, and of all the files. */
extern int64 cfp_replay_bytes_done(const CfpReplay *replay);
extern int64 cfp_replay_bytes(const CfpReplay *replay);

/*
 * The files have one or more origins; 0 is this incarnation.  Each is replayed
 * by itself.
 */
extern int	cfp_replay_origins(const CfpReplay *replay);
extern CfpFileOwner cfp_replay_owner(const CfpReplay *replay, int origin);

/* The numbers of a date's files of an origin: int list, ascending. */
extern List *cfp_replay_numbers(const CfpReplay *replay, DateADT date, int origin);

/*
 * What gave up this record (columns as in columns.h), which stands in a line of
 * a file of the origin; the first, when there are several, NULL when nothing
 * did.  That counts of which something was stored later; with `lenient` also
 * a restore and what was pruned, when nothing was.  *given_up: the date whose
 * files say so; DATEVAL_NOEND when none does yet.
 */
extern const CfpForget *cfp_replay_covers(const CfpReplay *replay, int origin, DateADT date,
										  int number, int64 line, const Datum *values,
										  const bool *nulls, bool lenient,
										  DateADT *given_up);

/*
 * When the loss is being repaired from a backup: what was given up on purpose
 * after it was made, which the backup still has.  One after the other, from
 * *next = 0 on; NULL after the last, or when there is no such backup.
 */
extern const CfpForget *cfp_replay_after_backup(const CfpReplay *replay, int *next);

/*
 * What this incarnation has given up, and has stored nothing since: as a range
 * of ids.  That is a loss to be made good, and then to be lifted.  With `all`,
 * whatever was stored.  False when there is nothing.
 */
extern bool cfp_replay_loss(const CfpReplay *replay, bool all, int64 *from_id, int64 *to_id);

#endif							/* CFP_REPLAY_H */
