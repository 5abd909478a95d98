# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# cfp_get by 1, 8 and 32 clients: beside statements that read nothing, the
# look-up by primary key, Redis and SQLite.

fill
query "$db" 'SELECT cfp_fold()' >/dev/null
redis_start everysec
redis_fill everysec 100 100
sqlite_fill normal

for n in "${client_counts[@]}"; do
	who="$n clients"
	[ "$n" != 1 ] || who='1 client'
	section "get: $who" 'a second'
	for ((round = 1; round <= rounds; round++)); do
		sample cfp_get "$(clients "$db" cfp_get "$n")" -
		sample 'SELECT data by primary key' "$(clients "$db" select_data "$n")" -
		sample 'constant of the same size' "$(clients "$db" constant "$n")" -
		sample 'SELECT 1' "$(clients "$db" select_1 "$n")" -
		sample 'Redis GET' "$(redis_clients everysec get "$n")" -
		sample 'Redis HGET' "$(redis_clients everysec hget "$n")" -
		sample 'SQLite, in its own process' "$(sqlite_clients normal get "$n")" -
	done
	table
	ratio cfp_get 'SELECT 1'
	ratio cfp_get 'Redis HGET'
	ratio cfp_get 'SQLite, in its own process'
	if [ "$n" = 8 ]; then
		ratio cfp_get 'constant of the same size' least 0.92
		ratio cfp_get 'SELECT data by primary key' least 1.2
		ratio cfp_get 'Redis GET' least 1
		ratio 'constant of the same size' 'SELECT data by primary key'
		ratio 'constant of the same size' 'Redis GET'
		bars get
	else
		ratio cfp_get 'constant of the same size'
		ratio cfp_get 'SELECT data by primary key'
		ratio cfp_get 'Redis GET'
	fi
done
