# shellcheck shell=bash
# The previous version and this one side by side in one swarm, then this one alone, then back.

store_formats() { # the formats of the stores, of all nodes of this namespace
  local volume
  kubectl get pvc -o jsonpath='{range .items[*]}{.spec.volumeName}{"\n"}{end}' | while read -r volume; do
    cat "$run/volumes/${volume#volume-}/qres/format"
  done | sort -u
}

software() { grpcurl -plaintext "$(address 0)" qres.v1.PeerService/ListPeers | grep -o '"agent": "[^"]*"' | sort | uniq -c; }

refuses_the_store() {
  local logs
  logs=$(kubectl logs "$release-4" -c daemon --previous 2> /dev/null || kubectl logs "$release-4" -c daemon 2> /dev/null)
  grep -q format <<< "$logs"
}

# Ends the swarm of the steps before, which would only take time from this one.
retire() {
  local number
  for number in $(seq 0 7); do stop "trainer-$namespace-$number"; done
  helm uninstall "$release" --namespace "$namespace" --wait > /dev/null
}

step_previous() {
  local chart number before formats
  if [ ! -f "$cache/images/previous.tar" ]; then
    not_run "the previous version: its commit is not in this clone"
    return 0
  fi
  load_image "$cache/images/previous.tar"
  [ "${namespace:-}" != swarm ] || retire
  namespace=previous
  make_namespace
  # Each version is installed by its own chart.
  chart=$cache/previous-$(cat "$cache/images/previous-of")/chart
  if [ ! -d "$chart" ]; then
    # The version is older than the chart. One setting that the chart writes had another name in it.
    chart=$run/previous-chart
    cp -a "$root/helm/qres" "$chart"
    sed -i 's/admin_addr/metrics_addr/; s,/livez,/metrics,; s,/readyz,/metrics,' "$chart/templates/_admin.tpl"
  fi
  deploy "$chart" image.tag=previous
  for number in $(seq 0 4); do wait_for 120 "node $number has four peers" is_full_mesh "$(address "$number")" 4; done
  # shellcheck disable=SC2046
  named=$(python "$here/model.py" "$model" $(addresses 5))
  for number in $(seq 0 4); do train "$number"; done
  rounds_go_on 0
  formats=$(store_formats)
  say "  five nodes of the previous version make rounds (store format $formats)"

  deploy "$root/helm/qres" image.tag=test updateStrategy.rollingUpdate.partition=3
  wait_for 120 "two of five pods run this version" runs_side_by_side
  for number in 0 4; do wait_for 120 "node $number has four peers" is_full_mesh "$(address "$number")" 4; done
  rounds_go_on 0
  rounds_go_on 4
  say "  nodes 3 and 4 run this version, 0 to 2 the previous one; rounds go on at both"
  check 5

  before=$(round_of "$(address 0)")
  deploy "$root/helm/qres" image.tag=test updateStrategy.rollingUpdate.partition=0
  all_run test
  say "  all run this version, $(($(round_of "$(address 0)") - before)) rounds later; it opened the stores of the previous one"
  check 5

  quiet 5
  nothing_lost 5
  if [ "$(store_formats)" = "$formats" ]; then
    resume
    deploy "$chart" image.tag=previous updateStrategy.rollingUpdate.partition=0
    all_run previous
    say "  back to the previous version: it opens the stores, whose format is the same"
    check 5
  else
    helm upgrade "$release" "$chart" --namespace "$namespace" --reset-then-reuse-values --values "$here/values.yaml" \
      --set image.tag=previous > /dev/null
    wait_for 120 "the previous version refuses a newer store, and names its format" refuses_the_store
    say "  the previous version refuses the newer stores (format $(store_formats)), as documented"
  fi
}

runs_side_by_side() {
  local images
  images=$(kubectl get pods -l app.kubernetes.io/component=node -o jsonpath='{range .items[*]}{.spec.containers[0].image}{"\n"}{end}' | sort | uniq -c | awk '{print $1 $2}' | tr '\n' ' ')
  [ "$images" = "3localhost/qres-swarm:previous 2localhost/qres-swarm:test " ]
}
