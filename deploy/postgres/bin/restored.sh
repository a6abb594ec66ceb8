# What is restored in place of a node's data; sourced by entrypoint-node and entrypoint-replace, after common.sh.
# docs/decisions/0055-restore-in-place.md
# shellcheck shell=bash

# What entrypoint-replace restores beside a node's data; the file that says what was restored, once it is complete; and
# the one that says that there is no way back: the others have been told to copy it.
beside=$HOME/restored
restored=$beside/is-complete
decided=$beside/is-decided

# swap_in_restored NODE: each step is one rename, in this order; killed between two, it goes on where it was. The node
# leads when it starts.
swap_in_restored() {
    if [ -e "$beside/data" ]; then
        [ ! -e "$PGDATA" ] || mv "$PGDATA" "$HOME/replaced-$(date -u +%Y%m%dT%H%M%SZ)"
        mv "$beside/data" "$PGDATA"
    fi
    rm -f "$HOME"/{received,stepped-out,copy-anew,led} # of what was here
    touch "$HOME/created-$1"
    mv "$restored" "$HOME/lead"
    rm -rf "$beside"
    sync
}

# Held by all that runs here, so that no restore works on the same volume (entrypoint-replace).
await_the_volume() {
    exec 9>>"$HOME/in-use"
    flock --nonblock 9 && return
    log "a restore works on this volume"
    pause 5 # the container starts again
    exit 1
}

# Of a restore that was interrupted: once it is decided it goes on; before, the node does, as it was.
finish_restore() {
    if [ -e "$decided" ] && [ -e "$restored" ]; then
        log "a restore was interrupted: this node goes on with what was restored"
        until ask_monitor 'SELECT pgautofailover.remove_node(nodehost, nodeport, true) FROM pgautofailover.node' >/dev/null; do
            log "waiting for the monitor"
            pause 5
        done
        swap_in_restored "$NODE_NAME"
    fi
    rm -rf "$beside"
}
