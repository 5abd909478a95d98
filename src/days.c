/*-------------------------------------------------------------------------
 *
 * days.c
 *		Which business dates have been closed: storage_days and what goes with it.
 *
 * Called by the close of day (close.c), in the worker; cfp_open_date() by
 * whatever works on the files of the day.
 *
 * A date whose close has begun has a row in storage_days, which is dumped and
 * restored; the row 'day' of cfp_state has the last one, also where the days
 * of a database merely begin.  The later of the two counts, so each date is
 * closed once and dates never go back.  The open date, whose close comes
 * next, is the first after it that the zone has.
 *
 * How far a close has come is in its row, so that whoever comes next can go
 * on with it: items_folded is set by the fold, backup_bytes by the backup,
 * finished at the end.  There is at most one row without `finished`, unless
 * more have been restored.
 *
 * The row 'dirty' of cfp_state counts the records flushed since the last
 * close.
 *
 *-------------------------------------------------------------------------
 */
#include "cfp.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "calendar.h"
#include "day_dir.h"
#include "day_files.h"
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
	.sql = "INSERT INTO @schema@.storage_days (date, started, records)"
	" VALUES ($1, $2, coalesce((SELECT counter FROM @schema@.cfp_state WHERE name = 'dirty'), 0))",
	.nargs = 2,
	.argtypes = {DATEOID, TIMESTAMPTZOID},
};

static CfpStatement skipped_insert = {
	.sql = "INSERT INTO @schema@.storage_days"
	" (date, started, finished, records, error) VALUES ($1, now(), now(), 0, $2)",
	.nargs = 2,
	.argtypes = {DATEOID, TEXTOID},
};

static CfpStatement records_reset = {
	.sql = "UPDATE @schema@.cfp_state SET counter = 0 WHERE name = 'dirty'",
};

static CfpStatement files_switch = {
	.sql = "UPDATE @schema@.cfp_state SET date = $1, file = 0, length = 0, counter = 0, at = now()"
	" WHERE name = 'files' AND date IS NOT NULL",
	.nargs = 1,
	.argtypes = {DATEOID},
};

static CfpStatement unfinished = {
	.sql = "SELECT date, items_folded IS NOT NULL, backup_bytes IS NOT NULL, error IS NOT NULL"
	" FROM @schema@.storage_days WHERE started IS NOT NULL AND finished IS NULL"
	" ORDER BY date LIMIT 1",
};

static CfpStatement folded_save = {
	.sql = "UPDATE @schema@.storage_days SET items_folded = $2, error = NULL WHERE date = $1",
	.nargs = 2,
	.argtypes = {DATEOID, INT8OID},
};

static CfpStatement backup_save = {
	.sql = "UPDATE @schema@.storage_days SET backup_bytes = $2, error = NULL WHERE date = $1",
	.nargs = 2,
	.argtypes = {DATEOID, INT8OID},
};

static CfpStatement error_save = {
	.sql = "UPDATE @schema@.storage_days SET error = $2"
	" WHERE date = $1 AND error IS DISTINCT FROM $2",
	.nargs = 2,
	.argtypes = {DATEOID, TEXTOID},
};

static CfpStatement finish = {
	.sql = "UPDATE @schema@.storage_days SET finished = clock_timestamp(),"
	" error = CASE WHEN $2 THEN error END WHERE date = $1",
	.nargs = 2,
	.argtypes = {DATEOID, BOOLOID},
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

DateADT
cfp_last_due(TimestampTz now)
{
	pg_tz	   *zone = cfp_calendar_zone();
	int			end_of_day = cfp_end_of_day_seconds();

	return cfp_calendar_date(cfp_calendar_last(now, zone, end_of_day), zone, end_of_day);
}

DateADT
cfp_open_date(void)
{
	DateADT		last;

	if (!read_last_closed(&last))
		last = cfp_last_due(GetCurrentTimestamp());
	return cfp_calendar_next_date(last, cfp_calendar_zone());
}

DateADT
cfp_days_begin(void)
{
	DateADT		last;

	cfp_worker_begin(true, false);
	if (!read_last_closed(&last))
	{
		Datum		value;

		last = cfp_last_due(GetCurrentTimestamp());
		value = DateADTGetDatum(last);
		cfp_statement_run(&day_save, &value, NULL);
	}
	cfp_worker_commit();
	return last;
}

void
cfp_days_switch(DateADT last, DateADT due, TimestampTz started)
{
	pg_tz	   *zone = cfp_calendar_zone();
	DateADT		open = cfp_calendar_next_date(last, zone);
	DateADT		now_last;
	Datum		values[2];

	cfp_worker_begin(true, false);

	/* A backup of the date must not survive what closed it. */
	cfp_set_local("synchronous_commit", "on");

	/* Rows may have been restored. */
	if (read_last_closed(&now_last) && now_last == last)
	{
		DateADT		date;

		values[0] = DateADTGetDatum(open);
		values[1] = TimestampTzGetDatum(started);
		cfp_statement_run(&day_insert, values, NULL);
		for (date = cfp_calendar_next_date(open, zone); date <= due;
			 date = cfp_calendar_next_date(date, zone))
		{
			values[0] = DateADTGetDatum(date);
			values[1] = CStringGetTextDatum(psprintf("skipped: its end of day passed while the one of %s was missed, too",
													 cfp_date_text(open)));
			cfp_statement_run(&skipped_insert, values, NULL);
		}
		values[0] = DateADTGetDatum(due);
		cfp_statement_run(&day_save, values, NULL);
		cfp_statement_run(&records_reset, NULL, NULL);
		/* What was not saved can only be taken off while the row names it. */
		if (cfp_day_files_as_saved())
		{
			values[0] = DateADTGetDatum(date);
			cfp_statement_run(&files_switch, values, NULL);
		}
	}
	cfp_worker_commit();
}

bool
cfp_days_unfinished(CfpDay *day)
{
	bool		found;
	bool		isnull;

	cfp_worker_begin(false, false);
	found = cfp_statement_run(&unfinished, NULL, NULL) > 0;
	if (found)
	{
		day->date = DatumGetDateADT(cfp_statement_value(1, &isnull));
		day->folded = DatumGetBool(cfp_statement_value(2, &isnull));
		day->backed_up = DatumGetBool(cfp_statement_value(3, &isnull));
		day->failed = DatumGetBool(cfp_statement_value(4, &isnull));
	}
	cfp_worker_commit();
	return found;
}

/* Run a statement on the row of a date, in a transaction of its own. */
static void
update_day(CfpStatement *statement, DateADT date, Datum value)
{
	Datum		values[2];

	values[0] = DateADTGetDatum(date);
	values[1] = value;
	cfp_worker_begin(false, false);
	cfp_statement_run(statement, values, NULL);
	cfp_worker_commit();
}

void
cfp_days_folded(DateADT date, int64 items)
{
	update_day(&folded_save, date, Int64GetDatum(items));
}

void
cfp_days_backed_up(DateADT date, int64 bytes)
{
	update_day(&backup_save, date, Int64GetDatum(bytes));
}

void
cfp_days_failed(DateADT date, const char *message)
{
	update_day(&error_save, date, CStringGetTextDatum(message));
}

void
cfp_days_finish(DateADT date, bool keep_error)
{
	update_day(&finish, date, BoolGetDatum(keep_error));
}
