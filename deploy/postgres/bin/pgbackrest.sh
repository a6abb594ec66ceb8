# What pgBackRest is told, at a node and at the repository; sourced, after common.sh. All of it is in files of
# /tmp, which no disk has: the repository's says how backups are encrypted.
# shellcheck shell=bash disable=SC2154  # what common.sh sets
export PGBACKREST_CONFIG=/tmp/pgbackrest.conf

# Half of the processors, at most four: on two, a backup by two processes took as long as by one, and the load's median
# was 0.8 s instead of 12 ms. Niceness holds within a container alone.
processes() {
    local half=$((($(nproc) + 1) / 2))
    echo $((half < 4 ? half : 4))
}

# write_config [LINE...]: what both have in common, and these lines. Another process never sees half of it.
write_config() {
    mkdir -p /tmp/pgbackrest/{lock,spool,log}
    (
        umask 077
        printf '%s\n' '[global]' "$@" \
            lock-path=/tmp/pgbackrest/lock spool-path=/tmp/pgbackrest/spool log-path=/tmp/pgbackrest/log \
            log-level-console=warn log-level-file=off log-timestamp=n \
            compress-type=zst "process-max=$(processes)" io-timeout=20 \
            tcp-keep-alive-count=3 tcp-keep-alive-idle=5 tcp-keep-alive-interval=5 \
            "tls-server-address=${LISTEN_ADDRESS:-*}" "tls-server-ca-file=$tls/ca.crt" "tls-server-cert-file=$tls/tls.crt" \
            "tls-server-key-file=$tls/tls.key" '[global:archive-push]' process-max=2 >"$PGBACKREST_CONFIG.new"
    )
    mv "$PGBACKREST_CONFIG.new" "$PGBACKREST_CONFIG"
}

needed_secret() {
    local text
    text=$(secret "$1") && [ -n "$text" ] || { log "nothing is in the secret $1"; return 1; }
    echo "$text"
}

# Where the repository is, a volume or a bucket of S3, and how it is encrypted. Fails unless all of that is known:
# half of it would be another repository, or one in plain. The bucket is part of the path, not of the host's name:
# AWS takes either, many others only this.
repository_options() {
    local cipher key
    cipher=$(needed_secret backup_cipher) || return 1
    printf '%s\n' repo1-cipher-type=aes-256-cbc "repo1-cipher-pass=$cipher"
    if [ -z "${BACKUP_S3_BUCKET:-}" ]; then
        echo repo1-path=/var/lib/pgbackrest
        return
    fi
    key=$(needed_secret backup_s3_secret) || return 1
    printf '%s\n' repo1-type=s3 "repo1-path=${BACKUP_S3_PATH:?}" "repo1-s3-bucket=$BACKUP_S3_BUCKET" \
        "repo1-s3-endpoint=${BACKUP_S3_ENDPOINT:?}" "repo1-s3-region=${BACKUP_S3_REGION:?}" \
        "repo1-s3-key=${BACKUP_S3_KEY:?}" "repo1-s3-key-secret=$key" repo1-s3-uri-style=path
    [ -z "$(secret backup_s3_ca)" ] || echo repo1-storage-ca-file=/run/secrets/backup_s3_ca
}

# over_tls OPTION HOST: how to reach a host, and by which certificate it is known.
over_tls() {
    printf '%s\n' "$1=$2" "$1-type=tls" "$1-config=$PGBACKREST_CONFIG" "$1-ca-file=$tls/ca.crt" "$1-cert-file=$tls/tls.crt" "$1-key-file=$tls/tls.key"
}

# Answers the other side, as long as this container runs; reads a renewed certificate at SIGHUP.
serve_backups() {
    local server
    while :; do
        nice -n 19 pgbackrest server & # reads and compresses for backups; what is archived does not go through it
        server=$!
        echo "$server" >/tmp/pgbackrest/server
        wait "$server" || true
        log "pgBackRest's server has ended; starting it again"
        pause 1
    done
}
reload_backups() { ! read -r server </tmp/pgbackrest/server || kill -HUP "$server" || true; } 2>/dev/null

# restore_data FOLDER KIND VALUE BACKUP [OPTION...]: what is as empty as VALUE and BACKUP may be is not said.
restore_data() {
    local folder=$1 target=("--type=$2") options
    [ -z "$3" ] || target+=("--target=$3" --target-action=promote)
    [ -z "$4" ] || target+=("--set=$4")
    options=$(repository_options)
    write_config "$options"
    printf '%s\n' '[holdfast]' "pg1-path=$folder" >>"$PGBACKREST_CONFIG"
    pgbackrest --stanza=holdfast --log-level-console=info "${target[@]}" "${@:5}" restore
    rm -f "$folder/standby.signal" # whose standby it was
}
