#!/usr/bin/env bash
# Install Chromium, in which the console's page is tested. Does nothing where it is present.
# usage: install-chromium.sh [yes|no]     no: only say what is missing
# shellcheck source=deploy/bootstrap/lib.sh
source "$(dirname "$0")/lib.sh"
command -v chromium >/dev/null && exit 0
[ "${1:-yes}" = yes ] || die "chromium is missing and BOOTSTRAP=no: apt-get install chromium"
[ "$(id -u)" = 0 ] || die "chromium is missing, the console's page is tested in it: sudo apt-get install chromium"
apt_refresh
# A font with the page's signs: without one they would be boxes in its pictures.
apt_install chromium fonts-dejavu-core
