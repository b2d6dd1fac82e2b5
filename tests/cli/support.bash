# For the scripts beside it: source it with the binary as $1. The working directory is the root of the repository.
set -uo pipefail
locant=$1
work=$(mktemp -d)
checks=0
start=$(date +%s%3N)
trap 'rm -rf "$work"; echo "count: 1 tests, $checks assertions; cli.$(basename "$0" .sh) $(($(date +%s%3N) - start)) ms"' EXIT
export OMP_WAIT_POLICY=passive  # tests share the machine

die() {
  echo "FAILED: $*" >&2
  echo "-- stdout" >&2; head -n 20 "$work/out" >&2
  echo "-- stderr" >&2; head -n 20 "$work/err" >&2
  exit 1
}

# run CODE ARGUMENT...: runs locant, keeps $work/out and $work/err, demands the exit code.
run() {
  local want=$1 got=0
  shift
  last="locant $*"
  checks=$((checks + 1))
  "$locant" "$@" >"$work/out" 2>"$work/err" || got=$?
  [ $got -eq "$want" ] || die "$last: exit code $got, not $want"
}

# Extended regular expressions that some line of stdout or stderr must match; the counterpart that none may.
out_has() { checks=$((checks + 1)); grep -qE -- "$1" "$work/out" || die "$last: stdout lacks /$1/"; }
out_lacks() { checks=$((checks + 1)); ! grep -qE -- "$1" "$work/out" || die "$last: stdout has /$1/"; }
err_has() { checks=$((checks + 1)); grep -qE -- "$1" "$work/err" || die "$last: stderr lacks /$1/"; }
err_lacks() { checks=$((checks + 1)); ! grep -qE -- "$1" "$work/err" || die "$last: stderr has /$1/"; }
out_lines() { checks=$((checks + 1)); [ "$(wc -l <"$work/out")" -eq "$1" ] || die "$last: $(wc -l <"$work/out") lines on stdout, not $1"; }
err_empty() { checks=$((checks + 1)); [ ! -s "$work/err" ] || die "$last: stderr is not empty"; }

# A user's mistake: exit code 2, nothing on stdout, and one line on stderr beside the banner, which matches $1.
mistake() {
  local pattern=$1
  shift
  run 2 "$@"
  [ ! -s "$work/out" ] || die "$last: stdout is not empty"
  [ "$(grep -c '^locant: ' "$work/err")" -eq 1 ] || die "$last: not one line of error"
  [ "$(grep -vcE '^locant(:| [0-9])' "$work/err")" -eq 0 ] || die "$last: more on stderr than banner and error"
  err_has "$pattern"
}

# Each line of stdout is a JSON object (looked at by Python where there is one, else by its brackets).
json_lines() {
  if command -v python3 >/dev/null; then
    python3 -c 'import json, sys
for line in sys.stdin: assert isinstance(json.loads(line), dict)' <"$work/out" 2>"$work/err" || die "$last: no JSON lines"
  else
    [ "$(grep -vcE '^\{".*\}$' "$work/out")" -eq 0 ] || die "$last: no JSON lines"
  fi
  [ -s "$work/out" ] || die "$last: stdout is empty"
}
