# shellcheck shell=bash disable=SC2154 # what lib.sh sets
# cfp_get by 8 clients: beside a SELECT that reads nothing, and beside the
# look-up by primary key.

query_file "$db" "$bench/fill.sql"
query "$db" 'SELECT cfp_fold()' >/dev/null
# Inlined when the SELECT is planned, so that a constant is what it returns.
query "$db" "$(query "$db" "
	SELECT format('CREATE FUNCTION public.constant_record() RETURNS jsonb
		IMMUTABLE LANGUAGE sql RETURN %L::jsonb', cfp_get('bench', '1000000', '10000'))")"

section 'get: 8 clients' 'a second'
for ((round = 1; round <= rounds; round++)); do
	sample cfp_get "$(clients "$db" cfp_get 8)"
	sample 'constant of the same size' "$(clients "$db" constant 8)"
	sample 'SELECT data by primary key' "$(clients "$db" select_data 8)"
done
table
ratio cfp_get 'constant of the same size' least 0.92
ratio cfp_get 'SELECT data by primary key' least 1.2
