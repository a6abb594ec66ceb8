# What a data node mends by itself; sourced by entrypoint-node, run beside its keeper. pg_auto_failover 2.2
# does none of it. docs/decisions/0034-a-node-mends-itself.md
# shellcheck shell=bash disable=SC2154  # what entrypoint-node sets

lead=$HOME/lead # there from an operator's word until it is done
led=$HOME/led   # what it said, then: a restore that is said again knows that it was done
# Nothing is known of a monitor whose numbers still begin at 1 (monitor.sql).
is_set_up="(SELECT seqstart FROM pg_sequence WHERE seqrelid = 'pgautofailover.node_nodeid_seq'::regclass) > 1"

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
    while [ -e "$created" ] && { [ ! -e "$copy_anew" ] || [ -e "$lead" ]; }; do
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
    rm -rf "$HOME/.config" "$HOME/.local" "$copy_anew"
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
