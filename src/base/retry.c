/*-------------------------------------------------------------------------
 *
 * retry.c
 *		When to try again what has failed, and when to log it again.
 *
 * For what cfp's processes do by themselves, again and again, until it works:
 * the pieces of the worker's work, the day files, the workers themselves.
 * Times are by the clock, which may be set: see cfp_time_has_come().
 *
 * Locks: none.  All of it is the process's own memory.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "base/retry.h"

void
cfp_backoff_failed(CfpBackoff *backoff, TimestampTz now)
{
	Assert(backoff->wait >= 0 && backoff->wait <= CFP_LAST_RETRY);
	backoff->wait = backoff->wait == 0 ? CFP_FIRST_RETRY :
		Min(backoff->wait * 2, CFP_LAST_RETRY);
	backoff->at = TimestampTzPlusMilliseconds(now, backoff->wait);
}

bool
cfp_log_again(CfpLogged *logged, const char *message, TimestampTz now)
{
	if (strncmp(message, logged->message, sizeof(logged->message) - 1) == 0 &&
		!cfp_time_has_come(TimestampTzPlusMilliseconds(logged->at, CFP_REPEAT_LOG),
						   CFP_REPEAT_LOG, now))
		return false;
	strlcpy(logged->message, message, sizeof(logged->message));
	logged->at = now;
	return true;
}
