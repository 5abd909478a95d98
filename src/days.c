/*-------------------------------------------------------------------------
 *
 * days.c
 *		Which business dates have been closed.
 *
 * Called by the worker only.  A closed date has a row in storage_days, which
 * is dumped and restored; the row 'day' of cfp_state has the last one, also
 * where the days of a database merely begin.  The later of the two counts,
 * so each date is closed once and dates never go back.
 *
 * The row 'dirty' of cfp_state counts the records flushed since the last
 * close.
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "calendar.h"
#include "settings.h"
#include "worker.h"

static CfpStatement last_closed = {
	.sql = "SELECT greatest((SELECT max(date) FROM @schema@.storage_days),"
	" (SELECT date FROM @schema@.cfp_state WHERE name = 'day'))",
};

static CfpStatement day_save = {
	.sql = "INSERT INTO @schema@.cfp_state (name, date, at) VALUES ('day', $1, now())"
	" ON CONFLICT (name) DO UPDATE SET date = excluded.date, at = excluded.at",
	.nargs = 1,
	.argtypes = {DATEOID},
};

static CfpStatement day_insert = {
	.sql = "INSERT INTO @schema@.storage_days (date, started, finished, records, items_folded)"
	" VALUES ($1, $2, clock_timestamp(),"
	" coalesce((SELECT counter FROM @schema@.cfp_state WHERE name = 'dirty'), 0), $3)",
	.nargs = 3,
	.argtypes = {DATEOID, TIMESTAMPTZOID, INT8OID},
};

static CfpStatement records_reset = {
	.sql = "UPDATE @schema@.cfp_state SET counter = 0 WHERE name = 'dirty'",
};

/* In the caller's transaction. */
static bool
read_last_closed(DateADT *date)
{
	bool		isnull;
	Datum		value;

	cfp_statement_run(&last_closed, NULL, NULL);
	value = cfp_statement_value(1, &isnull);
	if (!isnull)
		*date = DatumGetDateADT(value);
	return !isnull;
}

bool
cfp_last_closed(DateADT *date)
{
	bool		found;

	cfp_worker_begin(false, false);
	found = read_last_closed(date);
	cfp_worker_commit();
	return found;
}

/* The last date whose end of day has come. */
static DateADT
last_due(void)
{
	pg_tz	   *zone = cfp_calendar_zone();
	int			end_of_day = cfp_end_of_day_seconds();

	return cfp_calendar_date(cfp_calendar_last(GetCurrentTimestamp(), zone, end_of_day),
							 zone, end_of_day);
}

DateADT
cfp_open_date(void)
{
	DateADT		last;

	if (!read_last_closed(&last))
		last = last_due();
	return cfp_calendar_next_date(last, cfp_calendar_zone());
}

void
cfp_days_begin(DateADT date)
{
	Datum		value = DateADTGetDatum(date);

	cfp_worker_begin(false, false);
	cfp_statement_run(&day_save, &value, NULL);
	cfp_worker_commit();
}

void
cfp_days_close(DateADT date, TimestampTz started, int64 items_folded)
{
	DateADT		last;
	Datum		values[3];

	cfp_worker_begin(true, false);
	if (!read_last_closed(&last) || last < date)
	{
		values[0] = DateADTGetDatum(date);
		values[1] = TimestampTzGetDatum(started);
		values[2] = Int64GetDatum(items_folded);
		cfp_statement_run(&day_insert, values, NULL);
		cfp_statement_run(&day_save, values, NULL);
		cfp_statement_run(&records_reset, NULL, NULL);
	}
	cfp_worker_commit();
}
