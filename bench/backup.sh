# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets or uses
# The backup of both tables beside COPY of both with the same compression, and
# restoring them beside COPY of the same files into tables with the same
# indexes.  Each side writes its files through to the disk.  A backup lasts from
# the beginning of the close to the time in its manifest, its last step.

store_big_collection "$db"
query "$db" 'SELECT cfp_fold()' >/dev/null
query "$db" 'VACUUM ANALYZE storage_history, storage_latest'
query "$db" "CREATE TABLE public.copy_history (LIKE storage_history INCLUDING ALL);
	CREATE TABLE public.copy_latest (LIKE storage_latest INCLUDING ALL)"

section "backup: history and latest of $million rows each" 'ms'
for ((round = 1; round <= rounds; round++)); do
	settle "$db"
	# nothing to fold: the backup, and a few statements
	close_day
	sample 'backup' "$(query "$db" "
		SELECT 1000 * extract(epoch FROM (pg_read_file(m)::json ->> 'finished')::timestamptz - started)
		  FROM storage_days, concat('cfp/', (SELECT oid FROM pg_database WHERE datname = current_database()),
				'_$db/$closed_date/manifest.json') m
		 WHERE date = '$closed_date'")"
	settle "$db"
	times=$(timed "$db" 'SELECT 1' \
		"COPY storage_history TO PROGRAM 'zstd -1 -T1 -q -f -o $work/history.zst && sync $work/history.zst' (FORMAT binary)" \
		"COPY storage_latest TO PROGRAM 'zstd -1 -T1 -q -f -o $work/latest.zst && sync $work/latest.zst' (FORMAT binary)")
	sample 'COPY TO PROGRAM zstd -1 -T1' "$(awk '{ s += $1 } END { print s }' <<<"$times")"
done
table
printf '   bytes: backup %s, COPY %s\n' \
	"$(query "$db" "SELECT backup_bytes FROM storage_days WHERE date = '$closed_date'")" \
	"$(as_server_user cat "$work/history.zst" "$work/latest.zst" | wc -c)"
verdict 'speed of backup / speed of COPY TO' "$(middle 'COPY TO PROGRAM zstd -1 -T1' | cut -d' ' -f1)" \
	"$(middle backup | cut -d' ' -f1)" least 0.8

section "restore: history and latest of $million rows each" 'ms'
for ((round = 1; round <= rounds; round++)); do
	settle "$db"
	sample 'cfp_restore_backup' "$(timed "$db" 'SELECT 1' "SELECT cfp_restore_backup('$closed_date')")"
	sample 'the same, discard_newer' "$(timed "$db" 'SELECT 1' "SELECT cfp_restore_backup('$closed_date', true)")"
	settle "$db"
	times=$(timed "$db" 'TRUNCATE copy_history, copy_latest' \
		"COPY copy_history FROM PROGRAM 'zstd -dc $work/history.zst' (FORMAT binary)" \
		"COPY copy_latest FROM PROGRAM 'zstd -dc $work/latest.zst' (FORMAT binary)")
	sample 'COPY FROM PROGRAM zstd' "$(awk '{ s += $1 } END { print s }' <<<"$times")"
done
table
verdict 'speed of restore / speed of COPY FROM' "$(middle 'COPY FROM PROGRAM zstd' | cut -d' ' -f1)" \
	"$(middle cfp_restore_backup | cut -d' ' -f1)" '' ''
