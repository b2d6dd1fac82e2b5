# How many threads: --threads, then LOCANT_NUM_THREADS, then OMP_NUM_THREADS, then the machine; what cannot be is said.
source tests/cli/support.bash
unset LOCANT_NUM_THREADS OMP_NUM_THREADS

# threads_are N ARGUMENT...: what the banner says.
threads_are() {
  local want=$1
  shift
  run 0 "$@" bench matmul --matmul-size 16 --seconds 0.001
  err_has "^locant .*, $want threads?\$"
}

LOCANT_NUM_THREADS=2 OMP_NUM_THREADS=3 threads_are 5 --threads 5
LOCANT_NUM_THREADS=2 OMP_NUM_THREADS=3 threads_are 2
LOCANT_NUM_THREADS= OMP_NUM_THREADS=3 threads_are 3
OMP_NUM_THREADS=4,2 threads_are 4
OMP_NUM_THREADS=1 threads_are 1
threads_are '[0-9]+'
machine=$(sed -nE 's/^locant .*, ([0-9]+) threads?$/\1/p' "$work/err")
OMP_NUM_THREADS=many threads_are "$machine"
if command -v taskset >/dev/null; then
  "$(command -v taskset)" -c 0 "$locant" bench matmul --matmul-size 16 --seconds 0.001 >"$work/out" 2>"$work/err" || die taskset
  err_has ', 1 thread$'
fi

for wrong in 0 1025 many 4,2; do
  LOCANT_NUM_THREADS=$wrong mistake "\[threads\] LOCANT_NUM_THREADS is '$wrong'; it must be a number of 1 to 1024" list models
done
mistake '--threads' --threads 1025 list models
LOCANT_NUM_THREADS=many threads_are 3 --threads 3

# Without settings of the user's the program starts threads that shorten OpenMP's spinning; nothing else changes.
unset OMP_WAIT_POLICY
threads_are 2 --threads 2
GOMP_SPINCOUNT=100 threads_are 2 --threads 2
run 0 list models
err_empty
