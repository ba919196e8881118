#!/usr/bin/env bash
# Runs real programs with and without `evenfit run` and compares what they say.
#
#   scripts/run-programs.sh [--quick] [NAME...]
#
# NAMEs: python git sqlite redis cxx rust postgres java node perl bash make fakeroot nginx ffmpeg.
# Without a name, all of them. It skips programs that aren't installed, and says so.
# --quick: small inputs, for CI.
# Needs a release build: cargo build --release -p evenfit-cli, and -p evenfit-preload. The variable
# EVENFIT may name the command.
set -euo pipefail

all="python git sqlite redis cxx rust postgres java node perl bash make fakeroot nginx ffmpeg"
root=$(cd "$(dirname "$0")/.." && pwd)
evenfit=${EVENFIT:-${CARGO_TARGET_DIR:-$root/target}/release/evenfit}
quick=false
names=()
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=true ;;
    *)
        [[ " $all " == *" $1 "* ]] || {
            echo "usage: $0 [--quick] [NAME...], of $all" >&2
            exit 2
        }
        names+=("$1")
        ;;
    esac
    shift
done
[ ${#names[@]} -gt 0 ] || read -ra names <<<"$all"
[ -x "$evenfit" ] || {
    echo "no $evenfit: cargo build --release -p evenfit-cli, and the same with -p evenfit-preload" >&2
    exit 2
}

work=$(mktemp -d)
chmod 755 "$work" # for programs that run as another user
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

# in_pool SIZE COMMAND...: the command in a pool; its summary goes to $work/summary.
in_pool() {
    local size=$1
    shift
    "$evenfit" run --pool "$size" --summary "$work/summary" -- "$@"
}

said() { # NAME: what the last summary says of the process with the largest peak
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
        # The verdicts only: the order of dots and the times differ by themselves. All memory
        # through malloc.
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
    sed "s/200000/$rows/g" "$root/scripts/programs/rows.sql" >"$work/sqlite.sql"
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
    cp "$root/scripts/programs/heavy.cpp" "$work"
    local flags=(-std=c++17 -O2)
    $quick && flags=(-std=c++17 -O0)
    # No pipes between the compiler's passes, and a fixed file name: the object must be the same to
    # the byte.
    (cd "$work" && g++ "${flags[@]}" -c heavy.cpp -o heavy.o && cksum <heavy.o) >"$work/plain"
    (cd "$work" && in_pool 1GiB g++ "${flags[@]}" -c heavy.cpp -o heavy.o && cksum <heavy.o) >"$work/pooled"
    same "g++ on a template-heavy file, the same object"
}

# The compiler itself, without rustup's proxy. Debian's uses the system's malloc; the official one
# brings its own inside the executable, where no library can reach it: then only the linker's
# processes are served from pools.
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
}

# as_nobody COMMAND...: the command as a user without rights, as some programs ask for.
as_nobody() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all -- "$@"
    else
        "$@"
    fi
}

# compared NAME POOL COMMAND...: the command's output and status with and without a pool, each in a
# new folder of its own.
compared() {
    local name=$1 pool=$2 out
    shift 2
    for out in plain pooled; do
        rm -rf "$work/in" && mkdir -m 777 "$work/in"
        (
            cd "$work/in"
            if [ $out = plain ]; then "$@"; else in_pool "$pool" "$@"; fi
            echo "status $?"
        ) >"$work/$out" 2>&1 </dev/null || true
    done
    grep -qx 'status 0' "$work/plain" || { fail "$name: it doesn't run: $(tail -3 "$work/plain")" && return; }
    same "$name"
}

check_postgres() {
    local bin
    bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
    [ -x "${bin:-}/initdb" ] || { skip postgres "not installed (Debian: postgresql)" && return; }
    cat >"$work/postgres.sh" <<SH
set -e
export PATH=$bin:\$PATH LC_ALL=C PGHOST=\$PWD PGDATABASE=postgres
initdb -D data -A trust -U me --no-sync >initdb.log
grep -c '^creating\|^selecting\|^running\|^performing' initdb.log
pg_ctl -D data -l log -w -o "-c listen_addresses= -k \$PWD -F" start >/dev/null
pgbench -U me -i -q -s 2 2>/dev/null
pgbench -U me -c 4 -j 2 -t 200 --random-seed=1 2>/dev/null | grep -i 'transactions actually\|failed'
psql -U me -Atc 'select count(*), sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts'
# A server process says what it does by its title.
psql -U me -Atc 'select pg_sleep(3)' >/dev/null &
sleep 1
ps -o args= -u "\$(id -u)" | grep -c '^postgres: me postgres .* SELECT' || true
wait
pg_ctl -D data -w stop >/dev/null
SH
    as_nobody true || { skip postgres "can't become another user" && return; }
    # The command itself runs as that user, since it looks into its processes.
    local out
    for out in plain pooled; do
        rm -rf "$work/in" && mkdir -m 777 "$work/in"
        (
            cd "$work/in"
            local run=()
            [ $out = plain ] || run=("$evenfit" run --pool 512MiB --summary "$work/in/summary" --)
            as_nobody "${run[@]}" bash "$work/postgres.sh"
            echo "status $?"
        ) >"$work/$out" 2>&1 </dev/null || true
    done
    cp "$work/in/summary" "$work/summary" 2>/dev/null || true
    grep -qx 'status 0' "$work/plain" || { fail "postgres: it doesn't run: $(tail -3 "$work/plain")" && return; }
    same "PostgreSQL: initdb, pgbench, process titles"
}

check_java() {
    command -v javac >/dev/null || { skip java "not installed (Debian: openjdk-17-jdk-headless)" && return; }
    cat >"$work/Words.java" <<'JAVA'
import java.util.*;
import java.util.stream.*;
import java.util.zip.*;
public class Words {
    public static void main(String[] a) throws Exception {
        Map<String, Integer> counts = new TreeMap<>();
        for (int i = 0; i < 200000; i++) counts.merge("w" + (i * 7919 % 5003), 1, Integer::sum);
        long sum = IntStream.range(0, 1 << 20).parallel().mapToLong(i -> i * 31L % 97).sum();
        Deflater deflater = new Deflater(9);
        byte[] in = counts.toString().getBytes("UTF-8"), out = new byte[in.length];
        deflater.setInput(in);
        deflater.finish();
        System.out.println(counts.size() + " " + sum + " " + deflater.deflate(out));
    }
}
JAVA
    compared "Java: a compiler and a program with threads" 2GiB sh -c "javac -d . '$work/Words.java' && java -Xmx256m Words"
}

check_node() {
    command -v node >/dev/null || { skip node "not installed (Debian: nodejs)" && return; }
    compared "node: JSON, buffers, zlib, worker threads" 2GiB node -e '
const { Worker } = require("worker_threads"), zlib = require("zlib"), crypto = require("crypto");
let d = {}; for (let i = 0; i < 50000; i++) d["k" + i] = [i, { a: "x".repeat(i % 50) }];
const text = JSON.stringify(JSON.parse(JSON.stringify(d)));
console.log(text.length, zlib.gzipSync(Buffer.from(text)).length, crypto.createHash("sha256").update(text).digest("hex"));
let left = 2; for (let n = 0; n < 2; n++) new Worker(`
  const { parentPort } = require("worker_threads"); const all = [];
  for (let i = 0; i < 200; i++) all.push(Buffer.alloc(100000, i)); parentPort.postMessage(all.length);`,
  { eval: true }).on("exit", c => { if (--left == 0) console.log("workers", c); });'
}

check_perl() {
    command -v perl >/dev/null || { skip perl "not installed" && return; }
    compared "perl: hashes, sorting, regular expressions, a pipe" 512MiB env PERL_HASH_SEED=0 perl -e '
my %h; $h{"k" . $_ * 7919 % 100003} .= "v$_," for 1 .. 300000;
my @s = sort { length $h{$a} <=> length $h{$b} || $a cmp $b } keys %h;
my $t = join " ", map { "$_=$h{$_}" } @s[0 .. 20000]; my $n = () = $t =~ /(?:v(\d*7),)+/g;
open my $p, "-|", "echo", "from a child" or die; print scalar(@s), " ", length $t, " $n ", <$p>;'
}

check_bash() {
    compared "bash: arrays, substitutions, jobs" 256MiB bash -c '
declare -A a; for i in {1..20000}; do a[k$((i * 7919 % 10007))]+=x; done
s=$(printf "%s\n" "${a[@]}" | sort | uniq -c); echo "${#a[@]} ${#s}"
for j in 1 2 3; do (for i in {1..2000}; do v=$(echo $i); done; echo "job $j $v" >"job$j") & done; wait; cat job?
trap "echo trapped" USR1; kill -USR1 $$; echo "${s//x/yy}" | wc -c'
}

check_make() {
    command -v make >/dev/null && command -v cc >/dev/null || { skip make "no make or cc" && return; }
    compared "make -j2 of sixteen C files" 512MiB sh -c '
for i in $(seq 16); do
  { echo "#include <stdio.h>"; for j in $(seq 60); do echo "int f${i}_$j(int x) { return x * $j + $i; }"; done; } >f$i.c
done
printf "OBJECTS = \$(patsubst %%.c,%%.o,\$(wildcard f*.c))\nall.a: \$(OBJECTS)\n\tar rcD \$@ \$(sort \$^)\n%%.o: %%.c\n\tcc -O1 -c \$< -o \$@\n" >Makefile
make -s -j2 && cksum <all.a'
}

check_fakeroot() {
    command -v fakeroot >/dev/null || { skip fakeroot "not installed" && return; }
    compared "fakeroot: owners in an archive" 256MiB sh -c '
mkdir -p d/e; echo text >d/e/f; chmod 4755 d/e/f; touch -d @1000000000 d/e/f d/e d
fakeroot sh -c "chown -R 12:34 d; mknod d/null c 1 3; touch -d @1000000000 d/null d; tar --sort=name -cf - d" | tar -tvf -'
}

check_nginx() {
    command -v nginx >/dev/null && command -v curl >/dev/null || { skip nginx "no nginx or curl" && return; }
    cat >"$work/nginx.sh" <<'SH'
seq 100000 >page.txt
printf 'daemon off; pid nginx.pid; error_log error.log; worker_processes 2; events {}
http { access_log off; gzip on; gzip_types text/plain; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;
uwsgi_temp_path t4; scgi_temp_path t5; server { listen unix:%s/socket; root %s; } }\n' "$PWD" "$PWD" >nginx.conf
nginx -p "$PWD" -c nginx.conf 2>/dev/null &
for _ in $(seq 100); do [ -S socket ] && break; sleep 0.1; done
for i in $(seq 40); do curl -s --compressed --unix-socket socket http://local/page.txt | cksum; done | sort | uniq -c
curl -s -o /dev/null -w '%{http_code}\n' --unix-socket socket http://local/missing
kill -HUP "$(cat nginx.pid)"; sleep 1
curl -s --unix-socket socket http://local/page.txt | cksum
kill -QUIT "$(cat nginx.pid)"; wait
SH
    compared "nginx: pages, gzip, a reload" 256MiB sh "$work/nginx.sh"
}

check_ffmpeg() {
    command -v ffmpeg >/dev/null || { skip ffmpeg "not installed" && return; }
    compared "ffmpeg: a test picture encoded on two threads" 1GiB ffmpeg -v error -f lavfi \
        -i testsrc=duration=2:size=320x240:rate=25 -c:v mpeg4 -threads 2 -bitexact -f md5 -
}

for name in "${names[@]}"; do "check_$name"; done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
