CORES=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
export CORES
echo "copies: 1, CORES: $CORES"
parsl_pool_copy() {
python -m pool.manager --name 'two words'
}
parsl_pool_copy
