#!/usr/bin/env bash
# Debian's python3 comes without venv; `make dev`, `make check`, drills and loads need it.
# usage: install-venv.sh [yes|no]     no: only say what is missing
# shellcheck source=deploy/bootstrap/lib.sh
source "$(dirname "$0")/lib.sh"
[ "${1:-yes}" = yes ] || die "python3-venv is missing and BOOTSTRAP=no: apt-get install python3-venv"
[ "$(id -u)" = 0 ] || die "python3-venv is missing: sudo apt-get install python3-venv, then run this again"
apt_refresh
apt_install python3-venv
