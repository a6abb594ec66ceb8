"""Edge: HAProxy, the virtual IP, the published address from outside, certificates."""

from __future__ import annotations

from dashboards.model import (
    GREEN,
    GREY,
    RED,
    YELLOW,
    Dashboard,
    Panel,
    Query,
    Row,
    above,
    number,
)

PROXY = 'job="haproxy", instance=~"$instance"'
NAMED = "{{instance}} {{proxy}}"
UP_OR_DOWN = ((0, "down", RED), (1, "up", GREEN))


def rate(metric: str, by: str, more: str = "") -> str:
    """Return what a counter of HAProxy grows by in a second, by labels."""
    counter = f"haproxy_{metric}_total{{{PROXY}{more}}}"
    return f"sum by ({by}) (rate({counter}[$__rate_interval]))"


OUTSIDE = Row(
    "From outside",
    (
        Panel(
            "The published address",
            "Whether an HTTPS request to /health through the edge is answered well, with a"
            " certificate that holds.",
            "none",
            (Query('min by (instance) (probe_success{job="edge"})', "{{instance}}"),),
            kind="states",
            words=((0, "does not answer", RED), (1, "answers", GREEN)),
            span=24,
            height=4,
        ),
        Panel(
            "Time of an answer, by phase",
            "Of that request: resolving the name, connecting, TLS, waiting, reading.",
            "s",
            (Query('max by (phase) (probe_http_duration_seconds{job="edge"})', "{{phase}}"),),
            kind="stacked",
        ),
        Panel(
            "Status",
            "The status of the answer from outside. 0: there was none.",
            "none",
            (Query('min by (instance) (probe_http_status_code{job="edge"})', "{{instance}}"),),
            kind="steps",
        ),
    ),
)

ADDRESS = Row(
    "Virtual IP",
    (
        Panel(
            "Who has the virtual IP",
            "A proxy that is away has no band.",
            "none",
            (Query('max by (instance) (holdfast_virtual_ip_held{job="proxy"})', "{{instance}}"),),
            kind="states",
            words=((0, "stands by", GREY), (1, "has it", GREEN)),
            span=12,
            height=5,
        ),
        Panel(
            "Proxies that have it",
            "One is right. None: nobody reaches the service. Two: connections are reset.",
            "none",
            (Query('sum(holdfast_virtual_ip_held{job="proxy"})', "proxies"),),
            kind="number",
            steps=((None, RED), (1, GREEN), (2, RED)),
            span=6,
            height=5,
        ),
        Panel(
            "Moves in an hour",
            "How often the other proxy took it. `make update` makes two.",
            "none",
            (
                Query(
                    'sum(changes(holdfast_virtual_ip_held{job="proxy"}[1h])'
                    ' - resets(holdfast_virtual_ip_held{job="proxy"}[1h]))',
                    "moves",
                ),
            ),
            kind="number",
            steps=((None, GREEN), (number("VIRTUAL_IP_MOVES_MOST") + 1, RED)),
            span=6,
            height=5,
        ),
    ),
)

HAPROXY = Row(
    "HAProxy",
    (
        Panel(
            "Instances of the service",
            "Whether each proxy sends requests to each instance.",
            "none",
            (
                Query(
                    "max by (instance, server) (haproxy_server_status{"
                    f'{PROXY}, proxy="apps", server!~".*-unchecked", state="UP"}})',
                    "{{server}} at {{instance}}",
                ),
            ),
            kind="states",
            words=UP_OR_DOWN,
        ),
        Panel(
            "Data nodes",
            "Whether each proxy sends connections to each node: pg_primary for writes, pg_any for"
            " reads. One node is up in pg_primary.",
            "none",
            (
                Query(
                    "max by (instance, proxy, node) (label_replace(haproxy_server_status{"
                    f'{PROXY}, proxy=~"pg_primary|pg_any", state="UP"}}, "node", "$1", "server",'
                    ' "(.*)")) and on (node) holdfast:node:expected',
                    "{{node}} in {{proxy}} at {{instance}}",
                ),
            ),
            kind="states",
            words=((0, "no", GREY), (1, "yes", GREEN)),
        ),
        Panel(
            "Sessions",
            "Connections that are open, by port.",
            "none",
            (
                Query(
                    "sum by (instance, proxy) (haproxy_frontend_current_sessions"
                    f'{{{PROXY}, proxy!="stats"}})',
                    NAMED,
                ),
            ),
            kind="stacked",
        ),
        Panel(
            "New sessions",
            "Connections a second that clients opened, by port.",
            "cps",
            (Query(rate("frontend_sessions", "instance, proxy", ', proxy!="stats"'), NAMED),),
        ),
        Panel(
            "HTTP responses",
            "A second, by class. 5xx here and not in the overview: HAProxy itself answered.",
            "reqps",
            (Query(rate("frontend_http_responses", "code", ', proxy="http"'), "{{code}}"),),
            kind="stacked",
        ),
        Panel(
            "Traffic",
            "Bytes a second that came in and went out, by port.",
            "Bps",
            (
                Query(rate("frontend_bytes_in", "proxy", ', proxy!="stats"'), "{{proxy}} in"),
                Query(rate("frontend_bytes_out", "proxy", ', proxy!="stats"'), "{{proxy}} out"),
            ),
        ),
        Panel(
            "Connections that failed",
            "A second: HAProxy could not connect to a server, tried once more, or took another"
            " one.",
            "ops",
            (
                Query(rate("backend_connection_errors", "proxy"), "{{proxy}} failed"),
                Query(rate("backend_retry_warnings", "proxy"), "{{proxy}} once more"),
                Query(rate("backend_redispatch_warnings", "proxy"), "{{proxy}} another"),
            ),
        ),
        Panel(
            "Queues",
            "Requests and connections that wait for a server, by backend.",
            "none",
            (Query(f"sum by (proxy) (haproxy_backend_current_queue{{{PROXY}}})", "{{proxy}}"),),
            kind="steps",
        ),
        Panel(
            "Mean response time",
            "Of the last 1024 responses of the service, as HAProxy measures it.",
            "s",
            (
                Query(
                    "max by (instance) (haproxy_backend_response_time_average_seconds"
                    f'{{{PROXY}, proxy="apps"}})',
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Time of a check",
            "How long the last check of each server took.",
            "s",
            (
                Query(
                    f"max by (proxy, server) (haproxy_server_check_duration_seconds{{{PROXY}}})",
                    "{{server}} in {{proxy}}",
                ),
            ),
        ),
    ),
)

CERTIFICATES = Row(
    "Certificates",
    (
        Panel(
            "Until a certificate ends",
            "Of each node, the monitor and the edge, as long as they last. They are renewed when a"
            " third of their life is left; the line is the alert's.",
            "s",
            (Query("min by (instance) (holdfast:certificate_left:seconds)", "{{instance}}"),),
            kind="number",
            steps=(
                (None, RED),
                (number("CERTIFICATE_LEFT_LAST"), YELLOW),
                (number("CERTIFICATE_LEFT_LEAST"), GREEN),
            ),
        ),
        Panel(
            "Until those end that the service was shown",
            "Of the nodes and their CA, as each instance verified them in its newest session.",
            "s",
            (
                Query(
                    "min by (name) (holdfast_database_certificate_expiry_timestamp_seconds"
                    '{job="app"}) - time()',
                    "{{name}}",
                ),
            ),
            kind="number",
            steps=above("CERTIFICATE_LEFT_LEAST"),
        ),
    ),
)

PAGE = Dashboard(
    "edge",
    "Edge",
    "HAProxy, the virtual IP, the published address as it is from outside, and certificates.",
    (OUTSIDE, ADDRESS, HAPROXY, CERTIFICATES),
    instances="haproxy",
)
