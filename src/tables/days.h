/*-------------------------------------------------------------------------
 *
 * days.h
 *		Which business dates have been closed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_DAYS_H
#define CFP_DAYS_H

#include "base/names.h"

#include "utils/date.h"
#include "utils/timestamp.h"

/*
 * The date that is open, whose close comes next: the first one after
 * the last closed.  In the caller's transaction.
 */
extern DateADT cfp_open_date(void);

/* The last date whose end of day has come. */
extern DateADT cfp_last_due(TimestampTz now);

/*
 * For the close of day.  Each in a transaction of its own.
 *
 * The last date closed; where none ever was, the days of this database begin
 * now, and the last date due counts as closed.
 */
extern DateADT cfp_days_begin(void);

/*
 * Begin the close of the date after `last`; those after it up to `due` are
 * skipped; the next one is open from now on.  Does nothing when `last` is not
 * the last one closed any more.  files_as_saved: the disk has no more of the
 * open date's day files than the cursor says.
 */
extern void cfp_days_switch(DateADT last, DateADT due, TimestampTz started,
							bool files_as_saved);

/* A date whose close has begun and not been finished. */
typedef struct CfpDay
{
	DateADT		date;
	bool		folded;
	bool		backed_up;
} CfpDay;

extern bool cfp_days_unfinished(CfpDay *day);
extern void cfp_days_folded(DateADT date, int64 items);
extern void cfp_days_backed_up(DateADT date, int64 bytes);
extern void cfp_days_failed(DateADT date, const char *message);
extern void cfp_days_finish(DateADT date, bool keep_error);

#endif							/* CFP_DAYS_H */
