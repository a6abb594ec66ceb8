# Who is told of what: `page` and `ticket` people, `info` nobody; Watchdog a dead man's switch, every minute.
# In: files of secrets and of CAs, empty where there is none, and addresses. Out: two keys of YAML.
def verified(by): if $ca == "" then {} else {ca_file: $ca} | by end;
def hook(file): if file == "" then [] else [{url_file: file, send_resolved: true} + verified({http_config: {tls_config: .}})] end;
def mail: if $to == "" then [] else [{
    to: $to, from: $from, smarthost: $smtp, send_resolved: true,
    headers: {Subject: "[\($title)] {{ .Status }}: {{ .CommonLabels.alertname }}"}
  } + verified({tls_config: .}) + if $user == "" then {} else {auth_username: $user, auth_password_file: $alert_smtp_secret} end] end;
{
  route: {
    receiver: "people", group_by: ["stack", "alertname"], group_wait: "5s", group_interval: "30s", repeat_interval: "4h",
    routes: [
      {matchers: ["alertname=\"Watchdog\""], receiver: "heartbeat", group_wait: "0s", group_interval: "30s", repeat_interval: "45s"},
      {matchers: ["severity=\"info\""], receiver: "nobody"}
    ]
  },
  receivers: [
    {name: "nobody"},
    {name: "people", webhook_configs: hook($alert_webhook), email_configs: mail},
    {name: "heartbeat", webhook_configs: (hook($alert_heartbeat) | map(.send_resolved = false))}
  ]
} | to_entries[] | "\(.key): \(.value | tojson)"
