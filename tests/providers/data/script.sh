#!/bin/bash
#SBATCH --nodes=2
#SBATCH --time=10
trap 'exit 143' TERM
export JOBNAME='parsl_pool.htex.block-0'"'"'s'

source /opt/env/bin/activate
export A='1 2'

python -m pool.manager
