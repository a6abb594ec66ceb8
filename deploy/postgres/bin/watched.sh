# What the repository tells those who watch it, where somebody does (MONITORING=yes): pgBackRest's exporter, and what only
# this container knows. By TLS, with the password of holdfast_monitoring; sourced, after common.sh and pgbackrest.sh.
# shellcheck shell=bash disable=SC2154  # what common.sh and entrypoint-repository set
# shellcheck source=deploy/shell/digest.sh
source "${BASH_SOURCE[0]%/*}/digest.sh"
web=/tmp/web.yml
facts=/tmp/facts

# Read anew by the exporters at each question.
write_web() {
    (
        umask 077
        printf '%s\n' "tls_server_config: {cert_file: $tls/tls.crt, key_file: $tls/tls.key}" \
            "basic_auth_users: {holdfast_monitoring: '$(digest <<<"$1")'}" >"$web.new"
    )
    mv "$web.new" "$web"
}

# fact NAME VALUE HELP
fact() { printf '# HELP %s %s\n# TYPE %s gauge\n%s %s\n' "$1" "$3" "$1" "$1" "$2"; }
there() { if [ -e "$1" ]; then echo 1; else echo 0; fi; }
write_facts() {
    local verified=0 last=0 whole
    # Of what pgBackRest says, moments alone are numbers; positions and segments are strings.
    read_whole "$info" || true
    while [[ $whole =~ \"stop\":\ ?([0-9]+) ]]; do
        [ "${BASH_REMATCH[1]}" -le "$last" ] || last=${BASH_REMATCH[1]}
        whole=${whole#*"${BASH_REMATCH[0]}"}
    done
    [ ! -s /var/lib/pgbackrest/verified ] || read -r verified </var/lib/pgbackrest/verified || [ -n "$verified" ]
    {
        fact holdfast_backup_gap "$(there "$gap")" "1: WAL is missing since the newest full backup."
        fact holdfast_backup_failed "$(there "$failed")" "1: the last backup that was begun failed."
        fact holdfast_backup_verified_timestamp_seconds "$verified" "When a copy was last found sound, in Unix time; 0: never."
        # Nothing is said before the repository has been looked at.
        [ ! -s "$info" ] ||
            fact holdfast_backup_last_timestamp_seconds "$last" "When the newest backup ended, in Unix time; 0: there is none."
        fact holdfast_backup_full_interval_seconds $((BACKUP_FULL_DAYS * 86400)) "Seconds from one full backup to the next."
        fact holdfast_backup_diff_interval_seconds $((BACKUP_DIFF_HOURS * 3600)) "Seconds from one backup to the next."
    } >"$facts/facts.prom.new"
    mv "$facts/facts.prom.new" "$facts/facts.prom"
}

tell_watchers() {
    local now known
    mkdir -p "$facts"
    read_passwords
    known=$now
    write_web "$(secret monitoring_password)"
    write_facts
    keep prometheus-pgbackrest-exporter --backrest.config="$PGBACKREST_CONFIG" --backrest.stanza-include=holdfast \
        --collect.interval=60 --web.listen-address="${LISTEN_ADDRESS:-}:9854" --web.config.file="$web" --log.level=error &
    keep prometheus-node-exporter --collector.disable-defaults --collector.textfile \
        --collector.textfile.directory="$facts" --web.listen-address="${LISTEN_ADDRESS:-}:9100" --web.config.file="$web" --log.level=error &
    while pause 10; do
        write_facts
        read_passwords
        if [ "$now" != "$known" ]; then
            write_web "$(secret monitoring_password)"
            known=$now
        fi
    done
}
