/*-------------------------------------------------------------------------
 *
 * settings.c
 *		The settings cfp.*: names, ranges, checks.
 *
 * Called once by _PG_init, after those of waitpoint.c, since the prefix of the
 * names is then closed.  Bad values are refused here, when they are set,
 * so that every reader may trust the variables.  Settings that a worker
 * obeys can be made for a database by a superuser (ALTER DATABASE ... SET);
 * those of the shared memory and the files need a restart.
 *
 *-------------------------------------------------------------------------
 */
#include "base/names.h"
#include "base/settings.h"

#include <limits.h>

#include "miscadmin.h"
#include "pgtime.h"
#include "utils/guc.h"

int			cfp_cache_size = 128 * 1024;
char	   *cfp_username = "";
char	   *cfp_base_dir = "cfp";
char	   *cfp_end_of_day = "00:00";
char	   *cfp_timezone = "";
int			cfp_batch_size = 1000;
int			cfp_flush_interval = 30 * 1000;
int			cfp_max_wal_size = 10 * 1024;
int			cfp_retain_days = 5;
bool		cfp_wal_files = true;
int			cfp_min_free_space = 1024;
int			cfp_backup_history = CFP_BACKUP_AUTO;

static const struct config_enum_entry backup_history_options[] = {
	{"auto", CFP_BACKUP_AUTO, false},
	{"full", CFP_BACKUP_FULL, false},
	{"day", CFP_BACKUP_DAY, false},
	{"off", CFP_BACKUP_OFF, false},
	{NULL, 0, false}
};

/* Two digits up to max; moves *p behind them.  -1 when they are not there. */
static int
parse_two_digits(const char **p, int max)
{
	const char *s = *p;
	int			n;

	if (s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9')
		return -1;
	n = (s[0] - '0') * 10 + (s[1] - '0');
	*p += 2;
	return n <= max ? n : -1;
}

/* HH:MM or HH:MM:SS as seconds since midnight; -1 when it is neither. */
static int
parse_time_of_day(const char *s)
{
	int			hours,
				minutes,
				seconds = 0;

	if ((hours = parse_two_digits(&s, 23)) < 0 || *s++ != ':')
		return -1;
	if ((minutes = parse_two_digits(&s, 59)) < 0)
		return -1;
	if (*s == ':')
	{
		s++;
		if ((seconds = parse_two_digits(&s, 59)) < 0)
			return -1;
	}
	return *s == '\0' ? (hours * 60 + minutes) * 60 + seconds : -1;
}

int
cfp_end_of_day_seconds(void)
{
	return parse_time_of_day(cfp_end_of_day);
}

static bool
check_end_of_day(char **newval, void **extra, GucSource source)
{
	if (parse_time_of_day(*newval) >= 0)
		return true;
	GUC_check_errdetail("\"%s\" is not a time of day.", *newval);
	GUC_check_errhint("Write HH:MM or HH:MM:SS, from 00:00 to 23:59:59.");
	return false;
}

static bool
check_timezone(char **newval, void **extra, GucSource source)
{
	pg_tz	   *zone;

	if ((*newval)[0] == '\0')
		return true;
	zone = pg_tzset(*newval);
	if (zone != NULL && pg_tz_acceptable(zone))
		return true;
	GUC_check_errdetail("\"%s\" is not a time zone PostgreSQL can use.", *newval);
	GUC_check_errhint("Take a name from pg_timezone_names, or the empty string for the database's own TimeZone.");
	return false;
}

static bool
check_base_dir(char **newval, void **extra, GucSource source)
{
	if ((*newval)[0] == '\0')
	{
		GUC_check_errdetail("The name of the directory is empty.");
		GUC_check_errhint("Write an absolute path, or one relative to the data directory.");
		return false;
	}
	canonicalize_path(*newval);
	return true;
}

/* Settings of the postmaster: it alone can define them. */
static void
define_start_settings(void)
{
	DefineCustomIntVariable("cfp.cache_size",
							"Shared memory for cached collections.",
							"A cache too small makes reads and stores slower; it is never an error.",
							&cfp_cache_size,
							128 * 1024, 1024, 32 * 1024 * 1024,
							PGC_POSTMASTER, GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomStringVariable("cfp.base_dir",
							   "Directory of the day files and backups.",
							   "A relative path starts at the data directory.",
							   &cfp_base_dir,
							   "cfp",
							   PGC_POSTMASTER, GUC_SUPERUSER_ONLY,
							   check_base_dir, NULL, NULL);
}

/* Settings that the worker of a database obeys. */
static void
define_worker_settings(void)
{
	DefineCustomStringVariable("cfp.end_of_day",
							   "Local time at which a business day ends and is closed.",
							   "HH:MM or HH:MM:SS; an end of day before 12:00 closes the previous calendar date.",
							   &cfp_end_of_day,
							   "00:00",
							   PGC_SUSET, 0,
							   check_end_of_day, NULL, NULL);

	DefineCustomStringVariable("cfp.timezone",
							   "Time zone of cfp.end_of_day.",
							   "Empty: the TimeZone of the database.",
							   &cfp_timezone,
							   "",
							   PGC_SUSET, 0,
							   check_timezone, NULL, NULL);

	DefineCustomIntVariable("cfp.batch_size",
							"Number of committed records that make the worker flush at once.",
							NULL,
							&cfp_batch_size,
							1000, 1, 1000000,
							PGC_SUSET, 0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("cfp.flush_interval",
							"Longest time a committed record waits to be flushed.",
							NULL,
							&cfp_flush_interval,
							30 * 1000, 100, 24 * 60 * 60 * 1000,
							PGC_SUSET, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("cfp.max_wal_size",
							"Size at which a new day file is begun.",
							NULL,
							&cfp_max_wal_size,
							10 * 1024, 64, 1024 * 1024 * 1024,
							PGC_SUSET, GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomIntVariable("cfp.retain_days",
							"Number of business dates whose files are kept, the one being closed included.",
							"0 keeps all.",
							&cfp_retain_days,
							5, 0, 36500,
							PGC_SUSET, 0,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("cfp.wal_files",
							 "Write flushed records to day files.",
							 NULL,
							 &cfp_wal_files,
							 true,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("cfp.min_free_space",
							"Free space below which no day files and backups are written.",
							"Stores and reads go on; the files are completed when there is room again.",
							&cfp_min_free_space,
							1024, 0, INT_MAX,
							PGC_SUSET, GUC_UNIT_MB,
							NULL, NULL, NULL);

	DefineCustomEnumVariable("cfp.backup_history",
							 "What the backup of storage_history at the close of day holds.",
							 "auto: everything while it is small, then that day's records.",
							 &cfp_backup_history,
							 CFP_BACKUP_AUTO, backup_history_options,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
}

/* Settings of a session. */
static void
define_session_settings(void)
{
	DefineCustomStringVariable("cfp.username",
							   "User name of records stored without one.",
							   "Empty: none.",
							   &cfp_username,
							   "",
							   PGC_USERSET, 0,
							   NULL, NULL, NULL);
}

void
cfp_settings_init(void)
{
	define_worker_settings();
	define_session_settings();

	/*
	 * Loaded later (not preloaded), the prefix stays open, so that settings
	 * of the postmaster in postgresql.conf are not complained about.
	 */
	if (process_shared_preload_libraries_in_progress)
	{
		define_start_settings();
		MarkGUCPrefixReserved(CFP_EXTENSION_NAME);
	}
}
