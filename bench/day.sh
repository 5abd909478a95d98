# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets or uses
# Closing a day whose records are flushed: 10,000 items to fold, then the
# backup of both tables; beside pg_dump of the tables of a user without cfp.

# The date closed last is open again.
open_day()
{
	local date

	date=$(query "$db" "UPDATE cfp_state SET date = date - 1 WHERE name = 'day' RETURNING date + 1")
	query "$db" 'DELETE FROM storage_days' >/dev/null
	as_server_user find "$work/data/cfp" -path "*_$db/$date/*" -name '*.json' -delete
}

store_big_collection "$db"
query "$db" 'SELECT cfp_fold()' >/dev/null
query "$db" 'VACUUM ANALYZE storage_history, storage_latest'
query "$db" 'INSERT INTO upsert_history SELECT * FROM storage_history;
	INSERT INTO upsert_latest SELECT * FROM storage_latest'
query "$db" 'VACUUM ANALYZE upsert_history, upsert_latest'

section "day: closing a day, $million rows in each table" ms
for ((round = 1; round <= rounds; round++)); do
	query "$db" "
		SELECT count(cfp_store('bench', '$data'::jsonb, (1000000 + g)::text, 'big', g::bigint))
		  FROM generate_series(1, 10000) g" >/dev/null
	settle "$db"
	open_day
	sample cfp_close_day "$(timed "$db" 'SELECT 1' 'SELECT cfp_close_day()')"
	[ "$(query "$db" "SELECT backup_bytes > 0 AND error IS NULL FROM storage_days WHERE finished IS NOT NULL")" = t ] ||
		die "the day was not closed: $(query "$db" 'TABLE storage_days')"
	settle "$db"
	start=$EPOCHREALTIME
	"$work/tree/bin/pg_dump" -Fc -Z1 -t upsert_history -t upsert_latest -f "$results/dump" "$db"
	sync "$results/dump"
	sample 'pg_dump -Fc -Z1' "$(awk -v start="$start" -v now="$EPOCHREALTIME" 'BEGIN { print (now - start) * 1000 }')"
done
table
note "bytes: backup $(query "$db" 'SELECT backup_bytes FROM storage_days'), pg_dump $(stat -c %s "$results/dump")"
rm -f "$results/dump"
ratio cfp_close_day 'pg_dump -Fc -Z1'
