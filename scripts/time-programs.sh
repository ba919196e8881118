#!/usr/bin/env bash
# What `evenfit run` and `evenfit record` cost real programs, as the tables of docs/run.md and
# docs/record.md:
#   scripts/time-programs.sh ROUNDS [NAME...]
# NAMEs: json json-own lua redis sqlite git cxx rust csound loop. Without a name, all of them. It
# skips programs that aren't installed, and says so.
# User and system time of the program, each way once a round; medians. "after": what the command
# itself takes, most of it when the program has ended: names of call sites, compression. Nothing else
# should be running. Needs the same as run-programs.sh.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
programs=$root/scripts/programs
evenfit=${EVENFIT:-${CARGO_TARGET_DIR:-$root/target}/release/evenfit}
rounds=${1:-}
case $rounds in '' | *[!0-9]*) sed -n 2,9p "$0" >&2; exit 2 ;; esac
shift
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(json json-own lua redis sqlite git cxx rust csound loop)
[ -x "$evenfit" ] || { echo "no $evenfit: cargo build --release -p evenfit-cli, and -p evenfit-preload" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TIMEFORMAT='%U %S'

median() { sort -n "$1" | awk '{ a[NR] = $1 } END { print (NR % 2) ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }

# timed WAY COMMAND...: adds the user and system time of the command in seconds to $work/WAY, and
# that of everything to $work/WAY-all.
timed() {
    local way=$1 with=()
    shift
    case $way in
    run) with=("$evenfit" run --pool 1GiB --summary "$work/summary" --) ;;
    record) rm -f "$work"/recorded* && with=("$evenfit" record -o "$work/recorded.evt" --) ;;
    esac
    # The inner shell is under the command too, but its own time isn't counted.
    # shellcheck disable=SC2016
    { time "${with[@]}" bash -c '{ time "${@:2}" >/dev/null 2>&1; } 2>"$1"' timed "$work/own" "$@" >/dev/null 2>&1; } 2>"$work/all"
    awk '{ print $1 + $2 }' "$work/own" >>"$work/$way"
    awk '{ print $1 + $2 }' "$work/all" >>"$work/$way-all"
}

# measure NAME COMMAND...: one row.
measure() {
    local name=$1 way
    shift
    rm -f "$work"/{plain,run,record}{,-all}
    for _ in $(seq "$rounds"); do
        for way in plain run record; do "${timer:-timed}" $way "$@"; done
    done
    awk -v name="$name" -v a="$(median "$work/plain")" -v b="$(median "$work/run")" -v c="$(median "$work/record")" \
        -v all="$(median "$work/record-all")" -v bytes="$(cat "$work"/recorded*.evt | wc -c)" 'BEGIN {
            printf "| %s | %.3f s | %.3f s | %.2f | %.3f s | %.2f | %.2f s | %.1f MB |\n", name, a, b, b / a, c, c / a, all - c, bytes / 1e6
        }'
}

# The server alone is timed; the benchmark and the shutdown are other processes.
timed_redis() {
    local socket=$work/redis.sock
    timed "$1" redis-server --port 0 --unixsocket "$socket" --save '' --appendonly no --dir "$work" &
    for _ in $(seq 100); do
        [ -S "$socket" ] && redis-cli -s "$socket" ping >/dev/null 2>&1 && break
        sleep 0.1
    done
    redis-benchmark -s "$socket" -q -n 60000 -P 8 -r 10000 -t set,get,lpush,hset >/dev/null 2>&1
    redis-cli -s "$socket" shutdown nosave >/dev/null 2>&1 || true
    wait $!
}

json='import json
d = {str(i): [i, {"a": i * 2, "b": [str(i)] * 5}] for i in range(40000)}
for _ in range(3): d = json.loads(json.dumps(d))'
# The interpreter and the compiler themselves, not a shim that starts them.
python=$(/usr/bin/python3 -c 'import sys; print(sys.executable)' 2>/dev/null || true)
rustc=/usr/bin/rustc

needs() { # COMMAND: whether it is there
    command -v "$1" >/dev/null || { echo "skipped: no $1"; return 1; }
}

echo "| program | glibc | run | ratio | record | ratio | after | recording |"
echo "|---|--:|--:|--:|--:|--:|--:|--:|"
for name in "${names[@]}"; do
    case $name in
    json) needs "${python:-python3}" && measure "CPython json, \`PYTHONMALLOC=malloc\`" env PYTHONMALLOC=malloc "$python" -c "$json" ;;
    json-own) needs "${python:-python3}" && measure "CPython json, its own pools of small objects" "$python" -c "$json" ;;
    lua) needs lua5.4 && measure "Lua 5.4, particles in tables" lua5.4 "$programs/particles.lua" ;;
    redis) needs redis-server && timer=timed_redis measure "redis-server 7.0, four commands, 60,000 of each" ;;
    sqlite) needs sqlite3 && measure "sqlite3 in memory, 200,000 rows" sqlite3 :memory: ".read $programs/rows.sql" ;;
    git) needs git && measure "git log --stat" git -C "$root" log --stat ;;
    cxx) needs g++ && measure "g++ -O2 on many templates" g++ -std=c++17 -O2 -c "$programs/heavy.cpp" -o "$work/heavy.o" ;;
    rust) needs $rustc && measure "rustc -O (Debian's) on evenfit" $rustc --edition 2024 --crate-type rlib --crate-name evenfit -O \
        -C codegen-units=1 --out-dir "$work" "$root/crates/evenfit/src/lib.rs" ;;
    csound) needs csound && measure "csound 6.18, a score of 6,000 notes" csound "$programs/score.csd" ;;
    loop)
        needs cc && printf '#include <stdlib.h>\nint main(void) { for (int i = 0; i < 5000000; i++) free(malloc(i %% 500)); }\n' >"$work/loop.c" &&
            cc -O1 -fno-builtin -o "$work/loop" "$work/loop.c" && measure "\`malloc\` and \`free\` and nothing else" "$work/loop" ;;
    *) echo "no such program: $name" >&2 && exit 2 ;;
    esac || true
done
