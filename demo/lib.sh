# Shared by demo/run and demo/psql: a throw-away cluster and its clients.
# shellcheck shell=bash
# shellcheck source=test/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../test/lib.sh"

# Builds cfp and starts a cluster with it in a new directory, $work; at exit
# all of it goes, whatever happened.
start_cluster()
{
	"$cfp_top/test/install-packages"
	clean_environment
	require_pg_config
	work=$(make_work_dir)
	trap remove_cluster EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP

	"$cfp_top/test/install-tree" "$work/tree"
	export PATH=$work/tree/bin:$PATH
	export PGHOST=$work PGDATABASE=demo PGUSER=demo HOME=$work

	# the server's user may not be able to read the checkout
	cp "$cfp_top"/demo/*.sql "$work"
	cd "$work" || exit
	as_server_user initdb -D data -U demo -A trust -E UTF8 --locale=C.UTF-8 >initdb.log 2>&1 ||
		{ cat initdb.log >&2; die "initdb failed"; }
	cat >>data/postgresql.conf <<-END
		shared_preload_libraries = 'cfp'
		listen_addresses = ''
		unix_socket_directories = '$work'
		max_connections = 50
		timezone = 'UTC'
		cfp.min_free_space = 10MB
	END
	start_server
	as_server_user psql -X -q -d postgres -c 'CREATE DATABASE demo'
}

start_server()
{
	as_server_user pg_ctl -D data -l server.log -w -s start ||
		{ tail -n 40 server.log >&2; die "the server did not start"; }
}

remove_cluster()
{
	local status=$?

	trap '' INT TERM HUP
	end_processes_of_tree "$work/tree"
	cd / || exit
	rm -rf "$work"
	exit "$status"
}

# psql, stopping at the first error, as a script should.
run_psql()
{
	as_server_user psql -X -q -v ON_ERROR_STOP=1 -P pager=off "$@"
}
