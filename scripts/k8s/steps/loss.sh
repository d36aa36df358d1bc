# shellcheck shell=bash
# A pod that is deleted without grace, and a pod whose volume is lost.

peer_id() { "$qres" --addr "$(address "$1")" --timeout 5s --json status | field node peer_id; }

is_new_and_ready() { # POD OLD_UID
  local now
  now=$(kubectl get pod "$1" -o jsonpath='{.metadata.uid} {.status.conditions[?(@.type=="Ready")].status}')
  [ "${now#* }" = True ] && [ "${now% *}" != "$2" ]
}

uid() { kubectl get pod "$1" -o jsonpath='{.metadata.uid}'; }

step_loss() {
  local old id volume
  old=$(uid "$release-2")
  kubectl delete pod "$release-2" --grace-period=0 --force > /dev/null 2>&1
  wait_for 120 "the pod is back" is_new_and_ready "$release-2" "$old"
  say "  pod 2 was deleted without grace, and is back"
  check 5

  # What the node has not sent is gone with its volume, and the promise ends there: so the trainers rest first.
  quiet 5
  nothing_lost 5
  id=$(peer_id 3) old=$(uid "$release-3")
  volume=$(kubectl get pvc "data-$release-3" -o jsonpath='{.spec.volumeName}')
  kubectl delete pvc "data-$release-3" --wait=false > /dev/null
  kubectl delete pod "$release-3" --grace-period=0 --force > /dev/null 2>&1
  wait_for 120 "the claim is gone" claim_is_another "data-$release-3" "$volume"
  wait_for 120 "the pod is back" is_new_and_ready "$release-3" "$old"
  # The node knows none of its old submissions any more.
  rm -f "$(work)/ledger-3"
  wait_for 60 "the node answers" peer_id 3
  [ "$(peer_id 3)" = "$id" ] || die "node 3 came back as another node"
  "$qres" --addr "$(address 3)" --timeout 60s model join "$named" > /dev/null
  say "  pod 3 came back with an empty volume and its own identity, from the Secret"
  resume
  check 5
}

claim_is_another() { # CLAIM OLD_VOLUME
  local now
  now=$(kubectl get pvc "$1" -o jsonpath='{.spec.volumeName}' 2> /dev/null) || return 1
  [ -n "$now" ] && [ "$now" != "$2" ]
}
