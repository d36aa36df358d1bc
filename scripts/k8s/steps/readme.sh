# shellcheck shell=bash
# The commands of the README, as they stand there.

step_readme() {
  local commands line
  commands=$(awk '/^<!-- helm -->$/ { on = 1; next } on && /^```$/ { exit } on && !/^```/' "$root/README.md")
  grep -q '^make image IMAGE=localhost/qres-swarm:0.1.0' <<< "$commands" || die "the README has no block after <!-- helm -->"
  # The image is made already; here it gets the name that the README gives it.
  containers images tag localhost/qres-swarm:test localhost/qres-swarm:0.1.0 > /dev/null
  kubectl config set-context --current --namespace default > /dev/null
  while read -r line; do
    say "  $line"
    (cd "$root" && bash -euo pipefail -c "$line") > "$run/log/readme.log" 2>&1 < /dev/null || {
      cat "$run/log/readme.log" >&2
      return 1
    }
  done < <(sed 1d <<< "$commands")
  [ "$(grep -c ' connected ' "$run/log/readme.log")" = 4 ] || {
    cat "$run/log/readme.log" >&2
    die "qres peers does not show four connected peers"
  }
  helm uninstall qres --wait > /dev/null
}
