# Shared by the scripts of test/, demo/ and bench/.  Sourcing it sets cfp_top,
# and TMPDIR where temporary files cannot be in the usual place.
# shellcheck shell=bash

# The checkout.
# shellcheck disable=SC2034
cfp_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# True when pg_config $1 belongs to a server with what extensions need: Debian
# ships PGXS with the client, the server's headers in a package of their own.
pg_config_usable()
{
	local bindir pgxs headers

	bindir=$("$1" --bindir 2>/dev/null) && pgxs=$("$1" --pgxs) && headers=$("$1" --includedir-server) &&
		[ -x "$bindir/postgres" ] && [ -x "$bindir/initdb" ] && [ -f "$pgxs" ] && [ -f "$headers/postgres.h" ]
}

# Sets PG_CONFIG to a usable one; the caller's own choice is not overruled.
find_pg_config()
{
	local candidate candidates=("${PG_CONFIG:-pg_config}")

	if [ "${candidates[0]}" = pg_config ]; then
		mapfile -t -O 1 candidates < <(printf '%s\n' /usr/lib/postgresql/*/bin/pg_config | sort -rV)
	fi
	for candidate in "${candidates[@]}"; do
		if pg_config_usable "$candidate"; then
			PG_CONFIG=$candidate
			return 0
		fi
	done
	return 1
}

# The same, for those who cannot go on without.
require_pg_config()
{
	find_pg_config ||
		die "PG_CONFIG=${PG_CONFIG:-pg_config} finds no server with PGXS and headers (postgres.h): install what is missing, or set PG_CONFIG to another"
}

# True when the C compiler finds header $1.
has_header()
{
	echo "#include <$1>" | gcc -E - >/dev/null 2>&1
}

# PostgreSQL refuses root, so root hands its servers to the user postgres, or
# to nobody on a machine that has no user postgres.
server_user()
{
	if [ "$(id -u)" -ne 0 ]; then
		id -un
	elif id postgres >/dev/null 2>&1; then
		echo postgres
	else
		echo nobody
	fi
}

as_server_user()
{
	if [ "$(id -u)" -eq 0 ]; then
		runuser -u "$(server_user)" -- "$@"
	else
		"$@"
	fi
}

# Prints the directories that may take temporary ones, the wanted first; those
# of /tmp are often mounted so that no program runs in them.
temporary_parents()
{
	printf '%s\n' ${TMPDIR:+"$TMPDIR"} /tmp /var/tmp
	getent passwd "$(server_user)" | cut -d: -f6
}

# Prints a new directory that belongs to the server's user, in which programs
# run.  Its name is short, since a socket's path has at most 107 bytes, and
# plain, since make and the tests of PostgreSQL do not take every name.
make_work_dir()
{
	local parent dir

	# runuser keeps the caller's directory, which its user may not read
	cd / || exit
	while IFS= read -r parent; do
		[[ ${#parent} -le 40 && $parent =~ ^/[A-Za-z0-9_./+-]*$ ]] || continue
		dir=$(as_server_user mktemp -d "$parent/cfp-XXXXXX" 2>/dev/null) || continue
		if as_server_user cp "$(type -P true)" "$dir/true" 2>/dev/null &&
			as_server_user "$dir/true" 2>/dev/null; then
			rm "$dir/true"
			echo "$dir"
			return
		fi
		rm -r "$dir"
	done < <(temporary_parents)
	die "programs run in none of the directories for temporary files ($(temporary_parents | paste -sd ' ')): set TMPDIR to another, of at most 40 characters, that $(server_user) can write"
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

# Temporary files of the programs called go where the caller can write.
if ! [ -w "${TMPDIR:-/tmp}" ]; then
	while IFS= read -r TMPDIR; do
		[ ! -w "$TMPDIR" ] || break
	done < <(TMPDIR='' temporary_parents)
	export TMPDIR
fi
