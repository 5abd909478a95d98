-- The close of day: flush, fold, backup, a new directory. A date is closed when
-- its end of day has come, and once.
SELECT cfp_close_day();
-- So let the day end in three seconds. (The zone is one where it is afternoon:
-- an end of day before noon closes the date before.)
SELECT 'Etc/GMT' || to_char(extract(hour FROM now() AT TIME ZONE 'UTC') - 14, 'FMSG99') AS zone \gset
ALTER DATABASE demo SET cfp.timezone = :'zone';
SELECT to_char(clock_timestamp() AT TIME ZONE :'zone' + interval '3 s', 'HH24:MI:SS') AS soon \gset
ALTER DATABASE demo SET cfp.end_of_day = :'soon';
SELECT pg_reload_conf();
