# shellcheck shell=bash
# What commits wait for on this node, while it is the primary (ops/replication.py): sourced by entrypoint-node.
replication=/run/replication # the mode, as the operator has it now

# A node that was away as it changed follows as well, and one that has copied another's settings. `on` is PostgreSQL's
# default: nothing is written for it where nothing else is.
look_at_replication() {
    local mode value settings=$PGDATA/postgresql.auto.conf
    read -r mode 2>/dev/null <"$replication" || return 0
    case $mode in
    sync) value=on ;;
    async) value=local ;;
    remote_apply) value=remote_apply ;;
    *) return 0 ;;
    esac
    ! find_line "$settings" "^synchronous_commit = '$value'" || return 0
    [ "$value" != on ] || find_line "$settings" '^synchronous_commit =' || return 0
    if local_sql -d postgres -c "ALTER SYSTEM SET synchronous_commit = $value" -c 'SELECT pg_reload_conf()' >/dev/null 2>&1; then
        log "commits: $mode"
    fi
}

follow_replication() { while pause 1; do look_at_replication; done; }
