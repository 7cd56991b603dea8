#!/usr/bin/env bash
# Times of a frame where a thread that waits badly shows: a real-time streaming thread, a busy neighbour, fewer processors
# than threads.
#
#   tests/realtime.sh [BINARY...]      target/release/uretinex by default; several are measured in turn
#   FRAMES=200 SIZE=640x360 MODEL=lite
#
# Each case prints the median and the mean time of a frame in milliseconds. A thread that is starved shows in the mean. A
# case that this user or machine does not allow prints SKIPPED. Needs Linux, two processors, chrt and taskset; the
# real-time cases need root or CAP_SYS_NICE, the quota a cgroup that this user may write.
set -euo pipefail
cd "$(dirname "$0")/.."

frames=${FRAMES:-200} size=${SIZE:-640x360} model=${MODEL:-lite}
[ $# -gt 0 ] || set -- target/release/uretinex
work=$(mktemp -d)
neighbour=

finish() {
    stop_neighbour
    [ ! -d "${group:-}" ] || rmdir "$group" || true
    rm -rf "$work"
}
trap finish EXIT

stop_neighbour() {
    [ -z "$neighbour" ] || { kill "$neighbour" && wait "$neighbour"; } 2>/dev/null || true
    neighbour=
}

# A thread on processor $1 that is busy for 20 of 25 milliseconds, before ordinary threads and behind the streaming thread.
start_neighbour() {
    chrt -f 40 taskset -c "$1" python3 -c '
import time
while True:
    end = time.monotonic() + 0.020
    while time.monotonic() < end:
        pass
    time.sleep(0.005)
' &
    neighbour=$!
}

# The ids of the threads of process $1; the first is the streaming thread.
threads() { ls "/proc/$1/task" | sort -n; }

# What is done to process $1 once its threads are there.
plain() { :; }
realtime() {
    chrt -f -p 50 "$1"
    taskset -c -p "$first" "$1"
}
one_processor() {
    for thread in $(threads "$1"); do taskset -c -p "$first" "$thread"; done
}
realtime_on_one_processor() {
    one_processor "$1"
    chrt -f -p 50 "$1"
}
quota() { echo "$1" >"$group/cgroup.procs"; }

# Makes $group, which gets the time of one processor; fails where that is not allowed.
make_group() {
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        group=/sys/fs/cgroup/uretinex-realtime-$$
        mkdir "$group" && echo "100000 100000" >"$group/cpu.max"
    else
        group=/sys/fs/cgroup/cpu/uretinex-realtime-$$
        mkdir "$group" && echo 100000 >"$group/cpu.cfs_period_us" && echo 100000 >"$group/cpu.cfs_quota_us"
    fi
}

# Measures binary $1 in case $2, to which function $3 belongs.
measure() {
    timeout 600 "$1" bench --backend cpu --model "$model" --size "$size" --frames "$frames" --threads 2 --json \
        >"$work/result" 2>"$work/errors" &
    local wrapper=$! process
    for _ in $(seq 100); do
        process=$(pgrep -P "$wrapper" || true)
        if [ -n "$process" ] && grep -qs '^uretinex-1$' "/proc/$process/task/"*/comm; then break; fi
        sleep 0.05
    done
    if [ -z "$process" ] || ! "$3" "$process" >>"$work/errors" 2>&1; then
        kill "$wrapper" 2>/dev/null || true
        wait "$wrapper" 2>/dev/null || true
        printf '%-34s %-40s SKIPPED: %s\n' "$2" "$1" "$(tail -n 1 "$work/errors")"
        return
    fi
    if ! wait "$wrapper"; then
        printf '%-34s %-40s no result in time: %s\n' "$2" "$1" "$(tail -n 1 "$work/errors")"
        return
    fi
    awk -v name="$2" -v binary="$1" 'match($0, /"frames_per_second":[0-9.]+/) {
        mean = 1000 / substr($0, RSTART + 20, RLENGTH - 20)
        match($0, /"total":[0-9.]+/)
        printf "%-34s %-40s %9.2f %9.2f\n", name, binary, substr($0, RSTART + 8, RLENGTH - 8), mean
    }' "$work/result"
}

processors=($(taskset -c -p $$ | sed 's/.*: //' | tr ',' '\n' | awk -F- '{ for (i = $1; i <= $NF; i++) print i }'))
if [ ${#processors[@]} -lt 2 ]; then
    echo "SKIPPED: one processor only"
    exit 0
fi
first=${processors[0]} second=${processors[1]}

printf '%-34s %-40s %9s %9s\n' case binary 'median ms' 'mean ms'
for binary; do measure "$binary" "two processors" plain; done
for binary; do measure "$binary" "one processor" one_processor; done
if chrt -f 50 true 2>/dev/null; then
    for binary; do measure "$binary" "real-time thread" realtime; done
    start_neighbour "$second"
    for binary; do measure "$binary" "real-time thread, busy neighbour" realtime; done
    stop_neighbour
    for binary; do measure "$binary" "real-time thread, one processor" realtime_on_one_processor; done
else
    echo "SKIPPED: real-time cases: chrt is not permitted"
fi
if make_group 2>/dev/null; then
    for binary; do measure "$binary" "quota of one processor" quota; done
else
    echo "SKIPPED: quota: no cgroup that may be written"
fi
