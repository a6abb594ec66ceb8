#!/usr/bin/env bash
# Install wrk, the load generator of `make bench`. Does nothing where it is present.
# usage: install-wrk.sh [yes|no]     no: only say what is missing
# shellcheck source=deploy/bootstrap/lib.sh
source "$(dirname "$0")/lib.sh"
command -v wrk >/dev/null && exit 0
[ "${1:-yes}" = yes ] || die "wrk is missing and BOOTSTRAP=no: apt-get install wrk"
[ "$(id -u)" = 0 ] || die "wrk is missing, it is the load generator of \`make bench\`: sudo apt-get install wrk"
apt_refresh
apt_install wrk
