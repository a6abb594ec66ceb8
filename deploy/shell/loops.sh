# For loops that run as long as their container: what `sleep`, `cmp` and `grep` do, without a process. A stack has some
# thirty such loops, and starting processes was most of what they cost. Sourced, not run.
# shellcheck shell=bash

# pause SECONDS: reads, for as long, from a pipe that this shell itself holds open and that nobody writes to. A read
# that ends for another reason than the time (no pipe, a line in it) must not make the loop spin: `sleep` then. The
# first pause opens the pipe, which sets $!.
pause() {
    local status=0
    [ -n "${never-}" ] || exec {never}<> <(:)
    read -rt "$1" -u "$never" 2>/dev/null || status=$?
    [ $status -gt 128 ] || sleep "$1"
}

# read_whole FILE: sets `whole` to the text in it; fails if there is no such file.
read_whole() {
    whole=
    { IFS= read -rd '' whole || true; } 2>/dev/null <"$1"
}

# same FILE FILE: whether both are there, with the same text.
same() {
    local whole one
    read_whole "$1" && one=$whole && read_whole "$2" && [ "$one" = "$whole" ]
}

# find_line FILE REGEX: whether a line of it matches; BASH_REMATCH says how.
find_line() {
    local line
    while IFS= read -r line || [ -n "$line" ]; do
        [[ ! $line =~ $2 ]] || return 0
    done 2>/dev/null <"$1"
    return 1
}
