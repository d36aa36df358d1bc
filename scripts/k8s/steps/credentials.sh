# shellcheck shell=bash
# TLS, client certificates and tokens from Secrets, and their rotation without a restart of a pod.

# The settings of the daemon in the image; it is a static program, so it runs here, too.
has_setting() { "${qres%/qres}/qres-daemon" --help | grep -q -- "--$1"; }

# secret NAME FILES...: makes or replaces a Secret.
secret() {
  local name=$1
  shift
  kubectl create secret generic "$name" "${@/#/--from-file=}" --dry-run=client -o yaml | kubectl apply -f - > /dev/null
}

# token NAME ROLE: a new token in $api/NAME.token, and its entry in $api/callers.toml.
token() {
  "$qres" token new --name "$1" --role "$2" --file "$api/callers.toml" 2> /dev/null | grep -o 'qres_[A-Za-z0-9_-]\{43\}' > "$api/$1.token"
}

list_peers() { grpcurl -cacert "$api/ca.crt" "$@" qres.v1.PeerService/ListPeers; }
with_token() { list_peers -H "authorization: Bearer $(cat "$api/$2.token")" "$1"; }
is_refused() { ! with_token "$1" "$2" > "$run/log/refused" 2>&1 && grep -q Unauthenticated "$run/log/refused"; }
serial() { openssl s_client -connect "$1" < /dev/null 2> /dev/null | openssl x509 -noout -serial; }
has_serial() { [ "$(serial "$1")" = "$2" ]; }
uids() { kubectl get pods -l app.kubernetes.io/component=node -o jsonpath='{.items[*].metadata.uid} {.items[*].status.containerStatuses[0].restartCount}'; }

server_certificate() {
  local names="DNS:*.$release-mesh.$namespace.svc,DNS:$release.$namespace.svc" number ip
  for number in "" -0-api -1-api -2-api; do
    ip=$(kubectl get service "$release$number" -o jsonpath='{.spec.clusterIP}')
    names=$names,IP:$ip
  done
  certificate "$api" tls /CN=qres "$names"
  openssl x509 -in "$api/tls.crt" -noout -serial
}

step_credentials() {
  local number node old now before
  if ! has_setting grpc-tls-cert || ! has_setting grpc-callers; then
    not_run "TLS, client certificates, tokens and their rotation: the daemon has no --grpc-tls-cert and --grpc-callers yet"
    return 0
  fi
  quiet 3
  for number in 0 1 2; do stop "trainer-$namespace-$number"; done
  api=$run/api
  authority "$api" swarm
  old=$(server_certificate)
  certificate "$api" operator /O=qres:operator/CN=ops
  certificate "$api" reader /O=qres:reader/CN=reader
  for number in 0 1 2; do certificate "$api" "trainer-$number" "/O=qres:trainer/CN=trainer-$number"; done
  token first reader
  secret api "$api/tls.crt" "$api/tls.key" "$api/ca.crt"
  secret callers "$api/callers.toml"
  secret reader "$api/ca.crt" "tls.crt=$api/reader.crt" "tls.key=$api/reader.key"
  deploy "$root/helm/qres" config.grpc_insecure=false tls.enabled=true tls.existingSecret=api callers.existingSecret=callers \
    tests.existingSecret=reader
  node=$(address 0)
  has_serial "$node" "$old"
  list_peers -cert "$api/operator.crt" -key "$api/operator.key" "$node" > /dev/null
  with_token "$node" first > /dev/null
  if list_peers "$node" > "$run/log/refused" 2>&1; then die "a caller without a credential was served"; fi
  grep -q 'Unauthenticated\|certificate' "$run/log/refused"
  helm test "$release" --namespace "$namespace" > "$run/log/helm-test.log" 2>&1 || {
    cat "$run/log/helm-test.log" >&2
    return 1
  }
  say "  TLS: helm test passes; a client certificate and a token are served, a caller with neither is refused"

  # The trainers go on, each with a certificate of its own; this test looks with the operator's.
  export QRES_TLS_CA=$api/ca.crt QRES_TLS_CERT=$api/operator.crt QRES_TLS_KEY=$api/operator.key
  resume
  for number in 0 1 2; do
    QRES_TLS_CERT=$api/trainer-$number.crt QRES_TLS_KEY=$api/trainer-$number.key train "$number"
  done
  rounds_go_on 0

  before=$(uids)
  now=$(server_certificate)
  secret api "$api/tls.crt" "$api/tls.key" "$api/ca.crt"
  for number in 0 1 2; do wait_for 120 "node $number shows the new certificate" has_serial "$(address "$number")" "$now"; done
  rm "$api/callers.toml"
  token second reader
  secret callers "$api/callers.toml"
  for number in 0 1 2; do
    wait_for 120 "node $number takes the new token" with_token "$(address "$number")" second
    wait_for 120 "node $number refuses the old token" is_refused "$(address "$number")" first
  done
  [ "$(uids)" = "$before" ] || die "a pod was restarted: $before, now $(uids)"
  say "  certificate and token were rotated by their Secrets; no pod restarted"
  check 3
  for number in 0 1 2; do stop "trainer-$namespace-$number"; done
  unset QRES_TLS_CA QRES_TLS_CERT QRES_TLS_KEY
}
