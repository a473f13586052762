#!/usr/bin/env bash
# The CPU kernels compiled with GCC's sanitizers, under all tests of the rasterizer, the loss, training and pose kernels. One
# finding ends it with an error.
#     benchmarks/sanitize.sh [address] [undefined] [thread]        all three, if none is named; PYTHON names the interpreter
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
        xargs -P 2 -I '{}' sh -c "g++ $flags $march $* -fopenmp -c '{}' -o $work/$name-\$(basename '{}').o"
    g++ -shared -o "$work/package/diff_gaussian_rasterization/_cpu_$name.so" "$work/$name"-*.o "${extra[@]}" $*
}

for sanitizer in "${@:-address undefined thread}"; do for kind in $sanitizer; do
    rm -rf "$work"/*
    mkdir "$work/package" && cp -r $package/diff_gaussian_rasterization "$work/package/" && rm -f "$work"/package/*/*.so
    cp -r $package/csrc "$work/package/"
    extra=(-fopenmp)
    case $kind in
        address) preload=$(gcc -print-file-name=libasan.so); threads=2 ;;
        undefined) preload=$(gcc -print-file-name=libubsan.so); threads=2 ;;
        thread) preload=$(gcc -print-file-name=libtsan.so); threads=4
            gcc -O1 -g -fPIC -fsanitize=thread -c benchmarks/sanitize/own_gomp.c -o "$work/gomp.o"
            extra=("$work/gomp.o" -Wl,-Bsymbolic -lpthread) ;;
    esac
    stop=$([ "$kind" = undefined ] && echo -fno-sanitize-recover=undefined || true)
    build baseline -DGS_DOUBLE -fsanitize=$kind $stop
    [ "$(uname -m)" = x86_64 ] && build v3 -march=x86-64-v3 -fsanitize=$kind $stop
    echo "== $kind"
    setarch -R env LD_PRELOAD="$preload" OMP_NUM_THREADS=$threads DIFF_GAUSSIAN_RASTERIZATION_CPU=${INSTRUCTIONS:-v3} \
        ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 \
        TSAN_OPTIONS="halt_on_error=0 exitcode=66 report_thread_leaks=0 ignore_noninstrumented_modules=1" \
        PYTHONPATH="$work/package:$PWD:$PWD/submodules/simple-knn" \
        "$python" -m pytest -q -p no:cacheprovider --timeout 0 -k "not compile and not instruction_sets and not kernels_were_built" $tests
done; done
echo "no findings"
