# Minimal Debians in directories, for test/fresh and test/all-versions; source
# it after lib.sh.  All happens in name spaces of the script's own, so mounts
# and processes end with them, however they end.
# shellcheck shell=bash disable=SC2154 # cfp_top is of lib.sh

# in_name_spaces COMMAND ...: runs COMMAND, which finds $name_spaces set, with
# a new directory for the Debians, $work, and removes that in the end.
in_name_spaces()
{
	local status=0

	[ "$(id -u)" -eq 0 ] || die "making a Debian takes root"
	"$cfp_top/test/install-packages" --only debootstrap
	# not as short as for a cluster, but devices and programs have to work
	work=$(mktemp -d "${TMPDIR:-/var/tmp}/cfp-debian-XXXXXX")
	export work name_spaces=yes
	name_spaces_pid=
	trap remove_debians EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	unshare --mount-proc --pid --fork --kill-child "$@" </dev/null &
	name_spaces_pid=$!
	wait "$name_spaces_pid" || status=$?
	name_spaces_pid=
	return "$status"
}

remove_debians()
{
	local status=$?

	trap '' INT TERM HUP
	if [ "$name_spaces_pid" ]; then
		kill -KILL "$name_spaces_pid" 2>/dev/null || true
		wait "$name_spaces_pid" 2>/dev/null || true
	fi
	# what was killed a moment ago may still write
	for _ in {1..20}; do
		! rm -rf "$work" 2>/dev/null || break
		sleep 0.5
	done
	[ ! -e "$work" ] || echo "$work could not be removed" >&2
	exit "$status"
}

# Prints where this machine's own apt gets Debian from, which it knows once it
# has lists of packages.
debian_mirror()
{
	local mirror update

	for update in false true; do
		! "$update" || apt-get -qq update >&2 || true
		# shellcheck disable=SC2016 # the words are apt's
		mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' |
			sed -n 's/^Debian \(http.*\)/\1/p')
		[ -z "$mirror" ] || break
	done
	[ "$mirror" ] || die "apt's configuration names no mirror of Debian (see /etc/apt/sources.list.d)"
	echo "${mirror%%$'\n'*}"
}

# mount_layer DIR [LOWER]: DIR/root has what the directories LOWER have; what is
# written there goes to DIR/upper, and waits for no disk, since it need not
# outlive the script.  False where the file system takes no overlay.
mount_layer()
{
	mkdir -p "$1"/{root,upper,work,nothing}
	mount -t overlay overlay "$1/root" \
		-o "lowerdir=${2:-$1/nothing},upperdir=$1/upper,workdir=$1/work,volatile" 2>/dev/null
}

# make_debian SUITE DIR [PACKAGE ...]: a minimal Debian in DIR, where no
# service starts.
make_debian()
{
	local suite=$1 dir=$2 log=$work/debootstrap.log mirror proxy='' script=()

	shift 2
	mirror=$(debian_mirror)
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	# a release that debootstrap does not know yet is made as the newest it does
	[ -e "/usr/share/debootstrap/scripts/$suite" ] || script=(sid)
	mkdir -p "$work/archives" "$dir/var/cache/apt/archives"
	mount --bind "$work/archives" "$dir/var/cache/apt/archives"
	http_proxy=${proxy:-${http_proxy:-}} debootstrap --variant=minbase \
		--include="$(IFS=,; echo "$*")" "$suite" "$dir" "$mirror" "${script[@]}" >"$log" 2>&1 ||
		{ tail -n 20 "$log" >&2; die "debootstrap cannot make a Debian $suite"; }
	umount "$dir/var/cache/apt/archives"
	printf '#!/bin/sh\nexit 101\n' >"$dir/usr/sbin/policy-rc.d"
	chmod 755 "$dir/usr/sbin/policy-rc.d"
	[ -z "$proxy" ] || echo "Acquire::http::Proxy \"$proxy\";" >"$dir/etc/apt/apt.conf.d/80proxy"
	cp -L /etc/resolv.conf /etc/hosts "$dir/etc"
}

# start_debian DIR: what a machine that runs has mounted.
start_debian()
{
	mount -t proc proc "$1/proc"
	mount --bind /dev "$1/dev"
	mount -t tmpfs tmpfs "$1/dev/shm"
	mount --bind "$work/archives" "$1/var/cache/apt/archives"
}

# copy_checkout DIR: what a clone would have, and what is not committed yet.
copy_checkout()
{
	mkdir -p "$1"
	tar -C "$cfp_top" --exclude=./build --exclude=./.git --exclude='*.o' --exclude='*.so' --no-same-owner -cf - . |
		tar -C "$1" --no-same-owner -xf -
}

# inside DIR USER COMMAND ...: runs COMMAND there, without a terminal.
inside()
{
	local dir=$1 user=$2

	shift 2
	chroot "$dir" runuser -u "$user" -- env -i \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin USER="$user" \
		HOME="$(awk -F: -v user="$user" '$1 == user { print $6 }' "$dir/etc/passwd")" "$@" </dev/null
}
