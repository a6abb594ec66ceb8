# Shared by the entry points of the monitor and the nodes; sourced, not run.
# shellcheck shell=bash
set -euo pipefail

log() { printf '%s %s\n' "$(date -u +%H:%M:%S)" "$*" >&2; }
secret() { cat "/run/secrets/$1"; }
local_sql() { psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"; }

# wait_until SECONDS WHAT COMMAND...: polls COMMAND; says what was waited for when it gives up.
wait_until() {
    local seconds=$1 what=$2 deadline=$((SECONDS + $1))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $deadline ]; then
            log "gave up after ${seconds} s waiting for ${what}"
            return 1
        fi
        sleep 0.3
    done
}

# libpq reads these; no password in a command line, an environment or a connection string.
write_pgpass() {
    (
        umask 077
        {
            printf '*:*:*:autoctl_node:%s\n' "$(secret autoctl_node_password)"
            printf '*:*:*:pgautofailover_replicator:%s\n' "$(secret replication_password)"
        } >"$HOME/.pgpass"
    )
}

# PostgreSQL's own log (see postgresql.holdfast.conf) to the container's log, from now on.
follow_postgres_log() {
    local day files=()
    for day in Mon Tue Wed Thu Fri Sat Sun; do files+=("$HOME/log/postgresql-$day.log"); done
    tail --quiet --lines=0 --follow=name --retry "${files[@]}" 2>/dev/null &
}

# A killed container that starts again keeps its files, and three of them name processes: postmaster.pid
# in the volume, the socket's lock file, pg_autoctl's own pid files. Those numbers now belong to processes
# of this script, which PostgreSQL would take for another postmaster (it refuses to start, for good) and
# pg_autoctl for itself or for PostgreSQL (it stops it). Nothing of this container runs on PGDATA yet, and
# no other has the volume: the files are stale.
forget_killed_processes() {
    rm -rf "$PGDATA/postmaster.pid" /var/run/postgresql/.s.PGSQL.* /tmp/pg_autoctl
}

# Stay as long as the given process; pass a stop on to it. A trap ends `wait`, hence the second.
run_until_stopped() {
    local pid=$1
    trap 'kill -TERM "$pid" 2>/dev/null || true' TERM INT
    wait "$pid" || true
    wait "$pid"
}
