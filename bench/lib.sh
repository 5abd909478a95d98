# What the measurements share: the cluster, running sides in turn, reporting.
# Sourced by bench/run after test/lib.sh.
# shellcheck shell=bash disable=SC2154,SC2034 # what other files set or use

bench=$cfp_top/bench

QUICK=${QUICK:-}
SEED=${SEED:-20251224}
if [ "$QUICK" ]; then
	rounds=${ROUNDS:-2} seconds=${SECONDS_A_ROUND:-1} million=100000
	client_counts=(8) growth_sizes=(10000 100000 1000000)
else
	rounds=${ROUNDS:-5} seconds=${SECONDS_A_ROUND:-10} million=1000000
	client_counts=(8 1 32) growth_sizes=(10000 100000 1000000 10000000)
fi

# Every record's data: about 150 bytes as jsonb, with two special fields.
data='{"row": 12, "block": "stalls left", "price": 42.5, "status": "held", "username": "box-office-3", "note": "aisle seat"}'

# ----------------------------------------------------------- the cluster ----

# Where results go: what README and docs show is a whole run of all.
# results_in KIND
results_in()
{
	results=$bench/results${1:+/$1}
	mkdir -p "$results"
}

# A private tree, a cluster in it, the bench-only C functions.
bench_start()
{
	work=$(make_work_dir)
	trap bench_stop EXIT
	trap 'exit 130' INT TERM

	test/install-tree "$work/tree"
	require_pg_config
	mkdir "$work/floor"
	cp "$bench"/floor/* "$work/floor"
	make -s -C "$work/floor" PG_CONFIG="$PG_CONFIG" >&2
	cc -O2 -Wall -Wextra -o "$work/sqlite" "$bench/sides/sqlite.c" -lsqlite3 -lpthread -lm
	cc -O2 -Wall -Wextra -o "$work/redis" "$bench/sides/redis.c" -lhiredis -lm
	# Debian's redis-server is this program under another name; the package
	# redis-server would start a service of its own.
	ln -s /usr/bin/redis-check-rdb "$work/redis-server"

	export PGHOST=$work PGPORT=5432 PGUSER=postgres PGAPPNAME=bench
	unset PGDATABASE PGOPTIONS PGSERVICE
	in_work initdb -D "$work/data" -U postgres -A trust -E UTF8 --locale=C >"$work/initdb.log"
	as_server_user tee -a "$work/data/postgresql.conf" >/dev/null <<-CONF
		shared_preload_libraries = 'cfp'
		listen_addresses = ''
		unix_socket_directories = '$work'
		shared_buffers = 1GB
		max_wal_size = 32GB
		max_worker_processes = 16
		checkpoint_timeout = 1h
		cfp.cache_size = 2GB
	CONF
	in_work pg_ctl -D "$work/data" -l "$work/log" -w start >/dev/null ||
		{ cat "$work/log" >&2; die "the cluster does not start"; }
}

bench_stop()
{
	local job

	redis_stop
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
	local status

	(set -e; measure "$1") | tee "$results/$1.txt"
	status=${PIPESTATUS[0]}
	redis_stop
	return "$status"
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

# A database with cfp, the plain tables and the floors; waits for the worker.
make_database()
{
	local tries=0

	"$work/tree/bin/createdb" "$1"
	query "$1" "CREATE SCHEMA cfp; CREATE EXTENSION cfp SCHEMA cfp;
		ALTER DATABASE $1 SET search_path = cfp, public"
	query_file "$1" "$bench/tables.sql"
	query_file "$1" "$bench/floor.sql" -v library="$work/floor/floor"
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

# day_files on|off: whether the worker writes them; waits for one that knows.
day_files()
{
	local before

	before=$(query "$db" 'SELECT worker_pid FROM cfp_stat')
	query "$db" "ALTER DATABASE $db SET cfp.wal_files = $1"
	query "$db" 'SELECT pg_reload_conf()' >/dev/null
	until [ "$(query "$db" "SELECT worker_pid <> $before AND worker_state = 'idle' FROM cfp_stat")" = t ]; do
		sleep 0.1
	done
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

# clients DB SCRIPTS N [pgbench arguments]: transactions a second of N clients
# for $seconds.  SCRIPTS are files bench/pgbench/NAME.sql, or absolute ones,
# each with @weight if one is wanted.  Each call has another seed, which
# depends on SEED and the round only, so that all sides get the same.  pgbench
# looks at the clock again after a command of its own only: without one at the
# end, a transaction whose answer is there at once seems to take no time.  What
# each transaction took is left for sample(), or in the file $latency.
clients()
{
	local db=$1 scripts=$2 n=$3 script file weight out
	local -a files=()

	shift 3
	for script in $scripts; do
		file=${script%@*} weight=${script#"$file"}
		[[ $file == /* ]] || file=$bench/pgbench/$file.sql
		{ cat "$file"; echo '\set answered 1'; } >"$work/script_${#files[@]}.sql"
		files+=(-f "$work/script_${#files[@]}.sql$weight")
	done
	out=$("$work/tree/bin/pgbench" -n -M prepared -c "$n" -j 2 -T "$seconds" \
		--random-seed=$((SEED + round)) "${files[@]}" -l --log-prefix="$work/log_of_clients" \
		-D data="$data" -D key=bench -D first=10000 -D last=10099 "$@" "$db" 2>&1) ||
		{ printf '%s\n' "$out" >&2; return 1; }
	cat "$work"/log_of_clients.* | percentiles >"${latency:-$work/latency}"
	rm -f "$work"/log_of_clients.*
	printf '%s\n' "$out" | sed -n 's/^tps = \([0-9.]*\).*/\1/p'
}

# p50, p99 and p99.9 in milliseconds, of pgbench's log of transactions: the
# least time that so many of them did not exceed.
percentiles()
{
	perl -ne '
		$n{(split)[2]}++; $all++;
		END {
			@wanted = (0.5, 0.99, 0.999);
			for $t (sort { $a <=> $b } keys %n) {
				$seen += $n{$t};
				while (@wanted && $seen >= $wanted[0] * $all) { push @found, $t / 1000; shift @wanted }
			}
			print "@found\n";
		}'
}

# driver PROGRAM ARGUMENT ...: the rate that a program of sides/ prints; its
# latencies are left for sample().
driver()
{
	local rate latency

	read -r rate latency < <("$work/$1" "${@:2}")
	[ "$rate" ] || return 1
	echo "$latency" >"$work/latency"
	echo "$rate"
}

# Writes out what the sides before have left, so that none pays for another.
settle()
{
	query "$1" 'SELECT cfp_flush()' >/dev/null
	query "$1" 'CHECKPOINT'
	sync
}

# How many bytes a stored record has, so that sides of the same size have it.
row_size()
{
	query "$1" 'SELECT round(avg(pg_column_size(h.*))) FROM (SELECT * FROM storage_history LIMIT 10000) h'
}

# --------------------------------------------------------------- reports ----

# section TITLE UNIT [DURABILITY]: opens a table; sides come in the order of
# their samples.
section()
{
	title=$1 unit=$2 durable=${3:-}
	sides=()
	unset samples latencies kept
	declare -gA samples=() latencies=() kept=()
	rm -f "$work/latency"
}

# What a commit is worth with the PGOPTIONS that sides have now.
durability()
{
	case ${PGOPTIONS:-} in
		*synchronous_commit=off*) echo 'not waited for, 0.6 s may be lost' ;;
		*) echo 'fsync at commit' ;;
	esac
}

# set_durability on|off: sides have this synchronous_commit; sets appendfsync and
# synchronous, what is worth the same in Redis and SQLite.
set_durability()
{
	export PGOPTIONS="-c synchronous_commit=$1"
	if [ "$1" = on ]; then
		appendfsync=always synchronous=full
	else
		appendfsync=everysec synchronous=normal
	fi
}

# sample SIDE VALUE [DURABILITY]: with the latencies that clients() left, if any.
sample()
{
	[ "$2" ] || die "no measurement of $1"
	[ "${samples[$1]-}" ] || sides+=("$1")
	samples[$1]+=" $2"
	kept[$1]=${3:-${durable:-$(durability)}}
	printf '%s\t%s\t%s\t%s' "$title" "$1" "$2" "$unit" >>"$raw"
	if [ -s "$work/latency" ]; then
		latencies[$1]+=$(<"$work/latency")$'\n'
		printf '\t%s' "$(tr ' ' '\t' <"$work/latency")" >>"$raw"
		rm -f "$work/latency"
	fi
	echo >>"$raw"
}

# middle SIDE: its median, least and most.
middle()
{
	[ "${samples[$1]-}" ] || die "no side \"$1\""
	tr ' ' '\n' <<<"${samples[$1]# }" | sort -g | awk '
		{ v[NR] = $1 }
		END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2, v[1], v[NR] }'
}

median()
{
	middle "$1" | cut -d' ' -f1
}

# middle_latency SIDE: medians of p50, p99 and p99.9, or nothing.
middle_latency()
{
	local column

	[ "${latencies[$1]-}" ] || return 0
	for column in 1 2 3; do
		printf '%s' "${latencies[$1]}" | cut -d' ' -f$column | sort -g | awk '
			{ v[NR] = $1 }
			END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
	done | xargs
}

# Prints the section's table, and adds it to the report.
table()
{
	local side

	printf '\n== %s\n' "$title" | tee -a "$work/verdicts.$db"
	printf '\n### %s\n\n| side | median, %s | least – most | rounds | of the first | p50 | p99 | p99.9 ms | durability |\n|---|--:|--:|--:|--:|--:|--:|--:|---|\n' \
		"$title" "$unit" >>"$work/report.$db"
	printf '   %-42s %12s %12s %12s %3s  %s\n' side median least most n "$unit"
	for side in "${sides[@]}"; do
		echo "$(middle "$side") $(median "${sides[0]}") $(wc -w <<<"${samples[$side]}") $(middle_latency "$side")" |
			awk -v side="$side" -v kept="${kept[$side]}" -v report="$work/report.$db" '
			function show(x) { return sprintf(x < 10 ? "%.3f" : x < 1000 ? "%.2f" : "%.0f", x) }
			{
				printf "   %-42s %12s %12s %12s %3d", side, show($1), show($2), show($3), $5
				if (NF > 5) {
					for (i = 6; i <= 8; i++)
						$i = sprintf("%.3f", $i)
					printf "   p50 %s p99 %s p99.9 %s ms", $6, $7, $8
				}
				printf "\n"
				printf "| %s | %s | %s – %s | %d | %s | %s | %s | %s | %s |\n", side, show($1), show($2), show($3), $5,
					$4 == 0 ? "" : sprintf("%.2f", $1 / $4), $6, $7, $8, kept >>report
			}'
	done
	echo >>"$work/report.$db"
}

# note TEXT: a line below a table.
note()
{
	printf '   %s\n' "$1"
	printf -- '- %s\n' "$1" >>"$work/report.$db"
}

# ratio SIDE OTHER [least|most TARGET]: median of SIDE by median of OTHER.
ratio()
{
	verdict "$1 / $2" "$(median "$1")" "$(median "$2")" "${3:-}" "${4:-}"
}

# verdict LABEL A B [least|most TARGET]: prints A / B, with its target if any.
verdict()
{
	awk -v label="$1" -v a="$2" -v b="$3" -v bound="${4:-}" -v target="${5:-}" \
		-v title="$title" -v report="$work/report.$db" -v targets="$work/targets.$db" 'BEGIN {
		r = a / b
		if (bound == "") {
			printf "   %-58s %8.3f\n", label, r
			printf "- %s: **%.2f**\n", label, r >>report
			exit
		}
		result = (bound == "least" ? r >= target : r <= target) ? "met" : "NOT MET"
		printf "   %-58s %8.3f   at %s %s: %s\n", label, r, bound, target, result
		printf "- %s: **%.2f**, at %s %s: %s\n", label, r, bound, target, result >>report
		printf "| %s | %s | %.2f | at %s %s | %s |\n", title, label, r, bound, target, result >>targets
	}' | tee -a "$work/verdicts.$db"
}

# All targets on the screen, and results/latest.md.
bench_summary()
{
	local name

	printf '\n#### all targets\n'
	for name in "${measurements[@]}"; do
		if [ -s "$work/verdicts.$name" ]; then
			cat "$work/verdicts.$name"
		fi
	done
	{
		cat <<-MARKDOWN
			# Measurements of $(date -u '+%Y-%m-%d %H:%M UTC')

			${QUICK:+**A short run (QUICK): it shows that the measurements work, not how fast anything is.**

			}PostgreSQL $(query postgres 'SHOW server_version'), Redis $(redis-cli --version | cut -d' ' -f2), SQLite $("$work/sqlite" version);
			cfp $(git -C "$cfp_top" describe --always --dirty 2>/dev/null || echo 'not from git'); $(nproc) × $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1);
			Linux $(uname -r), $(stat -f -c %T "$work/data"); seed $SEED; $rounds rounds of each side, clients run for $seconds s.
			What the sides are, what each is tuned to and how to read this: [bench/README.md]($(realpath --relative-to="$results" "$bench/README.md")).

			## Targets

			| measurement | ratio of medians | is | wanted | |
			|---|---|--:|---|---|
		MARKDOWN
		for name in "${measurements[@]}"; do
			cat "$work/targets.$name" 2>/dev/null || :
		done
		for name in "${measurements[@]}"; do
			printf '\n## %s\n' "$name"
			cat "$work/report.$name" 2>/dev/null || echo
		done
		if [ ${#failed[@]} -gt 0 ]; then
			printf '\nNot finished: %s\n' "${failed[*]}"
		fi
	} >"$results/latest.md"
	printf '\n%s is written\n' "${results#"$cfp_top/"}/latest.md"
}

# ----------------------------------------------------------------- plots ----

# class_of SIDE: which of the three a side, or a line of a plot, is: cfp, what
# one would use instead, or a floor.  Nothing else says so.
class_of()
{
	case $1 in
		cfp | cfp[_,]* | storage_current) echo cfp ;;
		INSERT | upsert* | 'PostgreSQL alone' | 'SELECT data by primary key' | \
			'SELECT by primary key, pipeline' | 'SELECT of 100 names' | 'the rows' | jsonb_object_agg | \
			'stored text' | 'stored text, uncompressed' | Redis* | SQLite*) echo instead ;;
		'C insert' | 'C insert, primary key only' | 'C insert of 100 rows' | 'nine constants to one C insert' | \
			'WAL message' | 'SELECT 1' | 'constant of the same size' | 'text from C') echo floor ;;
		*) die "\"$1\" has no class, and so no colour in a plot: class_of() in bench/lib.sh does not know it" ;;
	esac
}

# What a legend calls them, and their colours: blue, orange and grey, which the
# colour-blind can tell apart, too.  Bars have the first shade, lines of a class
# take turns.
classes=(cfp instead floor)
declare -A class_title=([cfp]=cfp [instead]='what one would use instead' [floor]='floor: the least that PostgreSQL takes')
declare -A class_shades=([cfp]='#0072b2 #56b4e9' [instead]='#e69f00 #a66f00' [floor]='#999999 #666666')

# bars NAME: the section's medians, with least and most, into results/NAME.svg.
bars()
{
	local side

	for side in "${sides[@]}"; do
		printf '"%s" %s\n' "$side" "$(middle "$side")"
	done | plot_of "$1" bars "$title" "$unit"
}

# lines NAME TITLE X Y FILE [gnuplot commands]: a plot of FILE's series into
# results/NAME.svg.  A series is a line with its name in quotes, and lines with
# x and y; two empty lines end it.
lines()
{
	plot_of "$1" lines "$2" "$3" "$4" "${6:-}" <"$5"
}

# plot_of NAME KIND TITLE ...: keeps what it reads as results/NAME.dat, below
# its other arguments, and draws it.
plot_of()
{
	{
		printf '# %s\n' "${@:2}"
		cat
	} >"$results/$1.dat"
	plot "$results/$1.dat"
	printf '\n![%s](%s.svg)\n' "$3" "$1" >>"$work/report.$db"
}

# plot FILE.dat: draws FILE.svg.
plot()
{
	local file=${1##*/} name class script
	local -a head names of=() # of: the class of each of names

	mapfile -t head < <(sed -n 's/^# //p' "$1")
	mapfile -t names < <(sed -n 's/^"\([^"]*\)".*/\1/p' "$1")
	for name in "${names[@]}"; do
		class=$(class_of "$name")
		of+=("$class")
	done
	# from there, so that no path of the machine gets into the plot
	script=$(cd "${1%/*}" && "draw_${head[0]}")
	(cd "${1%/*}" && gnuplot <<<"$script")
}

# drawing HEIGHT LEFT BELOW: what both kinds begin with: title, legend, and the
# place of the axes, all in pixels, a letter taken for 7.  Title and legend are
# over the whole width, where gnuplot would give them that of the axes.
drawing()
{
	local class x=720 shown=()

	for class in "${classes[@]}"; do
		[[ " ${of[*]} " == *" $class "* ]] || continue
		shown+=("$class")
		x=$((x - 48 - 7 * ${#class_title[$class]}))
	done
	cat <<-GNUPLOT
		set terminal svg size 720,$1 font "sans,12" background "white"
		set output "${file%.dat}.svg"
		x(pixels) = pixels / 720.0
		y(pixels) = 1 - pixels / $1.0
		set label "${head[1]}" at screen 0.5, screen y(18) center noenhanced
		set lmargin at screen x($2)
		set rmargin at screen x(692)
		set tmargin at screen y(64)
		set bmargin at screen y($1 - $3)
		set xlabel "${head[2]}" noenhanced
		set border 3 linecolor "#666666"
		set tics nomirror noenhanced textcolor "black"
		set grid linecolor "#bbbbbb"
	GNUPLOT
	x=$((x / 2 + 12))
	for class in "${shown[@]}"; do
		cat <<-GNUPLOT
			set object rectangle from screen x($x), screen y(37) to screen x($((x + 18))), screen y(47) \\
				fillstyle solid noborder fillcolor "${class_shades[$class]% *}"
			set label "${class_title[$class]}" at screen x($((x + 24))), screen y(42) left noenhanced
		GNUPLOT
		x=$((x + 48 + 7 * ${#class_title[$class]}))
	done
}

# The length of the longest name.
longest()
{
	local longest=0 name

	for name in "${names[@]}"; do
		longest=$((${#name} > longest ? ${#name} : longest))
	done
	echo $longest
}

# A bar a side, from the top, in the colour of its class.
draw_bars()
{
	local class colours=''

	for class in "${of[@]}"; do
		class=${class_shades[$class]% *}
		colours+=${colours:+, }0x${class#\#}
	done
	drawing $((120 + 26 * ${#names[@]})) $((28 + 7 * $(longest))) 52
	cat <<-GNUPLOT
		unset key
		set xrange [0:*]
		set yrange [${#names[@]} - 0.4:-0.6]
		set grid xtics noytics
		set xtics format "%.0s%c"
		set ytics scale 0
		set style fill solid noborder
		array colours[${#names[@]}] = [$colours]
		plot "$file" using (0):0:(0):2:(\$0 - 0.35):(\$0 + 0.35):(colours[int(\$0) + 1]):ytic(1) \\
				with boxxyerror linecolor rgb variable, \\
			"" using 2:0:3:4 with xerrorbars linecolor "black" pointtype 0
	GNUPLOT
}

# A line a series, in a shade of its class, with dashes and points of its own;
# which is which stands below, class by class.
draw_lines()
{
	local class i n=0 of_class x y line point points cell columns key what=''
	local -a shades

	points=$(grep -c '^[0-9]' "$file")
	cell=$((64 + 7 * $(longest)))
	columns=$((640 / cell))
	key=$((18 * ((${#names[@]} + columns - 1) / columns)))
	drawing $((412 + key)) 90 $((68 + key))
	for class in "${classes[@]}"; do
		read -ra shades <<<"${class_shades[$class]}"
		of_class=0
		for i in "${!names[@]}"; do
			[ "${of[i]}" = "$class" ] || continue
			x=$((64 + cell * (n % columns))) y=$((412 + 18 * (n / columns)))
			line="linewidth 2 dashtype $((of_class / 2 + 1)) linecolor \"${shades[of_class % 2]}\""
			point="pointtype $((5 + 2 * (n % 6))) pointsize 0.6"
			cat <<-GNUPLOT
				set arrow from screen x($x), screen y($y) to screen x($((x + 40))), screen y($y) nohead $line
				set label "" at screen x($((x + 20))), screen y($y) point $point linecolor "${shades[of_class % 2]}"
				set label "${names[i]}" at screen x($((x + 46))), screen y($y) left noenhanced
			GNUPLOT
			# some of its points, where there are many
			what+="${what:+, }\"$file\" index $i using 1:2 with linespoints $line $point"
			what+=" pointinterval $((points / ${#names[@]} / 12 + 1))"
			n=$((n + 1)) of_class=$((of_class + 1))
		done
	done
	cat <<-GNUPLOT
		unset key
		set ylabel "${head[3]}" noenhanced
		set yrange [0:*]
		set autoscale xfix
		${head[4]-}
		plot $what
	GNUPLOT
}

# ----------------------------------------------------------------- Redis ----

# redis_start always|everysec: an instance that writes its append-only file
# with this appendfsync.  It is not rewritten during a round, as PostgreSQL
# makes no checkpoint then.
redis_start()
{
	local tries=0

	as_server_user mkdir -p "$work/redis_$1"
	(cd / && as_server_user "$work/redis-server" --port 0 --unixsocket "$work/redis_$1/socket" \
		--dir "$work/redis_$1" --pidfile "$work/redis_$1/pid" --logfile "$work/redis_$1/log" \
		--daemonize yes --save '' --appendonly yes --appendfsync "$1" \
		--auto-aof-rewrite-percentage 0) >/dev/null
	until [ "$(redis "$1" PING 2>/dev/null)" = PONG ]; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || die "redis-server does not start: $(tail "$work/redis_$1/log")"
		sleep 0.1
	done
}

# Ends the instances there are.
redis_stop()
{
	local policy tries

	for policy in always everysec; do
		[ -f "$work/redis_$policy/pid" ] || continue
		redis $policy SHUTDOWN NOSAVE >/dev/null 2>&1 || :
		for ((tries = 0; tries < 100; tries++)); do
			[ -f "$work/redis_$policy/pid" ] || break
			sleep 0.1
		done
		rm -rf "$work/redis_$policy"
	done
}

# redis always|everysec COMMAND ...
redis()
{
	redis-cli -s "$work/redis_$1/socket" "${@:2}"
}

# What a write is worth.
redis_durability()
{
	case $1 in
		always) echo 'fsync before the reply' ;;
		everysec) echo 'fsync each second, 1 s may be lost' ;;
	esac
}

# redis_fill always|everysec COLLECTIONS ITEMS: the record that cfp has of an
# item, as text, in each item of collections "c:", and 10,000 times as "i:".
redis_fill()
{
	redis "$1" FLUSHALL >/dev/null
	redis_collections "$@"
	redis_items "$1" 10000
}

redis_collections()
{
	redis "$1" EVAL "
		for c = 0, ARGV[1] - 1 do
			for i = 0, ARGV[2] - 1 do
				redis.call('HSET', string.format('c:%012d', c), string.format('%012d', i), ARGV[3])
			end
		end" 0 "$2" "$3" "$record" >/dev/null
}

# redis_items always|everysec N
redis_items()
{
	redis "$1" EVAL "
		for i = 0, ARGV[1] - 1 do
			redis.call('SET', string.format('i:%012d', i), ARGV[2])
		end" 0 "$2" "$record" >/dev/null
}

# redis_clients always|everysec KIND N [DEPTH [ITEMS]]: how often a second N clients
# have the replies to DEPTH requests, which sides/redis.c has the kinds of, from
# what redis_fill made with ITEMS a collection, 100 if not said.
redis_clients()
{
	driver redis "$2" "$work/redis_$1/socket" "$3" "${4:-1}" "$seconds" $((SEED + round)) "${5:-100}" "$record"
}

# ---------------------------------------------------------------- SQLite ----

# sqlite_clients full|normal store|many|get|mixed N: transactions a second of N
# threads on a database that "sqlite_fill full|normal" made.
sqlite_clients()
{
	driver sqlite "$2" "$work/sqlite_$1/db" "$1" "$3" "$seconds" $((SEED + round)) "$data"
}

sqlite_fill()
{
	rm -rf "$work/sqlite_$1"
	mkdir "$work/sqlite_$1"
	"$work/sqlite" fill "$work/sqlite_$1/db" "$1" 1 0 "$SEED" "$data"
}

sqlite_durability()
{
	case $1 in
		full) echo 'fsync at commit' ;;
		normal) echo 'fsync at checkpoints, what came since may be lost' ;;
	esac
}

# ------------------------------------------------------------------ data ----

# Has the worker close the day in $db, and sets $closed_date to its date.  The
# date closed last is made open again before; whoever calls has flushed.
close_day()
{
	local tries=0

	closed_date=$(query "$db" "UPDATE cfp_state SET date = date - 1 WHERE name = 'day' RETURNING date + 1")
	query "$db" "DELETE FROM storage_days" >/dev/null
	as_server_user find "$work/data/cfp" -path "*_$db/$closed_date/*" -name '*.json' -delete
	query "$db" 'SELECT pg_reload_conf()' >/dev/null
	until [ "$(query "$db" "SELECT finished IS NOT NULL FROM storage_days WHERE date = '$closed_date'")" = t ]; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] || die "the day is not closed: $(query "$db" 'TABLE storage_days')"
		sleep 0.5
	done
	[ "$(query "$db" "SELECT error IS NULL FROM storage_days WHERE date = '$closed_date'")" = t ] ||
		die "the backup failed: $(query "$db" 'SELECT error FROM storage_days')"
}

# One collection of $million items, "big".
store_big_collection()
{
	query "$1" "
		SELECT count(cfp_store('bench', '$data'::jsonb, (1000000 + g)::text, 'big', g::bigint))
		  FROM generate_series(1, $million) g" >/dev/null
}

# What is in fill.sql; $record: what cfp_get returns, as text; constant_record():
# the same, inlined when a SELECT is planned, so that a constant is what it returns.
fill()
{
	query_file "$db" "$bench/fill.sql"
	record=$(query "$db" "SELECT cfp_get('bench', '1000000', '10000')")
	query "$db" "$(query "$db" "
		SELECT format('CREATE FUNCTION public.constant_record() RETURNS jsonb
			IMMUTABLE LANGUAGE sql RETURN %L::jsonb', cfp_get('bench', '1000000', '10000'))")"
}
