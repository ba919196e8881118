#!/usr/bin/env bash
# Every fuzz target for a number of seconds each, one after the other, and a table of what they did:
#   scripts/fuzz-all.sh SECONDS [TARGET...]
# Exits with 1 if a target found something; the input is then in fuzz/crashes/TARGET. Needs a C++
# compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-}
case $seconds in '' | *[!0-9]*) sed -n 2,5p "$0" >&2; exit 2 ;; esac
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(blocks slabs compact late_writer garbage shared c trace csv heaptrack esp_idf system_view zephyr)

logs=${TMPDIR:-/tmp}/evenfit-fuzz.$$
mkdir -p "$logs"
failed=0
printf '%-12s %12s %10s  %s\n' target runs covered found
for target in "${targets[@]}"; do
    found=nothing
    fuzz/run.sh "$target" "$seconds" >"$logs/$target" 2>&1 || { failed=1 found="see $logs/$target"; }
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$target" | tail -1)
    covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$logs/$target" | tail -1)
    printf '%-12s %12s %10s  %s\n' "$target" "${runs:--}" "${covered:--}" "$found"
done
exit $failed
