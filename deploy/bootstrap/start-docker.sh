#!/usr/bin/env bash
# Start the Docker engine and wait until it answers, at most 60 s. Prints how it was started
# as the last line: `running` (it was, nothing done), `systemd`, or `dockerd PID`.
# usage: start-docker.sh LOGFILE
# shellcheck source=deploy/bootstrap/lib.sh
source "$(dirname "$0")/lib.sh"
log=${1:?usage: start-docker.sh LOGFILE}

answers() { timeout 5 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

if answers; then
    echo running
    exit 0
fi
if [ -d /run/systemd/system ]; then
    systemctl start docker
    how=systemd
else
    # No init system (containers, minimal machines). Debian's sysv script wants to raise
    # limits and fails where that is not allowed, so the daemon is started directly.
    # A killed daemon leaves its pid file and containerd's; a live one is left alone.
    pid=$(cat /var/run/docker.pid 2>/dev/null || true)
    if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
        how="dockerd $pid"
    else
        rm -f /var/run/docker.pid
        rm -rf /var/run/docker/containerd
        # Without the process per published port that forwards in user space: the one of Docker
        # 20.10 (Debian 12) dies under load, for good (moby issue 45152). The kernel forwards.
        setsid dockerd --userland-proxy=false >>"$log" 2>&1 </dev/null &
        how="dockerd $!"
    fi
fi
deadline=$((SECONDS + 60))
until answers; do
    if [ $SECONDS -ge $deadline ]; then
        tail -n 20 "$log" >&2 || true
        die "the Docker engine did not answer within 60 s; its log: $log"
    fi
    sleep 0.2
done
# setsid may have forked: the daemon's own pid file is the truth.
case $how in dockerd*) how="dockerd $(cat /var/run/docker.pid)" ;; esac
echo "$how"
