# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets or uses
# Closing a day whose records are flushed: 10,000 items to fold, then the
# backup of both tables; beside pg_dump of the tables of a user without cfp.

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
	close_day
	sample 'close of the day' "$(query "$db" "
		SELECT 1000 * extract(epoch FROM finished - started) FROM storage_days WHERE date = '$closed_date'")"
	[ "$(query "$db" "SELECT items_folded FROM storage_days WHERE date = '$closed_date'")" = 10000 ] ||
		die "not all items were folded: $(query "$db" 'TABLE storage_days')"
	settle "$db"
	start=$EPOCHREALTIME
	in_work pg_dump -Fc -Z1 -t upsert_history -t upsert_latest -f "$work/dump" "$db"
	sync "$work/dump"
	sample 'pg_dump -Fc -Z1' "$(awk -v start="$start" -v now="$EPOCHREALTIME" 'BEGIN { print (now - start) * 1000 }')"
done
table
note "bytes: backup $(query "$db" 'SELECT backup_bytes FROM storage_days'), pg_dump $(stat -c %s "$work/dump")"
rm -f "$work/dump"
ratio 'close of the day' 'pg_dump -Fc -Z1'
