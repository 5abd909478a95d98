# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets or uses
# From the start of the server to the answer of the first get, with a history
# of a million rows in collections of 100: after a clean stop and after a
# crash, beside the look-up by primary key, and Redis that reads its
# append-only file of as many records.

# first SIDE SQL: milliseconds from starting the server to the answer.
first()
{
	local start=$EPOCHREALTIME

	in_work pg_ctl -D "$work/data" -l "$work/log" -w start >/dev/null
	[ "$(query "$db" "$2")" ] || die 'there is no such item'
	since "$start" "$1"
}

since()
{
	sample "$2" "$(awk -v start="$1" -v now="$EPOCHREALTIME" 'BEGIN { print (now - start) * 1000 }')"
}

get="SELECT cfp_get('bench', '1004711', '10047')"
select="SELECT data FROM upsert_latest WHERE key = 'bench' AND collection_name = '10047' AND item_name = '1004711'"
fill
query "$db" "
	SELECT count(cfp_store('bench', '$data'::jsonb, i::text, (i / 100)::text, i::bigint))
	  FROM generate_series(1000000, 1000000 + $million - 1) i" >/dev/null
query "$db" 'SELECT cfp_fold()' >/dev/null
redis_start everysec
redis_items everysec "$million"

section "restart: until the first get, $million rows" ms -
for ((round = 1; round <= rounds; round++)); do
	settle "$db"
	in_work pg_ctl -D "$work/data" -w -m fast stop >/dev/null
	first 'cfp_get, clean stop' "$get"
	in_work pg_ctl -D "$work/data" -w -m fast stop >/dev/null
	first 'SELECT data by primary key, clean stop' "$select"
	query "$db" "
		SELECT count(cfp_store('bench', '$data'::jsonb, i::text, (i / 100)::text, i::bigint))
		  FROM generate_series(1000000, 1009999) i" >/dev/null
	in_work pg_ctl -D "$work/data" -w -m immediate stop >/dev/null
	first 'cfp_get, crash after 10,000 stores' "$get"
	redis everysec SHUTDOWN NOSAVE
	start=$EPOCHREALTIME
	redis_start everysec
	[ "$(redis everysec GET i:000000004711)" ] || die 'Redis has lost an item'
	since "$start" 'Redis GET'
done
table
ratio 'cfp_get, clean stop' 'SELECT data by primary key, clean stop'
ratio 'cfp_get, clean stop' 'Redis GET'
