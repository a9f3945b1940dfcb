CORES=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
export CORES
echo "copies: 3, CORES: $CORES"
parsl_pool_copy() {
python -m pool.manager --name 'two words'
}
trap 'wait; exit 143' TERM
parsl_pool_pids=
parsl_pool_count=0
while [ "$parsl_pool_count" -lt 3 ]; do
    { trap 'exit 143' TERM; parsl_pool_copy; } &
    parsl_pool_pids="$parsl_pool_pids $!"
    parsl_pool_count=$((parsl_pool_count + 1))
done
parsl_pool_failed=0
parsl_pool_code=0
for parsl_pool_pid in $parsl_pool_pids; do
    wait "$parsl_pool_pid" || {
        parsl_pool_code=$?
        parsl_pool_failed=$((parsl_pool_failed + 1))
        echo "process $parsl_pool_pid, one of 3 copies, ended with exit code $parsl_pool_code"
    }
done
[ "$parsl_pool_failed" -ge 3 ] || parsl_pool_code=0
trap 'exit 143' TERM
(exit "$parsl_pool_code")
