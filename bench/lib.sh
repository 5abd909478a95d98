# What the measurements share: the cluster, running sides in turn, reporting.
# Sourced by bench/run after test/lib.sh.
# shellcheck shell=bash disable=SC2154,SC2034 # what other files set or use

bench=$cfp_top/bench
results=$bench/results

QUICK=${QUICK:-}
SEED=${SEED:-20251224}
if [ "$QUICK" ]; then
	rounds=${ROUNDS:-3} seconds=${SECONDS_A_ROUND:-2} million=100000
else
	rounds=${ROUNDS:-5} seconds=${SECONDS_A_ROUND:-10} million=1000000
fi

# Every record's data: about 150 bytes as jsonb, with two special fields.
data='{"row": 12, "block": "stalls left", "price": 42.5, "status": "held", "username": "box-office-3", "note": "aisle seat"}'

# ----------------------------------------------------------- the cluster ----

# A private tree, a cluster in it, the bench-only C function.
bench_start()
{
	work=$(make_work_dir)
	trap bench_stop EXIT
	trap 'exit 130' INT TERM
	mkdir -p "$results"

	test/install-tree "$work/tree"
	find_pg_config
	mkdir "$work/floor"
	cp "$bench"/floor/* "$work/floor"
	make -s -C "$work/floor" PG_CONFIG="$PG_CONFIG" >&2

	export PGHOST=$work PGPORT=5432 PGUSER=postgres PGAPPNAME=bench
	unset PGDATABASE PGOPTIONS PGSERVICE
	in_work initdb -D "$work/data" -U postgres -A trust -E UTF8 --locale=C >"$work/initdb.log"
	as_server_user tee -a "$work/data/postgresql.conf" >/dev/null <<-CONF
		shared_preload_libraries = 'cfp'
		listen_addresses = ''
		unix_socket_directories = '$work'
		shared_buffers = 1GB
		max_wal_size = 32GB
		checkpoint_timeout = 1h
		cfp.cache_size = 2GB
		jit = off
	CONF
	in_work pg_ctl -D "$work/data" -l "$work/log" -w start >/dev/null ||
		{ cat "$work/log" >&2; die "the cluster does not start"; }
}

bench_stop()
{
	local job

	for job in $(jobs -p); do
		kill "$job" 2>/dev/null || :
	done
	if [ -f "$work/data/postmaster.pid" ]; then
		in_work pg_ctl -D "$work/data" -w -m fast stop >/dev/null || :
	fi
	rm -rf "$work"
}

# A program of the private tree as the server's user.
in_work()
{
	local program=$1

	shift
	(cd / && as_server_user "$work/tree/bin/$program" "$@")
}

# Runs bench/NAME.sh with a database of its own; its text is kept.
bench_measure()
{
	(set -e; measure "$1") | tee "$results/$1.txt"
	return "${PIPESTATUS[0]}"
}

measure()
{
	db=$1
	raw=$results/$1.tsv
	: >"$raw"
	make_database "$db"
	printf '#### %s: PostgreSQL %s, %s cores, %s, seed %s%s\n' "$1" \
		"$(query "$db" 'SHOW server_version')" "$(nproc)" "$(date -u +%Y-%m-%dT%H:%MZ)" \
		"$SEED" "${QUICK:+, QUICK}"
	# shellcheck source=/dev/null
	. "$bench/$1.sh"
	drop_database "$db"
}

# A database with cfp and the plain tables; waits for the worker.
make_database()
{
	local tries=0

	"$work/tree/bin/createdb" "$1"
	query "$1" "CREATE SCHEMA cfp; CREATE EXTENSION cfp SCHEMA cfp;
		ALTER DATABASE $1 SET search_path = cfp, public"
	query_file "$1" "$bench/tables.sql"
	until query "$1" 'SELECT cfp_flush()' >/dev/null 2>"$work/no_worker"; do
		tries=$((tries + 1))
		[ $tries -lt 60 ] || { cat "$work/no_worker" >&2; die "no worker in database $1"; }
		sleep 0.5
	done
}

drop_database()
{
	"$work/tree/bin/dropdb" "$1"
}

# ------------------------------------------------------------ statements ----

# query DB SQL: the result, unaligned.
query()
{
	"$work/tree/bin/psql" -XqAt -v ON_ERROR_STOP=1 -d "$1" -c "$2"
}

# query_file DB FILE [psql arguments]
query_file()
{
	local db=$1 file=$2

	shift 2
	"$work/tree/bin/psql" -XqAt -v ON_ERROR_STOP=1 -d "$db" -v data="$data" "$@" -f "$file"
}

# timed DB PREPARATION SQL ...: milliseconds of each SQL, a line each, in one
# session that ran PREPARATION before.
timed()
{
	local db=$1 preparation=$2 statement
	local -a arguments

	shift 2
	arguments=(-c "$preparation" -c '\timing on')
	for statement; do
		arguments+=(-c "$statement")
	done
	"$work/tree/bin/psql" -XqAt -v ON_ERROR_STOP=1 -d "$db" "${arguments[@]}" |
		sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p'
}

# clients DB SCRIPT N [pgbench arguments]: transactions a second of N clients
# with bench/pgbench/SCRIPT.sql for $seconds.  Each call has another seed,
# which depends on SEED and the round only, so that all sides get the same.
clients()
{
	local db=$1 script=$2 n=$3 out

	shift 3
	out=$("$work/tree/bin/pgbench" -n -M prepared -c "$n" -j 2 -T "$seconds" \
		--random-seed=$((SEED + round)) -f "$bench/pgbench/$script.sql" \
		-D data="$data" "$@" "$db" 2>&1) ||
		{ printf '%s\n' "$out" >&2; return 1; }
	printf '%s\n' "$out" | sed -n 's/^tps = \([0-9.]*\).*/\1/p'
}

# Writes out what the sides before have left, so that none pays for another.
settle()
{
	query "$1" 'SELECT cfp_flush()' >/dev/null
	query "$1" 'CHECKPOINT'
}

# How many bytes a stored record has, so that sides of the same size have it.
row_size()
{
	query "$1" 'SELECT round(avg(pg_column_size(h.*))) FROM (SELECT * FROM storage_history LIMIT 10000) h'
}

# --------------------------------------------------------------- reports ----

# section TITLE UNIT: opens a table; sides come in the order of their samples.
section()
{
	title=$1 unit=$2
	sides=()
	unset samples
	declare -gA samples=()
}

# sample SIDE VALUE
sample()
{
	[ "$2" ] || die "no measurement of $1"
	[ "${samples[$1]-}" ] || sides+=("$1")
	samples[$1]+=" $2"
	printf '%s\t%s\t%s\t%s\n' "$title" "$1" "$2" "$unit" >>"$raw"
}

# middle SIDE: its median, least and most.
middle()
{
	[ "${samples[$1]-}" ] || die "no side \"$1\""
	tr ' ' '\n' <<<"${samples[$1]# }" | sort -g | awk '
		{ v[NR] = $1 }
		END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2, v[1], v[NR] }'
}

# Prints the section's table.
table()
{
	local side

	printf '\n== %s\n' "$title" | tee -a "$work/verdicts.$db"
	printf '   %-42s %12s %12s %12s %3s  %s\n' side median least most n "$unit"
	for side in "${sides[@]}"; do
		middle "$side" | awk -v side="$side" -v n="$(wc -w <<<"${samples[$side]}")" '
			function show(x) { return sprintf(x < 1000 ? "%.2f" : "%.0f", x) }
			{ printf "   %-42s %12s %12s %12s %3d\n", side, show($1), show($2), show($3), n }'
	done
}

# ratio SIDE OTHER least|most TARGET: median of SIDE by median of OTHER.
ratio()
{
	verdict "$1 / $2" "$(middle "$1" | cut -d' ' -f1)" "$(middle "$2" | cut -d' ' -f1)" "${3:-}" "${4:-}"
}

# verdict LABEL A B [least|most TARGET]: prints A / B, with its target if any.
verdict()
{
	awk -v label="$1" -v a="$2" -v b="$3" -v bound="$4" -v target="$5" 'BEGIN {
		r = a / b
		if (bound == "") {
			printf "   %-58s %8.3f\n", label, r
			exit
		}
		met = bound == "least" ? r >= target : r <= target
		printf "   %-58s %8.3f   at %s %s: %s\n", label, r, bound, target, met ? "met" : "NOT MET"
	}' | tee -a "$work/verdicts.$db"
}

bench_summary()
{
	local name

	printf '\n#### all targets\n'
	for name in "${measurements[@]}"; do
		if [ -s "$work/verdicts.$name" ]; then
			cat "$work/verdicts.$name"
		fi
	done
}

# ------------------------------------------------------------------ data ----

# One collection of $million items, "big".
store_big_collection()
{
	query "$1" "
		SELECT count(cfp_store('bench', '$data'::jsonb, (1000000 + g)::text, 'big', g::bigint))
		  FROM generate_series(1, $million) g" >/dev/null
}
