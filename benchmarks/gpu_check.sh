#!/bin/sh
# On a machine with a GPU: the parity tests, then the same under compute-sanitizer (memcheck, racecheck). No nvcc is used.
#     benchmarks/gpu_check.sh [python]
set -eu
python=${1:-python3}
unset CUDA_HOME CUDA_PATH
"$python" -m pytest tests/test_cuda_gpu.py -q
# The sanitizer slows kernels down by an order of magnitude, so it sees each kind of kernel once.
some='long_lists or current_stream or loss_agrees or 2000-16 or 0-3 or 3-1 or neighbour or overflow or pose_equations or clouds'
# cuda-bindings asks the driver for every function it knows, newer ones included: such API errors say nothing of kernels.
for tool in "memcheck --report-api-errors no" racecheck; do
    compute-sanitizer --tool $tool --error-exitcode 1 "$python" -m pytest tests/test_cuda_gpu.py -q -k "$some"
done
