#!/usr/bin/env bash
# Make sure there is a base image, and print its name as the last line.
# Pulled where a registry can be reached; else made from the Debian archive that this host
# installs from (mmdebstrap, about 20 s), verified with the Debian archive key.
# usage: base-image.sh [yes|no]     no: do not install mmdebstrap
# shellcheck source=deploy/bootstrap/lib.sh
source "$(dirname "$0")/lib.sh"
may_install=${1:-yes}
official=debian:trixie-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f
own=holdfast-base:trixie

for image in "$official" "$own"; do
    if docker image inspect "$image" >/dev/null 2>&1; then
        echo "$image"
        exit 0
    fi
done
if timeout "${PULL_TIMEOUT:-60}" docker pull --quiet "$official"; then
    echo "$official"
    exit 0
fi
echo "$official cannot be pulled here; making it from the Debian archive"
if ! command -v mmdebstrap >/dev/null; then
    [ "$may_install" = yes ] || die "mmdebstrap is missing and BOOTSTRAP=no: apt-get install mmdebstrap"
    [ "$(id -u)" = 0 ] || die "installing mmdebstrap needs root: run as root, or apt-get install mmdebstrap first"
    apt_refresh
    apt_install mmdebstrap
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mirror=$(debian_mirror)
security=$(debian_mirror security)
[ -n "$mirror" ] || die "no Debian archive in this host's apt sources; load an image instead: docker load, then docker tag IMAGE $own"
sources=("deb $mirror trixie main" "deb $mirror trixie-updates main")
if [ -n "$security" ]; then sources+=("deb $security trixie-security main"); fi
# What a container never reads is left out, as the official slim image does.
mmdebstrap --variant=minbase --include=ca-certificates \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --aptopt='Acquire::Languages "none"' \
    trixie "$work/root.tar" "${sources[@]}"
docker import --change 'CMD ["bash"]' "$work/root.tar" "$own"
echo "$own"
