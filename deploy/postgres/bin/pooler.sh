# PgBouncer beside the keeper, with POOLER=yes: in front of this node's own PostgreSQL. Sourced, not run.
# shellcheck shell=bash
pooler=/tmp/pgbouncer # its folder, and its socket's
pooler_port=6432

# What pgbouncer.ini includes: where it is, and where PostgreSQL is. Its clients see the node's certificate.
configure_pooler() {
    local sockets=/var/run/postgresql
    install -d -m 700 "$pooler"
    cp /etc/holdfast/pgbouncer.ini "$pooler/pgbouncer.ini"
    printf '%s\n' "holdfast = host=$sockets port=5432" "postgres = host=$sockets port=5432" >"$pooler/databases.ini"
    sed "s/DATABASE_PREFIX\\./${DATABASE_PREFIX:-172.30.1}./g" /etc/holdfast/pgbouncer_hba.conf >"$pooler/hba.conf"
    cat >"$pooler/here.ini" <<END
auth_type = hba
auth_hba_file = $pooler/hba.conf
listen_addr = *
listen_port = $pooler_port
unix_socket_dir = $pooler
client_tls_sslmode = require
client_tls_cert_file = $tls/tls.crt
client_tls_key_file = $tls/tls.key
END
}

run_pooler() {
    # Of one that was killed: nobody listens there.
    rm -f "$pooler/.s.PGSQL.$pooler_port"
    cd "$pooler" && exec /usr/sbin/pgbouncer pgbouncer.ini
}

# Without a password, as whoever runs it may do all; by its own socket.
ask_pooler() { psql --no-psqlrc --quiet -h "$pooler" -p "$pooler_port" -U pgbouncer -d pgbouncer "$@"; }
