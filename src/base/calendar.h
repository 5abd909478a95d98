/*-------------------------------------------------------------------------
 *
 * calendar.h
 *		Business dates and ends of day.
 *
 * All functions but cfp_calendar_zone() are pure: they take the zone and the
 * end of day.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CFP_CALENDAR_H
#define CFP_CALENDAR_H

#include "base/names.h"

#include "datatype/timestamp.h"
#include "pgtime.h"
#include "utils/date.h"

/* The zone of cfp.timezone, else the session's TimeZone. */
extern pg_tz *cfp_calendar_zone(void);

/* The first end of day strictly after `now`. */
extern TimestampTz cfp_calendar_next(TimestampTz now, pg_tz *zone, int end_of_day);

/* The last end of day at or before `now`. */
extern TimestampTz cfp_calendar_last(TimestampTz now, pg_tz *zone, int end_of_day);

/*
 * The business date that the end of day at instant `eod` closes: an end of
 * day before 12:00 closes the previous calendar date, else its own.
 */
extern DateADT cfp_calendar_date(TimestampTz eod, pg_tz *zone, int end_of_day);

/* The first date after it that the zone has. */
extern DateADT cfp_calendar_next_date(DateADT date, pg_tz *zone);

/* The end of day that closes a business date. */
extern TimestampTz cfp_calendar_end_of(DateADT date, pg_tz *zone, int end_of_day);

/* "YYYY-MM-DD", palloc'd; and back, false for anything else. */
extern char *cfp_date_text(DateADT date);
extern bool cfp_parse_date(const char *text, DateADT *date);

#endif							/* CFP_CALENDAR_H */
