# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets or uses
# Rebuilding the history from day files beside COPY of the same rows, in the
# order they were stored, into the same table; it is emptied before each.  The
# time of cfp_rebuild_history_from_wal() includes that the items are in
# storage_dirty when it returns; after COPY the worker has that to do later.

store_big_collection "$db"
query "$db" 'SELECT cfp_fold()' >/dev/null
query "$db" 'VACUUM ANALYZE storage_latest'
date=$(query "$db" 'SELECT max(date) FROM cfp_wal_files')
[ "$(query "$db" "SELECT sum(records) FROM cfp_wal_files WHERE date = '$date'")" = "$million" ] ||
	die 'the day files have not all records'
query "$db" "COPY storage_history TO '$work/data/rows' (FORMAT binary)"

# The history empty, and nothing left to do by the worker.
empty_history()
{
	query "$db" 'TRUNCATE storage_history'
	query "$db" 'SELECT cfp_fold()' >/dev/null
	settle "$db"
}

section "rebuild: a history of $million rows" 'records a second'
for ((round = 1; round <= rounds; round++)); do
	empty_history
	sample 'COPY BINARY' "$(timed "$db" 'SELECT 1' "COPY storage_history FROM '$work/data/rows' (FORMAT binary)" |
		awk -v n="$million" '{ print n / $1 * 1000 }')"
	empty_history
	sample 'rebuild from day files' "$(timed "$db" 'SELECT 1' "SELECT cfp_rebuild_history_from_wal('$date')" |
		awk -v n="$million" '{ print n / $1 * 1000 }')"
	[ "$(query "$db" 'SELECT count(*) FROM storage_history')" = "$million" ] ||
		die 'the history is not whole'
	sample 'all there already' "$(timed "$db" 'SELECT 1' "SELECT cfp_rebuild_history_from_wal('$date')" |
		awk -v n="$million" '{ print n / $1 * 1000 }')"
done
table
ratio 'rebuild from day files' 'COPY BINARY' least 0.5

section "rebuild: latest of $million items" 'items a second'
for ((round = 1; round <= rounds; round++)); do
	query "$db" 'TRUNCATE storage_latest'
	settle "$db"
	sample 'rebuild from history' "$(timed "$db" 'SELECT 1' 'SELECT cfp_rebuild_latest_from_history()' |
		awk -v n="$million" '{ print n / $1 * 1000 }')"
	[ "$(query "$db" 'SELECT count(*) FROM storage_latest')" = "$million" ] ||
		die 'latest is not whole'
done
table
