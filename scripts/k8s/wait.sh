# shellcheck shell=bash
# Waits for conditions, each with a deadline.

# wait_for SECONDS WHAT COMMAND...: until COMMAND succeeds; fails with its last output when the time is over.
wait_for() {
  local seconds=$1 what=$2 end output
  shift 2
  end=$(($(date +%s) + seconds))
  until output=$("$@" 2>&1); do
    if [ "$(date +%s)" -ge "$end" ]; then
      printf 'k8s: not within %d s: %s\n%s\n' "$seconds" "$what" "$output" >&2
      return 1
    fi
    sleep 0.2
  done
}
