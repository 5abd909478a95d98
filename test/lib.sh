# Shared by the scripts of test/, demo/ and bench/: source it, it runs nothing.
# shellcheck shell=bash

# The checkout.
# shellcheck disable=SC2034
cfp_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# True when pg_config $1 belongs to a server with what extensions need.
pg_config_usable()
{
	local pgxs bindir

	pgxs=$("$1" --pgxs 2>/dev/null) && bindir=$("$1" --bindir 2>/dev/null) &&
		[ -f "$pgxs" ] && [ -x "$bindir/postgres" ] && [ -x "$bindir/initdb" ]
}

# Sets PG_CONFIG to a usable one; the caller's own choice is not overruled.
find_pg_config()
{
	local candidate

	if [ "${PG_CONFIG:-pg_config}" != pg_config ]; then
		pg_config_usable "$PG_CONFIG" ||
			die "PG_CONFIG=$PG_CONFIG has no server or no PGXS beside it"
		return 0
	fi
	for candidate in pg_config $(printf '%s\n' /usr/lib/postgresql/*/bin/pg_config | sort -rV); do
		if pg_config_usable "$candidate"; then
			PG_CONFIG=$candidate
			return 0
		fi
	done
	return 1
}

# PostgreSQL refuses root, so root hands its servers to the user postgres.
as_server_user()
{
	if [ "$(id -u)" -eq 0 ]; then
		runuser -u postgres -- "$@"
	else
		"$@"
	fi
}

# Prints a new directory that belongs to the server's user.  Its name is kept
# short: a socket's path has at most 107 bytes.
make_work_dir()
{
	local parent=${TMPDIR:-/tmp}

	if [ ${#parent} -gt 40 ] || ! as_server_user test -w "$parent" -a -x "$parent"; then
		parent=/tmp
	fi
	# runuser keeps the caller's directory, which its user may not read
	(cd / && as_server_user mktemp -d "$parent/cfp-XXXXXX")
}

# Makes the caller's settings of PostgreSQL and locale those of no one.
clean_environment()
{
	local name

	for name in "${!PG@}" "${!LC_@}"; do
		case $name in
			PG_CONFIG | PG_TEST_*) ;;
			*) unset "$name" ;;
		esac
	done
	unset CDPATH
	# LANG as well: the Perl modules of the server's tests drop LC_ALL
	export LANG=C.UTF-8 LC_ALL=C.UTF-8 TZ=UTC HOME=/nonexistent
	umask 022
}

# Ends all processes whose program lies under $1, a private installation.
end_processes_of_tree()
{
	local attempt signal link found

	for attempt in {1..50}; do
		found=()
		for link in /proc/[0-9]*/exe; do
			if [[ $(readlink "$link" 2>/dev/null) == "$1"/* ]]; then
				link=${link#/proc/}
				found+=("${link%/exe}")
			fi
		done
		[ ${#found[@]} -gt 0 ] || return 0
		# a postmaster takes INT for a fast shutdown; who stays is killed
		case $attempt in
			1) signal=INT ;;
			20) signal=QUIT ;;
			40) signal=KILL ;;
			*) signal=0 ;;
		esac
		kill -"$signal" "${found[@]}" 2>/dev/null || true
		sleep 0.1
	done
}
