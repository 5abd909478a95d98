-- Settings: what they are, and what is refused.
\getenv srcdir PG_ABS_SRCDIR
\set ECHO none
\i :srcdir/sql/include/start.psql
\set ECHO all

SELECT name, boot_val, unit, vartype, context, min_val, max_val, enumvals
FROM pg_settings WHERE name LIKE 'cfp.%' ORDER BY name;
SELECT name, short_desc, extra_desc FROM pg_settings WHERE name LIKE 'cfp.%' ORDER BY name;
SHOW cfp.cache_size;

-- end of day
SET cfp.end_of_day = '23:59:59';
SET cfp.end_of_day = '00:00';
SET cfp.end_of_day = '24:00';
SET cfp.end_of_day = '7:30';
SET cfp.end_of_day = '07:60';
SET cfp.end_of_day = '07:30:60';
SET cfp.end_of_day = '07:30:';
SET cfp.end_of_day = '07:30 pm';
SET cfp.end_of_day = '';
-- time zone
SET cfp.timezone = 'Europe/Berlin';
SET cfp.timezone = '';
SET cfp.timezone = 'Mars/Olympus';
-- numbers
SET cfp.batch_size = 0;
SET cfp.batch_size = 'many';
\set VERBOSITY sqlstate
SET cfp.flush_interval = '10ms';
\set VERBOSITY default
SET cfp.flush_interval = '2min';
SHOW cfp.flush_interval;
\set VERBOSITY sqlstate
SET cfp.max_wal_size = '1kB';
\set VERBOSITY default
SET cfp.retain_days = -1;
\set VERBOSITY sqlstate
SET cfp.min_free_space = '-1MB';
\set VERBOSITY default
SET cfp.wal_files = 'perhaps';
SET cfp.backup_history = 'weekly';
-- only at the start of the server
SET cfp.cache_size = '64MB';
SET cfp.base_dir = 'elsewhere';
-- there is no other
SET cfp.end_of_the_day = '00:00';

-- for a database, by a superuser
ALTER DATABASE regression SET cfp.end_of_day = '25:00';
ALTER DATABASE regression SET cfp.end_of_day = '17:30';
ALTER DATABASE regression RESET cfp.end_of_day;
CREATE ROLE cfp_settings;
SET ROLE cfp_settings;
SET cfp.end_of_day = '17:30';
SET cfp.flush_interval = '5s';
SET cfp.debug_waitpoint = 'x';
SET cfp.debug_release = 'x';
SET cfp.username = 'anybody';
SHOW cfp.username;
RESET cfp.username;
RESET ROLE;
DROP ROLE cfp_settings;

-- the next end of day: by the setting, in its zone
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SELECT cfp.cfp_next_end_of_day('2026-03-01 00:00:00+00'), cfp.cfp_next_end_of_day('2026-02-28 23:59:59.999999+00');
SET cfp.end_of_day = '17:30';
SELECT cfp.cfp_next_end_of_day('2026-03-01 17:29:59+00'), cfp.cfp_next_end_of_day('2026-03-01 17:30:00+00');
SET cfp.timezone = 'America/New_York';
SELECT cfp.cfp_next_end_of_day('2026-01-15 12:00:00+00'), cfp.cfp_next_end_of_day('2026-07-15 12:00:00+00');
-- a local time that does not exist, and one that exists twice
SET cfp.timezone = 'Europe/Berlin';
SET cfp.end_of_day = '02:30';
SELECT cfp.cfp_next_end_of_day('2026-03-28 12:00:00+00'), cfp.cfp_next_end_of_day('2026-03-29 12:00:00+00');
SELECT cfp.cfp_next_end_of_day('2026-10-24 12:00:00+00'), cfp.cfp_next_end_of_day('2026-10-25 00:30:00+00');
SELECT cfp.cfp_next_end_of_day(NULL);
SELECT cfp.cfp_next_end_of_day() > now() AS later;
