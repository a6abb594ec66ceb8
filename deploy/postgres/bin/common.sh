# Shared by the entry points of the monitor and the nodes; sourced, not run.
# shellcheck shell=bash
set -euo pipefail
# shellcheck source=deploy/shell/loops.sh
source "${BASH_SOURCE[0]%/*}/loops.sh"

log() { printf '%s %s\n' "$(date -u +%H:%M:%S)" "$*" >&2; }
secret() { cat "/run/secrets/$1"; }
local_sql() { psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"; }

# set_passwords ROLE SECRET...: with psql's \password, which hashes here. No server learns a password, so none is in its
# log, its statistics, or what those see who may look at sessions; the hashes are not for them, either. In a
# session of its own psql has no terminal and reads its input; arguments would be in the list of processes.
untold='-c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic
    -c pg_stat_statements.track=none'
set_passwords() {
    local commands=() lines="" password said
    while [ $# -gt 0 ]; do
        password=$(secret "$2") && [ -n "$password" ] || return 1
        commands+=(--command "\\password $1")
        lines+="$password"$'\n'"$password"$'\n'
        shift 2
    done
    said=$(PGOPTIONS="${PGOPTIONS:-} $untold" setsid --wait psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
        -d postgres "${commands[@]}" <<<"$lines" 2>&1) || { log "no password is set: $said"; return 1; }
}

# install_rules FILE: who may connect, from the image, with the addresses that the network has.
install_rules() {
    sed "s/DATABASE_PREFIX\\./${DATABASE_PREFIX:-172.30.1}./g" "/etc/holdfast/$1" >"$PGDATA/pg_hba.conf.new"
    chmod 600 "$PGDATA/pg_hba.conf.new"
    mv "$PGDATA/pg_hba.conf.new" "$PGDATA/pg_hba.conf"
}

# include_settings FILE: postgresql.conf reads it last, from the image, so that it is the same at every start.
include_settings() {
    local include="include_if_exists '/etc/holdfast/$1'"
    grep -qxF "$include" "$PGDATA/postgresql.conf" || printf '%s\n' "$include" >>"$PGDATA/postgresql.conf"
}

# require_major: data of another major release than the image's are left alone.
require_major() {
    local version
    if [ -s "$PGDATA/PG_VERSION" ] && read -r version <"$PGDATA/PG_VERSION" && [ "$version" != "${PG_MAJOR:?}" ]; then
        log "the data are of PostgreSQL $version, and this image has ${PG_MAJOR}: docs/upgrade.md; nothing was touched"
        exit 2
    fi
}

# wait_until SECONDS WHAT COMMAND...: polls COMMAND; says what was waited for when it gives up.
wait_until() {
    local seconds=$1 what=$2 deadline=$((SECONDS + $1))
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $deadline ]; then
            log "gave up after ${seconds} s waiting for ${what}"
            return 1
        fi
        pause 0.3
    done
}

# keep COMMAND...: as long as this container runs, whatever ends it; again after AGAIN seconds, or 5. A child of its own,
# as in a condition `set -e` does not count.
keep() {
    local child
    while :; do
        "$@" &
        child=$!
        wait "$child" || true
        [ ! -e "${stopping-}" ] || return 0
        log "$1 has ended; starting it again"
        pause "${AGAIN:-5}"
    done
}

# The certificate in use: a copy that only this user can read, as PostgreSQL demands, at one path on all
# nodes (pg_rewind copies configuration), outside of PGDATA (pg_basebackup replaces that).
tls=/var/lib/postgresql/tls
mounted=/run/secrets/tls

certificate_is_in_use() { same "$mounted/tls.pem" "$tls/tls.pem"; }

# Takes over the certificate that is mounted; fails when there is nothing new. Key and certificate are one file,
# replaced in one step, whose two names PostgreSQL and pg_autoctl have been told.
install_certificate() {
    local file
    [ -L "$tls/tls.key" ] && certificate_is_in_use && same "$mounted/ca.crt" "$tls/ca.crt" && return 1
    install -d -m 700 "$tls" || return 1
    for file in ca.crt tls.pem; do
        install -m 600 "$mounted/$file" "$tls/$file.new" && mv "$tls/$file.new" "$tls/$file" || return 1
    done
    for file in tls.crt tls.key; do
        [ -L "$tls/$file" ] || ln -sf tls.pem "$tls/$file" || return 1
    done
}

have_certificate() { { install_certificate || [ -s "$tls/tls.crt" ]; } && note_certificate; }

# A renewed certificate counts from the next connection on; those that are open go on.
watch_certificate() {
    while pause 2; do
        install_certificate || continue
        note_certificate || log "no end of the certificate can be read"
        [ ! -e /tmp/pgbackrest/server ] || reload_backups
        [ ! -e /tmp/pgbouncer/here.ini ] || ask_pooler --command RELOAD || log "the pooler has the old certificate"
        pg_ctl --silent --pgdata "$PGDATA" reload && log "a new certificate is in use"
    done
}

# What pg_autoctl has to know; also where it was created by an earlier version, without TLS.
configure_tls() {
    pg_autoctl config set ssl.active 1
    pg_autoctl config set ssl.sslmode verify-full
    pg_autoctl config set ssl.ca_file "$tls/ca.crt"
    pg_autoctl config set ssl.cert_file "$tls/tls.crt"
    pg_autoctl config set ssl.key_file "$tls/tls.key"
} >/dev/null

# Sets `now` to all passwords as they are now, without starting a process.
read_passwords() {
    local file password=
    now=
    for file in /run/secrets/*_password; do
        read -r password <"$file" || [ -n "$password" ] || return 0
        now+="$password "
    done 2>/dev/null
}

# Sets `free` to the megabytes on the volume that are left for PostgreSQL, as df says them, and `bytes` to its size and what
# is left.
measure_room() {
    local size unit
    bytes=$(stat --file-system --format='%b %a %S' "$HOME") || return 1
    read -r size free unit <<<"$bytes"
    bytes="$((size * unit)) $((free * unit))"
    free=$(((free * unit + 1048575) / 1048576))
}

# For watched.node() (watched.sql). Written over in place: who reads finds one or the other, never half of it.
notes=/tmp
note_volume() { printf '%-50s\n' "$bytes" 1<>"$notes/volume"; }
note_certificate() {
    local ends
    ends=$(openssl x509 -in "$tls/tls.crt" -noout -enddate) && ends=$(date -d "${ends#*=}" +%s) &&
        printf '%-20s\n' "$ends" 1<>"$notes/certificate-ends"
}

# libpq reads these; no password in a command line, an environment or a connection string.
write_pgpass() {
    if (
        umask 077
        {
            printf '*:*:*:autoctl_node:%s\n' "$(secret autoctl_node_password)" &&
                printf '*:*:*:pgautofailover_replicator:%s\n' "$(secret replication_password)"
        } >"$HOME/.pgpass.new"
    ) && mv "$HOME/.pgpass.new" "$HOME/.pgpass"; then return; fi
    rm -f "$HOME/.pgpass.new"
    return 1
}

# PostgreSQL's own log (see postgresql.log.conf) to the container's log, from now on.
follow_postgres_log() {
    local day files=()
    for day in Mon Tue Wed Thu Fri Sat Sun; do files+=("$HOME/log/postgresql-$day.log"); done
    # Whoever fails to log in does it again and again: repeats are counted.
    tail --quiet --lines=0 --follow=name --retry "${files[@]}" 2>/dev/null |
        mawk -W interactive -f /usr/local/bin/repeats &
}

# PostgreSQL starts a weekday's file anew after a week, not when it is large. One that is over 32 MB is set aside, in
# place of the one before.
bound_postgres_log() {
    local file large
    while pause 10; do
        large=$(find "$HOME/log" -name 'postgresql-???.log' -size +32M) || continue
        for file in $large; do
            mv -f "$file" "$HOME/log/postgresql-before.log"
            wait_until 300 "PostgreSQL to begin another log" \
                local_sql -d postgres -c 'SELECT pg_rotate_logfile()' || true
        done
    done
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
