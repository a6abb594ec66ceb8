#!/usr/bin/env bash
# Install Docker Engine from the host's own Debian archive. Does nothing where it is present.
# shellcheck source=deploy/bootstrap/lib.sh
source "$(dirname "$0")/lib.sh"

if command -v dockerd >/dev/null && command -v docker >/dev/null; then
    echo "Docker Engine is present: $(dockerd --version)"
    exit 0
fi
apt_refresh
# A package must not start services by itself here: starting is a step of its own, so that
# what was started is known and can be stopped again.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ] && [ ! -d /run/systemd/system ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
packages=(docker.io iptables ca-certificates)
# Debian 13 has split the command line off into a package of its own.
if apt-cache show docker-cli >/dev/null 2>&1; then packages+=(docker-cli); fi
apt_install "${packages[@]}"
