/*-------------------------------------------------------------------------
 *
 * calendar.c
 *		Business dates and ends of day.
 *
 * Called by the worker, and by cfp_next_end_of_day().  Pure functions of
 * instant, zone and end of day, and dates as text; no state, no locks.
 *
 * One definition carries everything: the end of day of date D is the first
 * instant at which the local clock shows D's end of day or later.  So a
 * local time that a change of clocks skips is the instant of the change, and
 * one that comes twice is its first coming.  A date that the zone skipped
 * altogether (Pacific/Apia, 2011-12-30) has no end of day and is never
 * closed; the previous date of the one after it is the one before it.
 *
 * Instants grow with D, and no two existing dates share one, since no zone
 * has ever skipped more than a day.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "miscadmin.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "base/calendar.h"
#include "base/settings.h"

/* From the Unix epoch, which the zone library counts from. */
#define EPOCH_DAYS	(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)

/* No zone is further from UTC; zone data has a little more than a day. */
#define MAX_OFFSET	(2 * SECS_PER_DAY)

pg_tz *
cfp_calendar_zone(void)
{
	pg_tz	   *zone;

	if (cfp_timezone[0] == '\0')
		return session_timezone;

	zone = pg_tzset(cfp_timezone);
	if (zone == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" of cfp.timezone is not recognized",
						cfp_timezone),
				 errhint("See pg_timezone_names for those this server knows.")));
	return zone;
}

/* The date the local clock shows.  Throws 22008 for a time out of range. */
static DateADT
local_date(TimestampTz at, pg_tz *zone)
{
	pg_time_t	t;
	struct pg_tm *tm;
	int64		local;

	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	t = timestamptz_to_time_t(at);
	tm = pg_localtime(&t, zone);
	if (tm == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	local = t + tm->tm_gmtoff;
	if (local < 0)
		local -= SECS_PER_DAY - 1;
	return (DateADT) (local / SECS_PER_DAY - EPOCH_DAYS);
}

/*
 * The first instant at which the local clock shows the date and seconds
 * since midnight, or later.  Throws 22008 for one out of range.
 */
static TimestampTz
local_instant(DateADT date, int seconds, pg_tz *zone)
{
	pg_time_t	wanted = ((pg_time_t) date + EPOCH_DAYS) * SECS_PER_DAY + seconds;
	pg_time_t	t = wanted - MAX_OFFSET;
	TimestampTz result;

	/* Go through the periods of one offset until the clock gets there. */
	for (;;)
	{
		long int	offset;
		long int	next_offset;
		int			isdst;
		int			next_isdst;
		pg_time_t	boundary;
		int			found;

		found = pg_next_dst_boundary(&t, &offset, &isdst, &boundary,
									 &next_offset, &next_isdst, zone);
		if (found <= 0 || wanted - offset < boundary)
		{
			t = Max(t, wanted - offset);
			break;
		}
		t = boundary;
	}

	result = time_t_to_timestamptz(t);
	if (!IS_VALID_TIMESTAMP(result))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return result;
}

/* Did the date occur in the zone? */
static bool
date_exists(DateADT date, pg_tz *zone)
{
	return local_date(local_instant(date, 0, zone), zone) == date;
}

/* The last date whose end of day is at or before the instant. */
static DateADT
last_date(TimestampTz now, pg_tz *zone, int end_of_day)
{
	DateADT		date = local_date(now, zone) + 1;

	while (!date_exists(date, zone) ||
		   local_instant(date, end_of_day, zone) > now)
		date--;
	return date;
}

DateADT
cfp_calendar_next_date(DateADT date, pg_tz *zone)
{
	do
		date++;
	while (!date_exists(date, zone));
	return date;
}

TimestampTz
cfp_calendar_next(TimestampTz now, pg_tz *zone, int end_of_day)
{
	DateADT		date = cfp_calendar_next_date(last_date(now, zone, end_of_day), zone);

	return local_instant(date, end_of_day, zone);
}

TimestampTz
cfp_calendar_last(TimestampTz now, pg_tz *zone, int end_of_day)
{
	return local_instant(last_date(now, zone, end_of_day), end_of_day, zone);
}

DateADT
cfp_calendar_date(TimestampTz eod, pg_tz *zone, int end_of_day)
{
	DateADT		date = last_date(eod, zone, end_of_day);

	if (end_of_day < SECS_PER_DAY / 2)
	{
		do
			date--;
		while (!date_exists(date, zone));
	}
	return date;
}

TimestampTz
cfp_calendar_end_of(DateADT date, pg_tz *zone, int end_of_day)
{
	Assert(end_of_day >= 0 && end_of_day < SECS_PER_DAY);
	if (end_of_day < SECS_PER_DAY / 2)
		date = cfp_calendar_next_date(date, zone);
	return local_instant(date, end_of_day, zone);
}

char *
cfp_date_text(DateADT date)
{
	struct pg_tm tm;
	char		text[MAXDATELEN + 1];

	j2date(date + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	EncodeDateOnly(&tm, USE_ISO_DATES, text);
	return pstrdup(text);
}

bool
cfp_parse_date(const char *text, DateADT *date)
{
	int			year;
	int			month;
	int			day;

	if (strlen(text) > MAXDATELEN ||
		sscanf(text, "%d-%d-%d", &year, &month, &day) != 3 ||
		month < 1 || month > MONTHS_PER_YEAR || day < 1 || day > 31 ||
		!IS_VALID_JULIAN(year, month, day))
		return false;
	*date = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
	return strcmp(cfp_date_text(*date), text) == 0;
}
