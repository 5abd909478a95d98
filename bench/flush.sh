# shellcheck shell=bash disable=SC2154,SC2034 # what lib.sh sets or uses
# The flush's backlog under a sustained store load of 8 clients: records that
# are committed and not yet flushed, sampled twice a second.  It must not grow:
# its slope over the run stays below a hundredth of the store rate.

if [ "$QUICK" ]; then
	seconds=6
else
	seconds=60
fi
round=1
query_file "$db" "$bench/fill.sql"

for sync in on off; do
	settle "$db"
	PGOPTIONS="-c synchronous_commit=$sync" latency=$work/latency_of_stores clients "$db" cfp_store 8 >"$work/rate" &
	load=$!
	section "flush: backlog in $seconds s of stores by 8 clients, synchronous_commit = $sync" 'records'
	start=$EPOCHREALTIME
	echo "\"cfp, synchronous_commit = $sync\"" >"$work/backlog_$sync"
	while kill -0 $load 2>/dev/null; do
		backlog=$(query "$db" 'SELECT unflushed_records FROM cfp_stat')
		sample backlog "$backlog" -
		awk -v start="$start" -v now="$EPOCHREALTIME" -v backlog="$backlog" \
			'BEGIN { print now - start, backlog }' >>"$work/backlog_$sync"
		sleep 0.5
	done
	wait $load
	table
	read -r rate <"$work/rate"
	# the least-squares slope, without the start and what came after the end
	slope=$(awk -v seconds=$seconds '
		NR > 1 && $1 > seconds / 10 && $1 < seconds {
			x = $1; y = $2; n++; sx += x; sy += y; sxx += x * x; sxy += x * y
		}
		END { print (n * sxy - sx * sy) / (n * sxx - sx * sx) }' "$work/backlog_$sync")
	read -r p50 p99 p999 <"$work/latency_of_stores"
	note "$(printf 'stores a second %.0f (p50 %s, p99 %s, p99.9 %s ms), the backlog grows by %.0f records a second' \
		"$rate" "$p50" "$p99" "$p999" "$slope")"
	verdict 'growth of the backlog / stores' "$slope" "$rate" most 0.01
done

{ cat "$work/backlog_on"; printf '\n\n'; cat "$work/backlog_off"; } >"$work/backlog"
lines backlog "Records not flushed yet, under stores by 8 clients" seconds records "$work/backlog" 'set xrange [0:*]'
