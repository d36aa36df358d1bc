# shellcheck shell=bash
# Programs in the background, each with a log in $run/log and its process id in $run/pid.

# start NAME COMMAND...
start() {
  local name=$1
  shift
  mkdir -p "$run/log" "$run/pid"
  "$@" > "$run/log/$name.log" 2>&1 &
  echo $! > "$run/pid/$name"
}

# running NAME: true while the program runs.
running() { kill -0 "$(cat "$run/pid/$1")" 2> /dev/null; }

# stop NAME: ends the program and waits until it is gone.
stop() {
  local id
  [ -f "$run/pid/$1" ] || return 0
  id=$(cat "$run/pid/$1")
  kill "$id" 2> /dev/null || true
  wait "$id" 2> /dev/null || true
  rm -f "$run/pid/$1"
}
