# locant verify: a good oracle passes, a damaged one fails, an unreadable one is a mistake.
source tests/cli/support.bash
oracle=tests/data/oracle/zoo/vit_pytorch_simple_vit.json

run 0 verify $oracle
out_has "^$oracle: ok$"
out_has '^1 of 1 files within tolerance'
run 0 verify $oracle --json -q
json_lines
out_lines 1
out_has '"ok":true'
err_empty

# One sample of the output moved.
sed -E '0,/"samples": ?\[\[[0-9]+, ?-?[0-9.e-]+\]/s/("samples": ?\[\[[0-9]+, ?)-?[0-9.e-]+\]/\1123.5]/' $oracle >"$work/moved.json"
cmp -s $oracle "$work/moved.json" && die "sed changed nothing"
run 1 verify "$work/moved.json" --no-gradients --no-inference
out_has 'FAIL'
out_has '^0 of 1 files within tolerance'
run 1 verify "$work/moved.json" $oracle --json --no-gradients --no-inference
json_lines
out_lines 2
out_has '"ok":false'
out_has '"ok":true'

# Outputs only: nothing else is compared, and the report says so.
python3 - $oracle "$work/outputs.json" <<'EOF' || die "no oracle of outputs"
import json, sys
oracle = json.load(open(sys.argv[1]))
json.dump({key: oracle[key] for key in ("build", "input", "parameters", "output")}, open(sys.argv[2], "w"))
EOF
run 0 verify "$work/outputs.json"
out_has '^  the file holds outputs only$'
out_has 'output output .* ok$'
out_lacks 'gradient'
run 2 verify tests/data/oracle/official/irpe/irpe_buckets.json
err_has 'no key "build" says what to construct'

head -c 1000 $oracle >"$work/short.json"
run 2 verify "$work/short.json" $oracle --no-gradients --no-inference
err_has 'warning: .*short.json'
out_has '^1 of 2 files within tolerance'
run 2 verify nowhere.json
err_has 'nowhere.json'
mistake 'ORACLE' verify
