# What pgBackRest is told, at a node and at the repository; sourced, after common.sh. All of it is in files of
# /tmp, which no disk has: the repository's says how backups are encrypted.
# shellcheck shell=bash disable=SC2154  # what common.sh sets
export PGBACKREST_CONFIG=/tmp/pgbackrest.conf

# write_config [LINE...]: what both have in common, and these lines. Another process never sees half of it.
write_config() {
    mkdir -p /tmp/pgbackrest/{lock,spool,log}
    (
        umask 077
        printf '%s\n' '[global]' "$@" \
            lock-path=/tmp/pgbackrest/lock spool-path=/tmp/pgbackrest/spool log-path=/tmp/pgbackrest/log \
            log-level-console=warn log-level-file=off log-timestamp=n \
            compress-type=zst process-max=2 io-timeout=20 \
            tcp-keep-alive-count=3 tcp-keep-alive-idle=5 tcp-keep-alive-interval=5 \
            'tls-server-address=*' "tls-server-ca-file=$tls/ca.crt" "tls-server-cert-file=$tls/tls.crt" \
            "tls-server-key-file=$tls/tls.key" >"$PGBACKREST_CONFIG.new"
    )
    mv "$PGBACKREST_CONFIG.new" "$PGBACKREST_CONFIG"
}

# over_tls OPTION HOST: how to reach a host, and by which certificate it is known.
over_tls() {
    printf '%s\n' "$1=$2" "$1-type=tls" "$1-config=$PGBACKREST_CONFIG" "$1-ca-file=$tls/ca.crt" "$1-cert-file=$tls/tls.crt" "$1-key-file=$tls/tls.key"
}

# Answers the other side, as long as this container runs; reads a renewed certificate at SIGHUP.
serve_backups() {
    local server
    while :; do
        pgbackrest server &
        server=$!
        echo "$server" >/tmp/pgbackrest/server
        wait "$server" || true
        log "pgBackRest's server has ended; starting it again"
        pause 1
    done
}
reload_backups() { ! read -r server </tmp/pgbackrest/server || kill -HUP "$server" || true; } 2>/dev/null
