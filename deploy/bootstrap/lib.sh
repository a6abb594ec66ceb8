# Shared by the bootstrap scripts; sourced, not run.
# shellcheck shell=bash

set -euo pipefail

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

# The archive this host itself installs from: the first address of its apt sources that serves
# Debian's `main` (with "security": that serves the security archive), or nothing.
debian_mirror() {
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk -v label="${1:+Debian-Security}" '
            $1 == (label == "" ? "Debian" : label) { print $2; exit }'
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@"
}

# apt's lists may be missing (slim images delete them) or a long time old.
apt_refresh() {
    if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mmin -1440 -print -quit)" ]; then
        apt-get update
    fi
}
