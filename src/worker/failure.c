/*-------------------------------------------------------------------------
 *
 * failure.c
 *		What becomes of an error in a piece of the worker's work.
 *
 * Called by the worker's loop (worker.c) alone, which catches what a piece
 * throws: cfp_worker_catch() in PG_CATCH, then cfp_failure_note(), unless the
 * worker was cancelled in order to end, or its extension is gone.
 *
 * An error is logged, the same one at most once a minute; not that a change by
 * hand came in between.  It is kept for cfp_stat.  The piece is tried again
 * after 1 s, doubling to 60 s, the others go on meanwhile (retry.c).  When it
 * comes a second time because a storage table is damaged, missing or altered,
 * the steps that help are told instead (damage.c).
 *
 * Locks: the entry's lock, for a moment; nothing throws under it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/timestamp.h"

#include "base/process.h"
#include "base/retry.h"
#include "base/transcode.h"
#include "shared/database.h"
#include "worker/damage.h"
#include "worker/failure.h"

/* The error logged last, of whatever piece. */
static CfpLogged logged;

void
cfp_failure_note(CfpPiece *piece, ErrorData *error)
{
	CfpDatabase *db = cfp_my_database();
	TimestampTz now = GetCurrentTimestamp();
	CfpDamage	damage;
	const char *message;
	uint32		hash = string_hash(error->message, strlen(error->message) + 1);
	bool		repeated = piece->backoff.wait != 0 && piece->error == hash;

	Assert(!IsTransactionState());
	cfp_backoff_failed(&piece->backoff, now);
	piece->error = hash;

	/* What is told then may lose data: not because of what passes by itself. */
	if (repeated && cfp_damage_describe(error, &damage))
	{
		error->message = damage.message;
		error->hint = damage.hint;
	}

	message = cfp_valid_text(error->message);
	LWLockAcquire(&db->lock, LW_EXCLUSIVE);
	cfp_clip_text(db->last_error, sizeof(db->last_error), message);
	db->last_error_at = now;
	LWLockRelease(&db->lock);

	/*
	 * A change by hand came in between: nothing is wrong, only to be
	 * repeated.
	 */
	if (error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_OBJECT_IN_USE)
		return;

	if (!cfp_log_again(&logged, error->message, now))
		return;
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("cfp: %s failed: %s", piece->name, error->message),
			 error->detail != NULL ? errdetail_internal("%s", error->detail) : 0,
			 error->hint != NULL ? errhint("%s", error->hint) :
			 errhint("Stores and reads go on. The worker tries again until this is remedied."),
			 error->context != NULL ? errcontext("%s", error->context) : 0));
}
