# What a data node mends by itself; sourced by entrypoint-node, run beside its keeper. pg_auto_failover 2.2
# does none of it. docs/decisions/0034-a-node-mends-itself.md
# shellcheck shell=bash disable=SC2154  # what entrypoint-node sets

copy_anew=$HOME/copy-anew # says why this node's data is to be replaced by a copy of the primary's
failed_lives=$HOME/failed-lives # of this container, in a row
lead=$HOME/lead # there from an operator's word until it is done
led=$HOME/led   # what it said, then: a restore that is said again knows that it was done
only_copies=$HOME/only-copies # this volume had the cluster's data: it never begins another cluster
# Nothing is known of a monitor whose numbers still begin at 1 (monitor.sql).
is_set_up="(SELECT seqstart FROM pg_sequence WHERE seqrelid = 'pgautofailover.node_nodeid_seq'::regclass) > 1"
aside=$HOME/damaged       # what was there before the last copy, if there was room

# ---------------------------------------------------------------- data that cannot be used any more
copies_now() {
    local file name
    for file in /proc/[0-9]*/comm; do
        ! read -r name <"$file" || [[ ! $name =~ ^(pg_rewind|pg_basebackup)$ ]] || return 0
    done 2>/dev/null
    return 1
}

# A copy takes the place of what is here, so another node has to accept writes, and the monitor has to want
# this one as its standby. Who is primary, or may become it, keeps what it has.
may_be_copied() {
    a_primary_exists && [ "$(is_read_only 2>/dev/null)" != off ] &&
        [ -n "$(of_this_node goalstate "AND goalstate IN ('demoted', 'demote_timeout', 'catchingup', 'secondary', 'wait_standby')")" ]
}

# Sets `postmaster` to its process id, or to nothing. In crash recovery, which may take long, it stays the same.
find_postmaster() {
    local pid name
    postmaster=
    if read -r pid <"$PGDATA/postmaster.pid" && read -r name <"/proc/$pid/comm" && [ "$name" = postgres ]; then
        postmaster=$pid
    fi 2>/dev/null
}

# Whether the primary has removed WAL that this node still needs (max_slot_wal_keep_size).
slot_is_lost() {
    [ "$(psql "$nodes target_session_attrs=read-write connect_timeout=2" --no-psqlrc -qAt -c "SELECT wal_status
        FROM pg_replication_slots WHERE slot_name = 'pgautofailover_standby_$(of_this_node nodeid)'" 2>/dev/null)" = lost ]
}

cannot_be_followed='requested WAL segment .* has already been removed|requested starting point .* is not in this server|'\
'new timeline .* forked off current database system timeline|highest timeline .* is behind recovery timeline'

# Whether PostgreSQL said in the last 5 s why it cannot follow the primary; it tries ten times a second. Until a keeper
# has rewound its node that may well be so. What a standby never gets over: the WAL of a timeline that was left in the
# segment in which it began is under its name no more, so who was away for two promotions within a segment asks for it
# in vain, whatever its slot keeps.
cannot_follow() {
    local file said
    printf -v file '%s/log/postgresql-%(%a)T.log' "$HOME" -1
    said=$(tail -c 8192 "$file" 2>/dev/null | grep -E "$cannot_be_followed" | tail -n 1) &&
        [ -n "$said" ] && [ $((EPOCHSECONDS - $(date -d "${said:0:19}Z" +%s))) -le 5 ]
}

# What cannot start: no PostgreSQL that stays for two looks, for half a minute, and none that answers now. Or has said
# for as long why it cannot follow. Nothing can, nor be copied, while there is no room.
watch_data() {
    local failed=0 behind=0 postmaster="" free
    while pause 5; do look_at_data; done
}
look_at_data() {
    local before=$postmaster
    find_postmaster
    if [ -e /tmp/ready ] && [ -e "$failed_lives" ]; then rm -f "$failed_lives"; fi
    failed=$((failed + 1)) behind=$((behind + 1))
    if copies_now || ! measure_room || [ "$free" -lt "$VOLUME_RESERVE" ]; then failed=0 behind=0; fi
    if [ -n "$postmaster" ] && [ "$postmaster" = "$before" ]; then failed=0; fi
    if [ ! -e "$PGDATA/standby.signal" ] || ! cannot_follow; then behind=0; fi
    if [ $failed -ge 6 ] && ! is_read_only >/dev/null 2>&1 && may_be_copied; then
        begin_copy "PostgreSQL does not start here"
    elif [ $behind -ge 6 ] && may_be_copied; then
        begin_copy "PostgreSQL cannot follow the primary"
    elif [ $failed = 0 ] && [ -e "$PGDATA/standby.signal" ] && ! copies_now &&
        [ "$(local_sql -d postgres -c 'SELECT count(*) FROM pg_stat_wal_receiver' 2>/dev/null)" = 0 ] &&
        slot_is_lost && may_be_copied; then
        begin_copy "the primary has no longer the WAL that this node needs"
    fi
}

# A keeper may also give up by itself, every few seconds: three lives in a row without a PostgreSQL that
# answered are as much of a sign.
keeper_gave_up() {
    [ ! -e /tmp/ready ] || return 0
    date -u >>"$failed_lives"
    [ "$(wc -l <"$failed_lives")" -lt 3 ] || ! may_be_copied || begin_copy "PostgreSQL does not start here"
}

# The container ends with its keeper and starts again (`restart: unless-stopped`), so that nothing of this life
# is left. Not by SIGTERM: a keeper that waits for its PostgreSQL goes on waiting. What is here is replaced.
begin_copy() {
    if ! echo "$1" >"$copy_anew"; then
        rm -f "$copy_anew"
        return 0
    fi
    log "$1: a new copy of the primary is made"
    kill -KILL "$keeper" 2>/dev/null || true
}

# Before the keeper runs: whom the monitor does not know any more, while another node accepts writes, was given up
# by an operator (`holdfast failover --accept-loss`), or was away while the monitor lost its data. Its keeper would
# end at once, for ever.
leave_what_was_given_up() {
    local host
    if [ -e "$created" ] && host=$(another_primary); then
        log "the monitor knows this node no more, and $host accepts writes: a new copy of it is made"
        echo "given up" >"$copy_anew"
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

# At the start of the next life. What was here is kept once, where the volume has room for it beside a copy. What was
# given up may be all there is of acknowledged writes: it is removed by a person alone.
clear_for_copy() {
    [ -e "$copy_anew" ] || return 0
    local reason size free=0
    touch "$only_copies"
    reason=$(cat "$copy_anew")
    if [ "$reason" = "given up" ]; then aside=$HOME/given-up-$(date -u +%Y%m%dT%H%M%SZ); else rm -rf "$aside"; fi
    if [ -e "$PGDATA" ]; then
        size=$(du --summarize --block-size=1M "$PGDATA" | cut -f 1)
        measure_room
        if [ "$free" -gt $((size + size / 2 + VOLUME_RESERVE)) ]; then
            mv "$PGDATA" "$aside"
            log "what was here is in $aside, $size MB"
        elif [ "$reason" = "given up" ] && [ ! -e "$HOME/remove-given-up" ]; then
            log "no room to keep what was given up ($size MB, $free MB free): make some, or touch $HOME/remove-given-up"
            pause 10 # the container starts again, for as long as nobody decides
            exit 1
        else
            log "no room to keep what was here ($size MB, $free MB free): it is removed"
            rm -rf "$PGDATA"
        fi
    fi
    rm -f "$created" "$copy_anew" "$failed_lives" "$HOME/remove-given-up"
}

# ---------------------------------------------------------------- a monitor that lost its data while no node ran
# Nobody knows who was the primary, and a stale one must not be taken for it: a person says
# (`holdfast failover --accept-loss`, which reads what each node has and makes the file `lead`). The others copy it.
# Prints how many nodes the monitor knows beside this one, and whether it knows this one. Fails where it does not say.
who_is_known() {
    ask_monitor "SELECT count(*) FILTER (WHERE nodename <> :'node') || ' ' || count(*) FILTER (WHERE nodename = :'node')
        FROM pgautofailover.node HAVING $is_set_up" | grep .
}
await_a_leader() {
    local known
    rm -f /tmp/leaderless
    trap 'exit 0' TERM INT
    while [ -e "$created" ] && [ ! -e "$copy_anew" ]; do
        known=$(who_is_known) || known=
        if [ -e "$lead" ]; then
            case $known in
            '')
                [ -e /tmp/leaderless ] || log "to be the primary: waiting for the monitor"
                touch /tmp/leaderless # empty: no person is waited for
                ;;
            "0 "*)
                take_the_lead
                break
                ;;
            *) break ;; # another one registered before
            esac
        else
            [ "$known" = "0 0" ] || break
            [ -e /tmp/leaderless ] || log "the monitor knows no node, and this one cannot know whether it was the primary:" \
                "\`holdfast failover $NODE_NAME --accept-loss\` makes it the primary as it is"
            echo yes >/tmp/leaderless
        fi
        pause 1
    done
    trap - TERM INT
    [ ! -s "$lead" ] || mv "$lead" "$led"
    rm -f "$lead" /tmp/leaderless
}
# A standby is promoted first, out of anybody's reach: what it writes from now on is on a timeline of its own.
take_the_lead() {
    log "the primary as it is, by an operator's word"
    forget_killed_processes
    if [ -e "$PGDATA/standby.signal" ]; then
        pg_ctl --silent --pgdata "$PGDATA" --wait --timeout 60 start \
            --options "-c listen_addresses='' -c unix_socket_directories=$(mktemp -d)"
        pg_ctl --silent --pgdata "$PGDATA" --wait --timeout 60 promote
        pg_ctl --silent --pgdata "$PGDATA" --wait --timeout 60 --mode fast stop
    fi
    of_this_node 'pgautofailover.remove_node(nodehost, nodeport, true)' >/dev/null # killed before it was done
    rm -rf "$HOME/.config" "$HOME/.local"
    register_postgres
}

# ---------------------------------------------------------------- a monitor that has lost its data
# It knows no node: the keepers would report to it in vain for ever, and nobody would fail over. The one that
# accepts writes registers first, as it is; then the others, as its standbys. A keeper that is told twice at once
# to read its configuration may miss the second time: while it does not report it is told again.
watch_monitor() {
    local known host
    while pause 5; do
        [ ! -e "$stopping" ] || return 0
        resume_writes
        known=$(ask_monitor "SELECT count(*) FILTER (WHERE nodename = :'node') || ' ' ||
            count(*) FILTER (WHERE reportedstate IN ('single', 'wait_primary', 'primary')) || ' ' ||
            count(*) FILTER (WHERE nodename = :'node' AND reporttime < now() - interval '10 seconds')
            FROM pgautofailover.node HAVING $is_set_up") || continue
        case $known in
        "0 0 "*) [ "$(is_read_only 2>/dev/null)" = off ] && register "a primary" ;;
        "0 "*)
            case $(is_read_only 2>/dev/null) in
            on) register "a standby" ;;
            # It was given up while it could not be asked: nobody waits for what it acknowledges.
            off)
                host=$(another_primary) || continue
                log "the monitor knows this node no more, and $host accepts writes: this one ends"
                kill -KILL "$keeper" 2>/dev/null || true
                return 0
                ;;
            esac
            ;;
        # Not while PostgreSQL is down: the signal ends pg_rewind, pg_basebackup (#1182) and a keeper that waits.
        *" 1") is_read_only >/dev/null 2>&1 && ! copies_now && pg_autoctl reload >/dev/null ;;
        esac || true
    done
}

# Whose primary is dropped in the middle of a promotion becomes single and stays read-only for ever: pg_autoctl 2.2
# lifts that only on the way to wait_primary (fsm.c, stop_replication to single).
resume_writes() {
    find_line "$PGDATA/postgresql.auto.conf" "^default_transaction_read_only = 'on'" &&
        [ ! -e "$PGDATA/standby.signal" ] &&
        [ -n "$(of_this_node nodeid "AND reportedstate = 'single' AND goalstate = 'single'")" ] || return 0
    log "the only node, and read-only since its promotion: it accepts writes from now on"
    local_sql -d postgres -c 'ALTER SYSTEM SET default_transaction_read_only TO off' -c 'SELECT pg_reload_conf()' >/dev/null ||
        log "still read-only"
}

register() {
    log "the monitor does not know this node: registering as $1"
    pg_autoctl disable monitor --force >/dev/null 2>&1 || true
    pg_autoctl enable monitor "$monitor"
}

# ---------------------------------------------------------------- only the way to the primary is cut
# Both ends still reach the monitor, which sees nothing wrong, and commits wait (mended upstream by #1149, after
# 2.2). The standby steps out of the quorum, and comes back when the way is there again.
primary_address() {
    ask_monitor "SELECT nodehost FROM pgautofailover.node WHERE nodename <> :'node' AND goalstate IN ('primary', 'wait_primary') LIMIT 1"
}

# answers_at_all HOST [PORT]: whether anything answers within a second. The kernel answers, also for a PostgreSQL that
# is busy; a refusal is an answer too. A fork of this shell connects, without running a program. The pipe from it
# closes when it ends: `read` waits for that.
answers_at_all() {
    local attempt silent=no
    exec {attempt}< <({ : <"/dev/tcp/$1/${2:-5432}"; } 2>/dev/null)
    read -rt 1 -u "$attempt" || [ $? -le 128 ] || silent=yes
    [ $silent = no ] || kill -KILL $!
    exec {attempt}<&-
    wait $! || true
    [ $silent = no ]
}

# Commits wait for this node, and the monitor hears of a healthy primary later than at the time given: one that is
# dead says no more.
primary_waits_after() {
    [ "$(ask_monitor "SELECT 1 FROM pgautofailover.node AS other WHERE nodename <> :'node' AND reportedstate = 'primary'
        AND goalstate = 'primary' AND health = 1 AND reporttime > to_timestamp($1) AND EXISTS (SELECT FROM
        pgautofailover.node AS me WHERE me.nodename = :'node' AND me.replicationquorum) LIMIT 1")" = 1 ]
}

# Sets `host` to the address that this node replicates from, as pg_autoctl has written it down; fails if it has not.
replicates_from() {
    local standby=$PGDATA/postgresql-auto-failover-standby.conf
    find_line "$standby" "^primary_conninfo *=.*host=([^ ']+)" && host=${BASH_REMATCH[1]}
}

watch_the_way() {
    local host
    while pause 0.5; do
        [ -e "$PGDATA/standby.signal" ] && [ ! -e "$stepped_out" ] && [ ! -e "$stopping" ] || continue
        replicates_from || continue
        # Twice: one packet may be lost.
        if answers_at_all "$host" || answers_at_all "$host"; then continue; fi
        wait_until 2 "a report of the primary, $host" primary_waits_after "$(date +%s.%N)" 2>/dev/null || continue
        can_step_out || continue
        log "no way to the primary, $host, which lives: stepping out of the quorum"
        step_out || log "not out of the quorum yet"
    done
}

# Where this node stepped out because the way was cut, it comes back when there is one.
way_is_there() {
    local host
    host=$(primary_address) && { [ -z "$host" ] || answers_at_all "$host"; }
}
