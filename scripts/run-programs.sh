#!/usr/bin/env bash
# Runs real programs with and without `evenfit run` and compares what they say.
#
#   scripts/run-programs.sh [--quick] [--time N] [NAME...]
#
# NAMEs: python git sqlite redis cxx rust (all where none is given); a program that is not installed is skipped, and said.
# --quick: small inputs, for CI. --time N: afterwards, N interleaved runs each way of the single-threaded ones, medians.
# Needs a release build: cargo build --release -p evenfit-cli, and -p evenfit-preload. EVENFIT says where the command is.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
evenfit=${EVENFIT:-${CARGO_TARGET_DIR:-$root/target}/release/evenfit}
quick=false
rounds=0
names=()
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=true ;;
    --time)
        rounds=${2:?--time needs a number}
        shift
        ;;
    python | git | sqlite | redis | cxx | rust) names+=("$1") ;;
    *)
        echo "usage: $0 [--quick] [--time N] [python|git|sqlite|redis|cxx|rust ...]" >&2
        exit 2
        ;;
    esac
    shift
done
[ ${#names[@]} -gt 0 ] || names=(python git sqlite redis cxx rust)
[ -x "$evenfit" ] || {
    echo "no $evenfit: cargo build --release -p evenfit-cli, and the same with -p evenfit-preload" >&2
    exit 2
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

# in_pool SIZE COMMAND...: the command in a pool; its summary goes to $work/summary.
in_pool() {
    local size=$1
    shift
    "$evenfit" run --pool "$size" --summary "$work/summary" -- "$@"
}

said() { # NAME: what the last summary says of peak and footprint
    awk -v name="$1" '/^  (peak|footprint) / { line = line " " $1 " " $2 ","} END { print "     " name ":" line }' "$work/summary"
}

pass() { passed=$((passed + 1)) && echo "ok   $1"; }
fail() { failed=$((failed + 1)) && echo "FAIL $1"; }
skip() { skipped=$((skipped + 1)) && echo "skip $1: $2"; }

# same NAME: are the two outputs in $work/plain and $work/pooled the same?
same() {
    if cmp -s "$work/plain" "$work/pooled"; then
        pass "$1"
        said "$1"
    else
        fail "$1: another output in the pool"
        diff "$work/plain" "$work/pooled" | head -20 || true
    fi
}

# The interpreter itself, not a shim that starts it; Debian's where it is there.
python=$(/usr/bin/python3 -c 'import sys; print(sys.executable)' 2>/dev/null ||
    python3 -c 'import sys; print(sys.executable)' 2>/dev/null || true)

check_python() {
    [ -n "$python" ] || { skip python "no python3" && return; }
    local tests="test_json test_dict test_list test_re test_thread test_threading test_gc test_pickle" module
    "$python" -c 'import test.test_json' 2>/dev/null || { skip python "no test package (Debian: libpython3.11-testsuite)" && return; }
    $quick && tests="test_json test_dict test_list test_gc"
    for module in $tests; do
        "$python" -c "import test.$module" 2>/dev/null || continue
        # The verdicts only: the order of dots and the times differ by themselves. All memory through malloc.
        local verdicts='s/ in [0-9.]*s$//; /^Ran\|^OK\|^FAILED\|^ERROR\|^FAIL/p'
        (cd "$work" && PYTHONMALLOC=malloc "$python" -m unittest "test.$module") 2>&1 | sed -n "$verdicts" >"$work/plain" || true
        (cd "$work" && PYTHONMALLOC=malloc in_pool 1GiB "$python" -m unittest "test.$module") 2>&1 | sed -n "$verdicts" >"$work/pooled" || true
        grep -q '^Ran' "$work/plain" || { fail "python $module: it ran no test" && continue; }
        same "python $module"
    done
}

check_git() {
    command -v git >/dev/null || { skip git "not installed" && return; }
    local depth=()
    $quick && depth=(--depth 1)
    rm -rf "$work/clone" "$work/plain-clone"
    git clone -q "${depth[@]}" "file://$root" "$work/plain-clone"
    in_pool 512MiB git clone -q "${depth[@]}" "file://$root" "$work/clone"
    git -C "$work/plain-clone" log --stat >"$work/plain"
    in_pool 512MiB git -C "$work/clone" log --stat >"$work/pooled"
    same "git clone and log"
    in_pool 512MiB git -C "$work/clone" gc -q --aggressive
    said "git gc"
    if git -C "$work/clone" fsck --full --strict 2>"$work/pooled" && ! grep -q . "$work/pooled"; then
        pass "git gc, then fsck without"
    else
        fail "git gc: fsck says $(head -3 "$work/pooled")"
    fi
}

check_sqlite() {
    command -v sqlite3 >/dev/null || { skip sqlite "not installed" && return; }
    local rows=200000
    $quick && rows=20000
    cat >"$work/sqlite.sql" <<SQL
create table t(id integer primary key, name text, value real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < $rows)
  insert into t select i, printf('name %d', i * 7919 % $rows), i * 0.25 from n;
create index by_name on t(name);
delete from t where id % 3 = 0;
update t set name = name || ' again' where id % 5 = 0;
select count(*), sum(value), min(name), max(name) from t;
select substr(name, 1, 6) as s, count(*) from t group by s order by 2 desc, 1 limit 5;
vacuum;
pragma integrity_check;
SQL
    sqlite3 "$work/plain.db" <"$work/sqlite.sql" >"$work/plain"
    in_pool 256MiB sqlite3 "$work/pooled.db" <"$work/sqlite.sql" >"$work/pooled"
    tail -1 "$work/pooled" | grep -qx ok || { fail "sqlite: $(tail -1 "$work/pooled")" && return; }
    same "sqlite with an integrity check"
}

check_redis() {
    command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null || { skip redis "not installed" && return; }
    local socket=$work/redis.sock requests=200000 server
    $quick && requests=10000
    in_pool 512MiB redis-server --port 0 --unixsocket "$socket" --io-threads 4 --io-threads-do-reads yes \
        --appendonly no --save '' --activedefrag no --dir "$work" >"$work/redis.log" 2>&1 &
    server=$!
    for _ in $(seq 100); do
        [ -S "$socket" ] && redis-cli -s "$socket" ping >/dev/null 2>&1 && break
        sleep 0.1
    done
    if redis-benchmark -s "$socket" -q -n "$requests" -c 50 -P 8 -r 10000 --threads 2 \
        -t set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100,mset >"$work/bench" 2>&1 &&
        redis-cli -s "$socket" set evenfit 'in a pool' >/dev/null &&
        [ "$(redis-cli -s "$socket" get evenfit)" = 'in a pool' ] &&
        redis-cli -s "$socket" bgsave >/dev/null && sleep 1 &&
        [ "$(redis-cli -s "$socket" info persistence | grep -c 'rdb_last_bgsave_status:ok')" = 1 ]; then
        redis-cli -s "$socket" shutdown nosave >/dev/null 2>&1 || true
        if wait "$server"; then
            pass "redis under redis-benchmark, 4 I/O threads, one fork to save"
            said redis
        else
            fail "redis: it ended with $?"
        fi
    else
        fail "redis: $(tail -3 "$work/bench" "$work/redis.log")"
        kill "$server" 2>/dev/null || true
    fi
}

check_cxx() {
    command -v g++ >/dev/null || { skip cxx "no g++" && return; }
    cat >"$work/heavy.cpp" <<'CXX'
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>
template <int N> struct Chain { using type = std::tuple<std::map<std::string, std::vector<typename Chain<N - 1>::type>>, std::unique_ptr<int[]>>; };
template <> struct Chain<0> { using type = int; };
template <int... Is> int all(std::integer_sequence<int, Is...>) { return (static_cast<int>(sizeof(typename Chain<Is % 9>::type)) + ...); }
int main() {
    std::unordered_map<std::string, std::function<int(int)>> f;
    f["a"] = [](int x) { return x + 1; };
    std::regex r("(a|b)*c");
    typename Chain<7>::type chain;
    return std::regex_match("ababc", r) ? all(std::make_integer_sequence<int, 40>()) + f["a"](1) + static_cast<int>(std::get<0>(chain).size()) & 127 : 1;
}
CXX
    local flags=(-std=c++17 -O2)
    $quick && flags=(-std=c++17 -O0)
    # No pipes between the compiler's passes, and a fixed file name: the object must be the same to the byte.
    (cd "$work" && g++ "${flags[@]}" -c heavy.cpp -o heavy.o && cksum <heavy.o) >"$work/plain"
    (cd "$work" && in_pool 1GiB g++ "${flags[@]}" -c heavy.cpp -o heavy.o && cksum <heavy.o) >"$work/pooled"
    same "g++ on a template-heavy file, the same object"
    grep 'largest peak' "$work/summary" | sed 's/^ */     cxx: /'
}

# The compiler itself, without rustup's proxy. Debian's uses the system's malloc; the official one brings its own inside the
# executable, where no library can reach it: then only the linker's processes are served from pools.
rustc=$([ -x /usr/bin/rustc ] && echo /usr || rustc --print sysroot 2>/dev/null || true)/bin/rustc

check_rust() {
    [ -x "$rustc" ] || { skip rust "no rustc" && return; }
    command -v cc >/dev/null || { skip rust "no cc to link with" && return; }
    local out
    for out in plain pooled; do
        rm -rf "$work/rust" && mkdir "$work/rust"
        local run=()
        [ $out = plain ] || run=("$evenfit" run --pool 2GiB --summary "$work/summary" --)
        (
            cd "$root/crates/evenfit"
            "$rustc" --edition 2024 --crate-type rlib --crate-name evenfit -O --out-dir "$work/rust" src/lib.rs
            "${run[@]}" "$rustc" --edition 2024 -O -C codegen-units=4 --extern "evenfit=$work/rust/libevenfit.rlib" \
                -o "$work/rust/example" examples/audio_callback.rs
            "$work/rust/example" && cksum <"$work/rust/example"
        ) >"$work/$out" 2>&1 || true
    done
    grep -q 'notes' "$work/plain" || { fail "rust: $(head -3 "$work/plain")" && return; }
    same "rustc and its linker, the same executable"
    sed -n 's/^ *it started */     rust: it started /p' "$work/summary"
}

median() { sort -n | awk '{ a[NR] = $1 } END { print (NR % 2) ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }

# seconds COMMAND...: user and system time of the command and its children
seconds() {
    local TIMEFORMAT='%U %S'
    { time "$@" >/dev/null 2>&1; } 2>&1 | awk '{ print $1 + $2 }'
}

# compare NAME COMMAND...: medians of interleaved runs, library preloaded against glibc alone
compare() {
    local name=$1 i
    shift
    local library
    library=$(dirname "$evenfit")/libevenfit_preload.so
    : >"$work/t-plain" && : >"$work/t-pooled"
    for i in $(seq "$rounds"); do
        seconds "$@" >>"$work/t-plain"
        seconds env LD_PRELOAD="$library" EVENFIT_POOL=1GiB EVENFIT_SUMMARY=none "$@" >>"$work/t-pooled"
    done
    local plain pooled
    plain=$(median <"$work/t-plain") pooled=$(median <"$work/t-pooled")
    awk -v name="$name" -v a="$plain" -v b="$pooled" -v n="$rounds" \
        'BEGIN { printf "time %-28s glibc %.3f s  evenfit %.3f s  ratio %.3f  (median of %d)\n", name, a, b, a ? b / a : 0, n }'
}

for name in "${names[@]}"; do "check_$name"; done

if [ "$rounds" -gt 0 ]; then
    for name in "${names[@]}"; do
        case $name in
        python)
            [ -n "$python" ] && PYTHONMALLOC=malloc compare "python json, malloc" "$python" -c \
                'import json
d = {str(i): [i, {"a": i * 2, "b": [str(i)] * 5}] for i in range(40000)}
for _ in range(3): d = json.loads(json.dumps(d))'
            [ -n "$python" ] && compare "python json, its own pools" "$python" -c \
                'import json
d = {str(i): [i, {"a": i * 2, "b": [str(i)] * 5}] for i in range(40000)}
for _ in range(3): d = json.loads(json.dumps(d))'
            ;;
        git) compare "git log --stat" git -C "$root" log --stat ;;
        sqlite)
            [ -f "$work/sqlite.sql" ] && compare "sqlite in memory" sh -c "sqlite3 :memory: <'$work/sqlite.sql'"
            ;;
        cxx) [ -f "$work/heavy.cpp" ] && compare "g++ -O2" g++ -std=c++17 -O2 -c "$work/heavy.cpp" -o "$work/heavy.o" ;;
        rust) [ -x "$rustc" ] && compare "rustc -O, library" "$rustc" --edition 2024 --crate-type rlib --crate-name evenfit -O -C codegen-units=1 --out-dir "$work" "$root/crates/evenfit/src/lib.rs" ;;
        esac
    done
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
