# When a data node's data are replaced by a copy of the primary's; sourced by entrypoint-node, run beside its keeper.
# docs/decisions/0034-a-node-mends-itself.md
# shellcheck shell=bash disable=SC2154  # what entrypoint-node sets

copy_anew=$HOME/copy-anew # says why this node's data is to be replaced by a copy of the primary's
failed_lives=$HOME/failed-lives # of this container, in a row
only_copies=$HOME/only-copies # this volume had the cluster's data: it never begins another cluster
aside=$HOME/damaged       # what was there before the last copy, if there was room

copies_now() {
    local file name
    for file in /proc/[0-9]*/comm; do
        ! read -r name <"$file" || [[ ! $name =~ ^(pg_rewind|pg_basebackup)$ ]] || return 0
    done 2>/dev/null
    return 1
}

# pg_basebackup waits for a checkpoint that the primary spreads over minutes, and pg_autoctl 2.2 asks for no other: also
# where it copies because pg_rewind failed. One that is asked for outright ends that. The replication role may
# (pg_checkpoint), and sees its own sessions. No copy is made while PostgreSQL runs here.
hurry_copies() {
    local postmaster
    while pause 1; do
        find_postmaster
        [ -n "$postmaster" ] || ! copies_now || ask_primary <<'SQL' || true
SELECT count(*) > 0 AS waits FROM pg_stat_progress_basebackup WHERE phase = 'waiting for checkpoint to finish' \gset
\if :waits
CHECKPOINT;
\endif
SQL
    done 2>/dev/null
}

# A copy takes the place of what is here, so another node has to accept writes, and the monitor has to want this one as
# its standby. Who is primary, or may become it, keeps what it has; who is demoted has been stopped for that.
is_wanted() { [ -n "$(of_this_node goalstate "AND goalstate IN ('catchingup', 'secondary', 'wait_standby')")" ]; }
may_be_copied() { is_wanted && a_primary_exists && [ "$(is_read_only 2>/dev/null)" != off ]; }

there_is_room() { measure_room && [ "$free" -ge "$VOLUME_RESERVE" ]; }

# Sets `postmaster` to its process id, or to nothing. In crash recovery, which may take long, it stays the same.
find_postmaster() {
    local pid name
    postmaster=
    if read -r pid <"$PGDATA/postmaster.pid" && read -r name <"/proc/$pid/comm" && [ "$name" = postgres ]; then
        postmaster=$pid
    fi 2>/dev/null
}

# Sets `receiver` to the process id of who receives WAL, or to nothing. It stays the same while it streams; who cannot
# follow has another one at each attempt.
find_receiver() {
    receiver=
    [ ! -e "$PGDATA/standby.signal" ] ||
        receiver=$(local_sql -d postgres -c 'SELECT pid FROM pg_stat_wal_receiver' 2>/dev/null) || receiver=
}

# Whether the primary has removed WAL that this node still needs (max_slot_wal_keep_size).
slot_is_lost() {
    [ "$(ask_primary -c "SELECT wal_status
        FROM pg_replication_slots WHERE slot_name = 'pgautofailover_standby_$(of_this_node nodeid)'" 2>/dev/null)" = lost ]
}

# What the receiver and the recovery say, whole lines: in what is said of a session there is its user first, and
# strangers choose names. (PostgreSQL 17: walsender.c, walreceiver.c, timeline.c, xlogrecovery.c)
cannot_be_followed='^.{23} UTC \[[0-9]+\] (FATAL|ERROR|LOG):  (could not [a-z A-Z]+: ERROR:  )?('\
'requested WAL segment [0-9A-F]{24} has already been removed|'\
'requested (starting point [0-9A-F/]+ on )?timeline [0-9]+ is not in this server.s history|'\
'new timeline [0-9]+ (forked off current|is not a child of) database system timeline .*|'\
'highest timeline [0-9]+ of the primary is behind recovery timeline [0-9]+)$'

# Whether PostgreSQL said in the last 5 s why it cannot follow the primary; it tries ten times a second. Until a keeper
# has rewound its node that may well be so. What a standby never gets over: the WAL of a timeline that was left in the
# segment in which it began is under its name no more, so who was away for two promotions within a segment asks for it
# in vain, whatever its slot keeps.
cannot_follow() {
    local file said at
    printf -v file '%s/log/postgresql-%(%a)T.log' "$HOME" -1
    said=$(tail -c 8192 "$file" 2>/dev/null | grep --text -E "$cannot_be_followed" | tail -n 1) || return 1
    at=$(date -d "${said:0:19}Z" +%s 2>/dev/null) && ((at <= EPOCHSECONDS && EPOCHSECONDS - at <= 5))
}

# Half a minute, six looks, of one of these: no PostgreSQL that stays for two looks, and none that answers now; or no
# receiver that stays, and the reason is said. Or six PostgreSQLs that end within two minutes each. Nothing counts while
# there is no room, a copy is under way, or the monitor does not want a standby here.
watch_data() {
    local failed=0 behind=0 begun=0 stayed=0 postmaster="" receiver="" free
    while pause 5; do look_at_data; done
}
look_at_data() {
    local last=$postmaster last_receiver=$receiver reason=
    find_postmaster
    find_receiver
    if [ -e "$ready" ] && [ -e "$failed_lives" ]; then rm -f "$failed_lives"; fi
    failed=$((failed + 1)) behind=$((behind + 1)) stayed=$((stayed + 1))
    if [ -n "$postmaster" ] && [ "$postmaster" = "$last" ]; then
        failed=0
    elif [ -n "$postmaster" ]; then
        begun=$((begun + 1)) stayed=0
    fi
    if [ -n "$receiver" ] && [ "$receiver" = "$last_receiver" ]; then begun=0 behind=0; fi
    [ $stayed -lt 24 ] || begun=0
    if [ $behind -gt 0 ] && { [ ! -e "$PGDATA/standby.signal" ] || ! cannot_follow; }; then behind=0; fi
    if [ $((failed + behind + begun)) -gt 0 ] && { copies_now || ! there_is_room || ! is_wanted; }; then
        failed=0 behind=0 begun=0
    fi
    if [ $failed -ge 6 ] && ! is_read_only >/dev/null 2>&1; then
        reason="PostgreSQL does not start here"
    elif [ $behind -ge 6 ]; then
        reason="PostgreSQL cannot follow the primary"
    elif [ $begun -ge 6 ]; then
        reason="PostgreSQL ends again and again here"
    elif [ $failed = 0 ] && [ -e "$PGDATA/standby.signal" ] && [ -z "$receiver" ] && slot_is_lost && there_is_room; then
        reason="the primary has no longer the WAL that this node needs"
    fi
    [ -z "$reason" ] || ! may_be_copied || copies_now || begin_copy "$reason"
}

# A keeper may also give up by itself, every few seconds: three lives in a row without a PostgreSQL that
# answered are as much of a sign.
keeper_gave_up() {
    local free
    [ ! -e "$ready" ] && there_is_room || return 0
    date -u >>"$failed_lives"
    [ "$(wc -l <"$failed_lives")" -lt 3 ] || ! may_be_copied || begin_copy "PostgreSQL does not start here"
}

# The container ends with its keeper and starts again (`restart: unless-stopped`), so that nothing of this life
# is left. Not by SIGTERM: a keeper that waits for its PostgreSQL goes on waiting. What is here is replaced.
begin_copy() {
    note_copy "$1" || return 0
    log "$1: a new copy of the primary is made"
    kill -KILL "$keeper" 2>/dev/null || true
}

# In one step: a file with half a reason, or none, would be one for another life.
note_copy() {
    { echo "$1" >"$copy_anew.new" && mv "$copy_anew.new" "$copy_anew"; } 2>/dev/null && return
    rm -f "$copy_anew.new"
    log "$1: no room to note that"
    return 1
}

# Before the keeper runs: whom the monitor does not know any more, while another node accepts writes, was given up
# by an operator (`holdfast failover --accept-loss`), or was away while the monitor lost its data. Its keeper would
# end at once, for ever.
leave_what_was_given_up() {
    local host
    if [ -e "$created" ] && host=$(another_primary); then
        log "the monitor knows this node no more, and $host accepts writes: a new copy of it is made"
        note_copy "given up" || start_again
    fi
}

# Prints the node that the monitor knows as the primary, if it accepts writes and the monitor does not know this one.
another_primary() {
    local host
    host=$(ask_monitor "SELECT min(nodehost) FILTER (WHERE reportedstate IN ('single', 'wait_primary', 'primary'))
        FROM pgautofailover.node HAVING count(*) FILTER (WHERE nodename = :'node') = 0") && [ -n "$host" ] &&
        [ "$(psql "host=$host ${nodes#* } target_session_attrs=read-write connect_timeout=2" --no-psqlrc -qAt -c 'SELECT 1')" = 1 ] &&
        echo "$host"
}

# At the start of the next life, once there is still somebody to copy. What was here is kept once, where the volume has
# room for it beside a copy. What was given up, or has no reason that is known, may be all there is of acknowledged
# writes: it is removed by a person alone.
clear_for_copy() {
    [ -e "$copy_anew" ] || return 0
    local reason size free=0 given_up=no
    touch "$only_copies"
    reason=$(cat "$copy_anew")
    case $reason in
    PostgreSQL\ * | the\ primary\ *) ;;
    *) given_up=yes aside=$HOME/given-up-$(date -u +%Y%m%dT%H%M%SZ) ;;
    esac
    if [ -e "$PGDATA" ]; then
        a_primary_exists || start_again "nobody accepts writes who could be copied: what is here stays until somebody does"
        [ $given_up = yes ] || rm -rf "$aside"
        size=$(du --summarize --block-size=1M "$PGDATA" | cut -f 1)
        measure_room
        if [ "$free" -gt $((size + size / 2 + VOLUME_RESERVE)) ]; then
            mv "$PGDATA" "$aside"
            log "what was here is in $aside, $size MB"
        elif [ $given_up = yes ] && [ ! -e "$HOME/remove-given-up" ]; then
            start_again "no room to keep what was given up ($size MB, $free MB free): make some, or touch $HOME/remove-given-up"
        else
            log "no room to keep what was here ($size MB, $free MB free): it is removed"
            rm -rf "$PGDATA"
        fi
    fi
    rm -f "$created" "$copy_anew" "$failed_lives" "$HOME/remove-given-up"
}

# The container does, for as long as it is so.
start_again() {
    [ -z "${1-}" ] || log "$1"
    pause 10
    exit 1
}
