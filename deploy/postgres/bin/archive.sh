# What a node archives; sourced by entrypoint-node, after pgbackrest.sh.
# shellcheck shell=bash disable=SC2154  # what entrypoint-node sets

# What PostgreSQL reads at each start, and pgBackRest. Archiving is the same on every node: who is the primary archives.
# A stop waits for three attempts of archive-timeout each, where the repository is away.
size_settings() {
    local lines
    size-settings >/tmp/postgresql.sized.conf
    [ "$BACKUP" = yes ] || return 0
    mapfile -t lines < <(over_tls repo1-host backup)
    write_config "${lines[@]}" archive-async=y archive-timeout=4 tls-server-auth=backup=holdfast \
        "archive-push-queue-max=$(awk '/^max_slot_wal_keep_size/ { print $3 }' /tmp/postgresql.sized.conf)"
    printf '%s\n' '[holdfast]' "pg1-path=$PGDATA" pg1-socket-path=/var/run/postgresql >>"$PGBACKREST_CONFIG"
    printf '%s\n' 'archive_mode = on' "archive_command = 'pgbackrest --stanza=holdfast archive-push %p'" \
        'archive_timeout = 60s' >>/tmp/postgresql.sized.conf
}

# A standby takes for archived what it has received: the primary archives it. One that dies may not have. So who is
# promoted archives again what it still has of the timelines that led here; pgBackRest knows by the checksum what is there.
archive_what_was_received() {
    local received=$HOME/received # there while this node is a standby, and until that is done
    while pause 1; do
        if [ -e "$PGDATA/standby.signal" ]; then
            [ -e "$received" ] || touch "$received"
        elif [ -e "$received" ] && [ "$(is_read_only 2>/dev/null)" = off ] && mark_received; then
            rm -f "$received"
            log "what was received from the primary before is archived again"
        fi
    done
}

# Only whole segments: the one in which a timeline was left may be marked, too, and is but its beginning. Fails while the
# repository has to be asked, and does not answer.
mark_received() {
    local now parent left last file status
    for file in "$PGDATA"/pg_wal/archive_status/*.history.done; do
        [ ! -e "$file" ] || mv "$file" "${file%.done}.ready"
    done
    now=$(local_sql -d postgres -c 'SELECT pg_walfile_name(pg_current_wal_lsn())') || return 1
    [ -e "$PGDATA/pg_wal/${now:0:8}.history" ] || return 0
    while read -r parent left _; do
        [[ $parent =~ ^[0-9]+$ ]] || continue
        last=$((((0x${left%/*} << 32) + 0x${left#*/}) / 16777216)) # segments have 16 MB
        for file in "$PGDATA/pg_wal/$(printf %08X "$parent")"????????????????; do
            [ -e "$file" ] && [ $((0x${file: -16:8} * 256 + 0x${file: -8})) -lt $last ] || continue
            status=$PGDATA/pg_wal/archive_status/${file##*/}
            if [ -e "$status.done" ]; then
                mv "$status.done" "$status.ready"
            elif [ ! -e "$status.ready" ]; then
                mark_unknown "$file" "$status" || return 1
            fi
        done
    done <"$PGDATA/pg_wal/${now:0:8}.history"
}

# mark_unknown SEGMENT STATUS: one of which nobody has said yet whether it is archived, as the primary died right after it
# ended it. What follows the last record may be another's: it must not meet what the primary may have archived.
mark_unknown() {
    local code=0
    pgbackrest --stanza=holdfast --no-archive-async archive-get "${1##*/}" /tmp/archived >/dev/null 2>&1 || code=$?
    rm -f /tmp/archived
    case $code in
    0) touch "$2.done" ;;
    1) touch "$2.ready" ;; # it has no such segment
    *) return 1 ;;
    esac
}
