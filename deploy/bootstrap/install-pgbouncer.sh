#!/usr/bin/env bash
# Install PgBouncer for the tests through a pooler, which run it as a plain process. Does nothing where it is
# present, and new enough for prepared statements (1.21). Debian 12 has 1.18: there the package of Debian 13 is
# unpacked in FOLDER, with the libraries it was built for, and started by their own loader. Nothing of the host's
# is replaced, and no root is needed.
# usage: install-pgbouncer.sh FOLDER [yes|no]     no: only say what is missing
# shellcheck source=deploy/bootstrap/lib.sh
source "$(dirname "$0")/lib.sh"
folder=${1:?usage: install-pgbouncer.sh FOLDER [yes|no]}
wanted=1.21

[ ! -x "$folder/pgbouncer" ] || exit 0
installed=$({ PATH=$PATH:/usr/sbin pgbouncer --version 2>/dev/null || true; } | awk '/^PgBouncer/ { print $2 }')
if [ -n "$installed" ] && dpkg --compare-versions "$installed" ge $wanted; then exit 0; fi
[ "${2:-yes}" = yes ] || die "pgbouncer >= $wanted is missing and BOOTSTRAP=no: deploy/bootstrap/install-pgbouncer.sh $folder"
mirror=$(debian_mirror)
security=$(debian_mirror security)
[ -n "$mirror" ] || die "no Debian archive in this host's apt sources: install pgbouncer >= $wanted by hand"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/packages" "$work/root"
: >"$work/status"
cat >"$work/sources.list" <<END
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main
${security:+deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $security trixie-security main}
END
options=(
    -o "Dir::Etc::SourceList=$work/sources.list" -o "Dir::Etc::SourceParts=-"
    -o "Dir::State::Lists=$work/lists" -o "Dir::State::Status=$work/status" -o "Dir::Cache=$work/cache"
    -o "APT::Sandbox::User=root" -o "Acquire::Languages=none"
)
apt-get "${options[@]}" update
# What its dynamic loader asks for; the others of its dependencies are for its service script.
(cd "$work/packages" && apt-get "${options[@]}" download pgbouncer libc6 libevent-2.1-7t64 libcares2 libssl3t64 \
    libsystemd0 libpam0g libaudit1 libcap-ng0 libcap2 libzstd1 zlib1g libgcc-s1)
for package in "$work"/packages/*.deb; do dpkg-deb --extract "$package" "$work/root"; done

rm -rf "$folder.new"
mkdir -p "$folder.new/lib"
find "$work/root" -name '*.so*' -path '*/lib/*' -not -path '*/gconv/*' -exec cp --no-dereference {} "$folder.new/lib/" \;
cp "$(find "$work/root" -path '*/sbin/pgbouncer' -type f)" "$folder.new/pgbouncer.bin"
loader=$(basename "$(find "$folder.new/lib" -name 'ld-linux*.so*' -print -quit)")
cat >"$folder.new/pgbouncer" <<END
#!/bin/sh
# By the loader of the libraries that it was built for.
here=\$(dirname "\$(readlink -f "\$0")")
exec "\$here/lib/$loader" --library-path "\$here/lib" "\$here/pgbouncer.bin" "\$@"
END
chmod 755 "$folder.new/pgbouncer"
"$folder.new/pgbouncer" --version >/dev/null || die "the unpacked pgbouncer does not start"
rm -rf "$folder"
mv "$folder.new" "$folder"
