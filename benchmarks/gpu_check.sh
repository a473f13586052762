#!/bin/sh
# On a machine with a GPU: the parity tests, then the same under compute-sanitizer (memcheck, racecheck, initcheck). There
# is no nvcc on the PATH and no CUDA_HOME while they run: the kernels need neither.
#     benchmarks/gpu_check.sh [python]
set -eu
python=$(command -v "${1:-python3}")
sanitizer=$(command -v compute-sanitizer)
unset CUDA_HOME CUDA_PATH
export PATH=/usr/bin:/bin
if command -v nvcc; then echo "nvcc is in /usr/bin: this does not show that it is not needed"; fi
"$python" -m pytest tests/test_cuda_gpu.py -q
# The sanitizer slows kernels down by an order of magnitude, so it sees each of our kernels once (torch's own reductions read
# memory that nobody wrote, harmlessly).
some='long_lists or current_stream or loss_agrees or 2000-16 or 0-3 or 3-1 or threshold or beside or overflow or pose_equations or steps or variants'
# cuda-bindings asks the driver for every function it knows, newer ones included: such API errors say nothing of kernels.
printf '%s\n' "memcheck --report-api-errors no" racecheck initcheck synccheck | xargs -P 4 -I '{}' sh -c \
    '"$0" --tool {} --error-exitcode 1 "$1" -m pytest tests/test_cuda_gpu.py -q -k "$2"' "$sanitizer" "$python" "$some"
