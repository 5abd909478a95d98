/*-------------------------------------------------------------------------
 *
 * retry.h
 *		When to try again what has failed, and when to log it again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_RETRY_H
#define CFP_RETRY_H

#include "base/names.h"

#include "base/process.h"

#define CFP_FIRST_RETRY		1000	/* ms after an error, doubled */
#define CFP_LAST_RETRY		60000
#define CFP_REPEAT_LOG		60000	/* ms before the same error is logged
									 * again */

/* Of one piece of work; all zero: it has not failed. */
typedef struct CfpBackoff
{
	TimestampTz at;				/* when to try again */
	int			wait;			/* ms from the error to then; 0: no error */
} CfpBackoff;

/* The work has failed: wait a second, or twice as long as the last time. */
extern void cfp_backoff_failed(CfpBackoff *backoff, TimestampTz now);

/* May it be tried? */
static inline bool
cfp_backoff_over(const CfpBackoff *backoff, TimestampTz now)
{
	return cfp_time_has_come(backoff->at, CFP_LAST_RETRY, now);
}

/* The error that was logged last. */
typedef struct CfpLogged
{
	char		message[256];
	TimestampTz at;
} CfpLogged;

/*
 * Is the error to be logged: is it another one than the last, or has that been
 * logged a while ago?  Then it is the last one from now on.
 */
extern bool cfp_log_again(CfpLogged *logged, const char *message, TimestampTz now);

#endif							/* CFP_RETRY_H */
