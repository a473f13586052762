#!/usr/bin/env bash
# The CPU kernels compiled with GCC's sanitizers, under all tests of the rasterizer, the loss, training and pose kernels. One
# finding ends it with an error.
#     benchmarks/sanitize.sh [address] [undefined] [thread]        all three, if none is named; PYTHON names the interpreter,
#                                                                  JOBS how many processes share the tests (pytest-xdist)
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=submodules/diff-gaussian-rasterization
tests=$(ls tests/test_rasterizer*.py tests/test_loss_kernel.py tests/test_pose_equations.py tests/test_pose_step.py 2>/dev/null)
flags="-std=c++17 -O1 -g -fno-omit-frame-pointer -fPIC -shared -fvisibility=hidden -ffp-contract=fast -Wno-psabi"

build() { # build INSTRUCTIONS MARCH SANITIZER...: a library of the kernels with the sanitizer, beside its package's copy
    local name=$1 march=$2; shift 2
    for source in $package/csrc/cpu/*.cpp; do echo "$source"; done |
        xargs -P "$(getconf _NPROCESSORS_ONLN)" -I '{}' sh -c "g++ $flags $march $* -fopenmp -c '{}' -o $work/$name-\$(basename '{}').o"
    g++ -shared -o "$work/package/diff_gaussian_rasterization/_cpu_$name.so" "$work/$name"-*.o "${extra[@]}" $*
}

for sanitizer in "${@:-address undefined thread}"; do for kind in $sanitizer; do
    rm -rf "$work"/*
    mkdir "$work/package" && cp -r $package/diff_gaussian_rasterization "$work/package/" && rm -f "$work"/package/*/*.so
    cp -r $package/csrc "$work/package/"
    extra=(-fopenmp)
    case $kind in
        address) prefix=ASAN preload=$(gcc -print-file-name=libasan.so); threads=2; options=detect_leaks=0:halt_on_error=1 ;;
        undefined) prefix=UBSAN preload=$(gcc -print-file-name=libubsan.so); threads=2; options=print_stacktrace=1 ;;
        thread) prefix=TSAN preload=$(gcc -print-file-name=libtsan.so); threads=4
            options=halt_on_error=0:report_thread_leaks=0:ignore_noninstrumented_modules=1
            gcc -O1 -g -fPIC -fsanitize=thread -c benchmarks/sanitize/own_gomp.c -o "$work/gomp.o"
            extra=("$work/gomp.o" -Wl,-Bsymbolic -lpthread) ;;
    esac
    stop=$([ "$kind" = undefined ] && echo -fno-sanitize-recover=undefined || true)
    build baseline -DGS_DOUBLE -fsanitize=$kind $stop
    [ "$(uname -m)" = x86_64 ] && build v3 -march=x86-64-v3 -fsanitize=$kind $stop
    echo "== $kind"
    # The C++ runtime comes with the sanitizer, or the first exception that torch throws finds no way to it. What a sanitizer
    # says goes to files: what a process says before it dies, pytest keeps to itself.
    setarch -R env LD_PRELOAD="$preload $(g++ -print-file-name=libstdc++.so.6)" OMP_NUM_THREADS=$threads \
        DIFF_GAUSSIAN_RASTERIZATION_CPU=${INSTRUCTIONS:-v3} \
        "${prefix}_OPTIONS=$options:exitcode=66:log_path=$work/found" \
        PYTHONPATH="$work/package:$PWD:$PWD/submodules/simple-knn${PYTHONPATH:+:$PYTHONPATH}" \
        "$python" -m pytest -q -p no:cacheprovider --timeout 0 ${JOBS:+-n $JOBS --dist worksteal} \
        -k "not compile and not instruction_sets and not kernels_were_built" $tests && code=0 || code=$?
    if ls "$work"/found* > /dev/null 2>&1; then cat "$work"/found*; code=1; fi
    [ $code = 0 ] || { echo "== $kind: findings, or tests that fail ($code)"; exit 1; }
done; done
echo "no findings"
