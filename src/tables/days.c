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
 * cfp_state is not dumped.  Without a row 'day' the days begin, with the date
 * that is open by the clock: rows that a restore has brought are of another
 * database's days, and close nothing here.  The row 'begin' keeps when that
 * was, and the last date before.
 *
 * How far a close has come is in its row, so that whoever comes next can go
 * on with it: items_folded is set by the fold, backup_bytes by the backup,
 * finished at the end.  There is at most one row without `finished`, unless
 * more have been restored: those of before the beginning are finished as they
 * are.
 *
 * The row 'dirty' of cfp_state counts the records flushed since the last
 * close.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/calendar.h"
#include "base/settings.h"
#include "base/transcode.h"
#include "tables/days.h"
#include "tables/state.h"
#include "tables/statement.h"

static CfpStatement last_day = {
	.table = "storage_days",
	.sql = "SELECT max(date) FROM @schema@.storage_days",
};

static CfpStatement restored_finish = {
	.table = "storage_days",
	.sql = "UPDATE @schema@.storage_days SET finished = now(),"
	" error = 'restored: its close had begun in the database that was dumped'"
	" WHERE date <= $1 AND started < $2 AND finished IS NULL",
	.nargs = 2,
	.argtypes = {DATEOID, TIMESTAMPTZOID},
};

static CfpStatement day_insert = {
	.table = "storage_days",
	.sql = "INSERT INTO @schema@.storage_days (date, started, records) VALUES ($1, $2, $3)",
	.nargs = 3,
	.argtypes = {DATEOID, TIMESTAMPTZOID, INT8OID},
};

static CfpStatement skipped_insert = {
	.table = "storage_days",
	.sql = "INSERT INTO @schema@.storage_days"
	" (date, started, finished, records, error) VALUES ($1, now(), now(), 0, $2)",
	.nargs = 2,
	.argtypes = {DATEOID, TEXTOID},
};

static CfpStatement unfinished = {
	.table = "storage_days",
	.sql = "SELECT date, items_folded IS NOT NULL, backup_bytes IS NOT NULL"
	" FROM @schema@.storage_days WHERE started IS NOT NULL AND finished IS NULL"
	" ORDER BY date LIMIT 1",
};

static CfpStatement folded_save = {
	.table = "storage_days",
	.sql = "UPDATE @schema@.storage_days SET items_folded = $2, error = NULL WHERE date = $1",
	.nargs = 2,
	.argtypes = {DATEOID, INT8OID},
};

static CfpStatement backup_save = {
	.table = "storage_days",
	.sql = "UPDATE @schema@.storage_days SET backup_bytes = $2, error = NULL WHERE date = $1",
	.nargs = 2,
	.argtypes = {DATEOID, INT8OID},
};

static CfpStatement error_save = {
	.table = "storage_days",
	.sql = "UPDATE @schema@.storage_days SET error = $2"
	" WHERE date = $1 AND error IS DISTINCT FROM $2",
	.nargs = 2,
	.argtypes = {DATEOID, TEXTOID},
};

static CfpStatement finish = {
	.table = "storage_days",
	.sql = "UPDATE @schema@.storage_days SET finished = clock_timestamp(),"
	" error = CASE WHEN $2 THEN error END WHERE date = $1",
	.nargs = 2,
	.argtypes = {DATEOID, BOOLOID},
};

DateADT
cfp_last_due(TimestampTz now)
{
	pg_tz	   *zone = cfp_calendar_zone();
	int			end_of_day = cfp_end_of_day_seconds();

	return cfp_calendar_date(cfp_calendar_last(now, zone, end_of_day), zone, end_of_day);
}

/*
 * In the caller's transaction: the later of what storage_days and the row 'day'
 * have.  *begun: false when the days only begin; then no date before the open
 * one by the clock is closed any more.
 */
static DateADT
read_last_closed(bool *begun)
{
	DateADT		last;
	Datum		value;
	bool		isnull;

	*begun = cfp_state_read_day(&last);
	cfp_statement_run(&last_day, NULL, NULL);
	value = cfp_statement_value(1, &isnull);
	if (!isnull)
		last = Max(last, DatumGetDateADT(value));
	if (!*begun)
		last = Max(last, cfp_last_due(GetCurrentTimestamp()));
	return last;
}

DateADT
cfp_open_date(void)
{
	bool		begun;

	return cfp_calendar_next_date(read_last_closed(&begun), cfp_calendar_zone());
}

DateADT
cfp_days_begin(void)
{
	DateADT		last;
	bool		begun;

	cfp_worker_begin(true, false);
	last = read_last_closed(&begun);
	if (!begun)
	{
		cfp_state_save_day(last);
		cfp_state_save_begin(last);
	}
	cfp_worker_commit();
	return last;
}

void
cfp_days_switch(DateADT last, DateADT due, TimestampTz started, bool files_as_saved)
{
	pg_tz	   *zone = cfp_calendar_zone();
	DateADT		open = cfp_calendar_next_date(last, zone);
	Datum		values[3];
	bool		begun;

	Assert(last < due);

	cfp_worker_begin(true, false);

	/* A backup of the date must not survive what closed it. */
	cfp_set_local("synchronous_commit", "on");

	/* Rows may have been restored. */
	if (read_last_closed(&begun) == last && begun)
	{
		DateADT		date;

		values[0] = DateADTGetDatum(open);
		values[1] = TimestampTzGetDatum(started);
		values[2] = Int64GetDatum(cfp_state_records());
		cfp_statement_run(&day_insert, values, NULL);
		for (date = cfp_calendar_next_date(open, zone); date <= due;
			 date = cfp_calendar_next_date(date, zone))
		{
			values[0] = DateADTGetDatum(date);
			values[1] = CStringGetTextDatum(psprintf("skipped: its end of day passed while the one of %s was missed, too",
													 cfp_date_text(open)));
			cfp_statement_run(&skipped_insert, values, NULL);
		}
		cfp_state_save_day(due);
		cfp_state_reset_records();
		/* What was not saved can only be taken off while the row names it. */
		if (files_as_saved)
			cfp_state_switch_files(date);
	}
	cfp_worker_commit();
}

/* Of the days of before the beginning none is closed any more. */
static void
finish_restored(void)
{
	Datum		values[2];
	DateADT		date;
	TimestampTz at;

	if (!cfp_state_read_begin(&date, &at))
		return;
	values[0] = DateADTGetDatum(date);
	values[1] = TimestampTzGetDatum(at);
	cfp_statement_run(&restored_finish, values, NULL);
}

bool
cfp_days_unfinished(CfpDay *day)
{
	bool		found;
	bool		isnull;

	cfp_worker_begin(false, false);
	finish_restored();
	found = cfp_statement_run(&unfinished, NULL, NULL) > 0;
	if (found)
	{
		day->date = DatumGetDateADT(cfp_statement_value(1, &isnull));
		day->folded = DatumGetBool(cfp_statement_value(2, &isnull));
		day->backed_up = DatumGetBool(cfp_statement_value(3, &isnull));
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

/*
 * The message may name a file, whose name need not be in the database's
 * encoding; storage_days is dumped.
 */
void
cfp_days_failed(DateADT date, const char *message)
{
	update_day(&error_save, date, CStringGetTextDatum(cfp_valid_text(message)));
}

void
cfp_days_finish(DateADT date, bool keep_error)
{
	update_day(&finish, date, BoolGetDatum(keep_error));
}
