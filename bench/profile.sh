# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# Where the time of a get and a store goes: samples by perf, of a backend and
# of the whole machine under 8 clients, and instructions a call by callgrind in a
# single-user server.  What the machine has no tool for is left out.

fill
query "$db" 'SELECT cfp_fold()' >/dev/null
get="cfp_get('bench', (1000000 + g % 10000)::text, ((1000000 + g % 10000) / 100)::text)"
store="cfp_store('bench', '$data'::jsonb, (1000000 + g % 10000)::text, ((1000000 + g % 10000) / 100)::text, g::bigint)"

# samples_of TITLE SQL: of a backend that runs SQL, for 5 seconds.
samples_of()
{
	local pid=

	PGAPPNAME=profiled PGOPTIONS='-c synchronous_commit=off' "$work/tree/bin/psql" -XqAt -d "$db" -c "$2" >/dev/null 2>&1 &
	until [ "$pid" ]; do
		pid=$(query "$db" "SELECT pid FROM pg_stat_activity
			WHERE application_name = 'profiled' AND state = 'active'")
	done
	printf '\n== %s\n' "$1"
	if perf record -q -e cpu-clock -F 997 -o "$work/perf.data" -p "$pid" -- sleep 5 2>"$work/perf.log"; then
		perf report -i "$work/perf.data" --stdio -q -F overhead,dso,symbol 2>/dev/null |
			awk 'NF && n++ < 30'
	else
		cat "$work/perf.log"
	fi
	query "$db" "SELECT pg_terminate_backend($pid)" >/dev/null
	wait
}

# core_time SIDE SCRIPT [pgbench arguments]: what a transaction of 8 clients
# takes of the cores, in microseconds, by where it is spent.
core_time()
{
	# shellcheck disable=SC2034 # round is for clients()
	local side=$1 tps round=1 seconds=6

	settle "$db"
	{ sleep 0.5; perf record -q -a -e cpu-clock -F 1999 -o "$work/perf.data" -- sleep $((seconds - 1)) 2>"$work/perf.log"; } &
	tps=$(clients "$db" "$2" 8 "${@:3}")
	wait $!
	perf report -i "$work/perf.data" --stdio -q -F sample,comm,dso --sort comm,dso 2>/dev/null |
		awk -v side="$side" -v n="$tps" -v seconds=$((seconds - 1)) '
			$2 ~ /^(swapper|perf|sleep)/ || !NF { next }
			{ where = $2 == "pgbench" ? "pgbench" : $2 != "postgres" ? "others" : /kernel/ ? "kernel" : \
				/ cfp\.so/ ? "cfp" : / postgres +postgres/ ? "server" : "libraries"
			  spent[where] += $1; all += $1 }
			END {
				f = 1e6 / 1999 / (n * seconds)
				printf "   %-28s %7.2f %9.2f %8.2f %8.2f %10.2f %7.2f %8.2f\n", side, all * f, spent["pgbench"] * f,
					spent["kernel"] * f, spent["server"] * f, spent["libraries"] * f, spent["cfp"] * f, spent["others"] * f
			}'
}

# instructions_of FILE [callgrind options]: of a single-user server that runs
# FILE.  Starts from everything folded and vacuumed, so that all runs load the
# same.
instructions_of()
{
	local file=$1

	shift
	in_work pg_ctl -D "$work/data" -l "$work/log" -w start >/dev/null
	until query "$db" 'SELECT cfp_fold()' >/dev/null 2>&1; do
		sleep 0.2
	done
	query "$db" 'VACUUM'
	in_work pg_ctl -D "$work/data" -w -m fast stop >/dev/null
	(cd / && as_server_user valgrind --tool=callgrind --callgrind-out-file="$work/callgrind.out" "$@" \
		"$work/tree/bin/postgres" --single -F -c shared_buffers=256MB -c cfp.cache_size=256MB \
		-c search_path=cfp,public -D "$work/data" "$db") <"$file" >/dev/null 2>"$work/callgrind.log"
	if grep -E '(ERROR|FATAL|PANIC): ' "$work/callgrind.log" >&2; then
		return 1
	fi
	sed -n 's/.* Collected : //p' "$work/callgrind.log"
}

# write_loop SQL N: SQL's calls over N rows, in one statement, after loading.
write_loop()
{
	echo "SELECT count(cfp_warm('bench', c::text)) FROM generate_series(10000, 10099) c"
	echo "SELECT count($1) FROM generate_series(1, $2) g"
}

# write_statements SQL N: N statements, each a transaction.
write_statements()
{
	echo 'TRUNCATE plain_history'
	echo "SELECT count(cfp_warm('bench', c::text)) FROM generate_series(10000, 10099) c"
	for ((i = 1; i <= $2; i++)); do
		echo "${1//\$g/$i}"
	done
}

# instructions TITLE WRITER SQL FEW MANY [callgrind options]: a call's, as the
# difference of two runs, which leaves out all that does not grow with the
# calls.
instructions()
{
	local title=$1 writer=$2 sql=$3 n_few=$4 n_many=$5 few many

	shift 5
	"$writer" "$sql" "$n_few" >"$work/few.sql"
	"$writer" "$sql" "$n_many" >"$work/many.sql"
	few=$(instructions_of "$work/few.sql" "$@")
	many=$(instructions_of "$work/many.sql" "$@")
	awk -v title="$title" -v few="$few" -v many="$many" -v n=$((n_many - n_few)) \
		'BEGIN { printf "   %-58s %10.0f\n", title, (many - few) / n }'
}

# by_function NAME CALLS: where the instructions of the run before were spent, in
# each function itself and with all that it calls; prints those of the latter
# with 3 % or more, a call.
by_function()
{
	callgrind_annotate "$work/callgrind.out" >"$results/callgrind.$1.txt" 2>/dev/null
	callgrind_annotate --inclusive=yes "$work/callgrind.out" >"$results/callgrind.$1.inclusive.txt" 2>/dev/null
	sed -nE 's/^ *([0-9,]+) \( ?([0-9.]+)%\) +[^ ]*:([A-Za-z_][A-Za-z0-9_.]*) .*/\1 \2 \3/p' "$results/callgrind.$1.inclusive.txt" |
		awk -v n="$2" '{ gsub(",", "", $1) }
			$2 >= 3 && $3 !~ /^(main|Postgres.*Main|PortalRun|.*ExecutorRun|CommitTransactionCommand)$/ { printf "      %-55s %10.0f\n", $3, $1 / n }'
}

if command -v perf >/dev/null; then
	query "$db" "
		CREATE TABLE names AS SELECT 'bench' AS k, (i / 100)::text AS c, i::text AS i
		  FROM generate_series(1000000, 1009999) i"
	samples_of 'perf: cfp_get in a loop' '
		DO $$ BEGIN
			LOOP
				PERFORM count(cfp_get(k, i, c)) FROM names;
			END LOOP;
		END $$'
	samples_of 'perf: cfp_store, one a transaction, synchronous_commit = off' "
		DO \$\$ BEGIN
			FOR g IN 1 .. 1000000000 LOOP
				PERFORM $store;
				COMMIT;
			END LOOP;
		END \$\$"
	printf '\n== perf: core time of a transaction of 8 clients, microseconds\n'
	printf '   %-28s %7s %9s %8s %8s %10s %7s %8s\n' '' all pgbench kernel server libraries cfp others
	core_time 'SELECT a constant' constant
	core_time 'SELECT data by primary key' select_data
	core_time cfp_get cfp_get
	# in turn: both drift with the machine
	export PGOPTIONS='-c synchronous_commit=off'
	day_files off
	for ((base = 0; base < 3000000; base += 1000000)); do
		core_time INSERT insert -D base=$base -D n=0
		core_time 'cfp_store, no day files' cfp_store
	done
	day_files on
	unset PGOPTIONS
fi

if command -v valgrind >/dev/null; then
	in_work pg_ctl -D "$work/data" -w -m fast stop >/dev/null
	# the first start pays for what later ones find ready
	echo 'SELECT 1' >"$work/few.sql"
	instructions_of "$work/few.sql" >/dev/null
	printf '\n== callgrind: instructions a call\n'
	instructions 'cfp_get itself, cached' write_loop "$get" 1000 11000 --toggle-collect=cfp_get
	by_function get 11000
	instructions 'cfp_store itself, without the commit' write_loop "$store" 1000 11000 --toggle-collect=cfp_store_any
	by_function store_call 11000
	statement="SELECT cfp_store('bench', '$data', '1004711', '10047', \$g::bigint)"
	instructions 'SELECT cfp_store(), executing' write_statements "$statement" 100 1100 --toggle-collect=PortalRun
	instructions 'its commit' write_statements "$statement" 100 1100 --toggle-collect=CommitTransactionCommand
	by_function store_commit 1100
	insert="INSERT INTO plain_history (key, collection_name, item_name, data, value_int, timestamp, status, username, updated_at, version) VALUES ('bench', '10047', '1004711', '$data', \$g, now(), 'held', 'box-office-3', clock_timestamp(), \$g)"
	instructions 'INSERT of the same row, executing' write_statements "$insert" 100 1100 --toggle-collect=PortalRun
	instructions 'its commit' write_statements "$insert" 100 1100 --toggle-collect=CommitTransactionCommand
	instructions 'cfp_store in one transaction, its commit and the loop' write_loop "$store" 1000 11000
	instructions 'the loop and the names alone' write_loop \
		"(1000000 + g % 10000)::text || ((1000000 + g % 10000) / 100)::text" 1000 11000
	echo "by function: ${results#"$cfp_top/"}/callgrind.*.txt"
	in_work pg_ctl -D "$work/data" -l "$work/log" -w start >/dev/null
fi
