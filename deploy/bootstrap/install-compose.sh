#!/usr/bin/env bash
# Install Docker Compose 2. Debian 12 has only version 1: there the package of Debian 13 is
# taken (it needs no more than libc6 >= 2.34), by an apt source that lives for this one
# download and is verified with the Debian archive key like any other.
# shellcheck source=deploy/bootstrap/lib.sh
source "$(dirname "$0")/lib.sh"

# usage: install-compose.sh [update]     update: the newest one, if it came from there
if [ "${1:-}" = update ]; then
    dpkg -s docker-compose >/dev/null 2>&1 || { echo "Docker Compose is not of this archive"; exit 0; }
elif docker compose version >/dev/null 2>&1; then
    echo "Docker Compose is present: $(docker compose version)"
    exit 0
fi
apt_refresh
candidate=$(apt-cache policy docker-compose | awk '/Candidate:/ { print $2 }')
if dpkg --compare-versions "${candidate:-0}" ge 2; then
    apt_install docker-compose
    exit 0
fi

mirror=$(debian_mirror)
security=$(debian_mirror security)
[ -n "$mirror" ] || die "no Debian archive in the apt sources of this host: install Docker Compose 2 by hand"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
cat >"$work/sources.list" <<EOF
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main
${security:+deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $security trixie-security main}
EOF
options=(
    -o "Dir::Etc::SourceList=$work/sources.list" -o "Dir::Etc::SourceParts=-"
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache"
    -o "APT::Sandbox::User=root"
)
apt-get "${options[@]}" update
(cd "$work" && apt-get "${options[@]}" download docker-compose)
apt_install "$work"/docker-compose_*.deb
