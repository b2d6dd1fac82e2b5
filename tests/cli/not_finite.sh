# NaN and infinity, in weights and in what comes of finite ones, are errors with a name.
source tests/cli/support.bash
digits=examples/digits
weights() {  # TENSOR INDEX|all VALUE ..: the digits model with other numbers
  cp $digits/digits.safetensors "$work/w.safetensors"
  for ((n = 1; n <= $#; n += 3)); do
    python3 tests/cli/set_number.py "$work/w.safetensors" "${@:n:3}" || { last=python3; die "set_number"; }
  done
}

weights layers.0.blocks.0.norm1.bias 3 nan
message="\\[load\\] $work/w.safetensors: tensor layers.0.blocks.0.norm1.bias holds -?nan at \\(3\\)"
mistake "$message" classify $digits/3_a.png --weights "$work/w.safetensors"
mistake "$message" features $digits/3_a.png --weights "$work/w.safetensors" -o "$work/f.safetensors"
mistake "$message" train --data tests/data/digits500 --init "$work/w.safetensors" --epochs 1 --out "$work/run"
weights head.weight 8 -inf
mistake 'tensor head.weight holds -inf at \(0, 8\)' classify $digits/3_a.png --weights "$work/w.safetensors"

# Finite weights whose products are not: each picture is named, none of them answered.
weights head.weight all 3e38
run 1 classify $digits/3_a.png $digits/4_a.png --weights "$work/w.safetensors" --json
out_lines 2
for picture in 3_a 4_a; do
  err_has "^locant: warning: \\[classify\\] $digits/$picture.png: the model's output holds -?(nan|inf) at \\(0, 0\\)$"
  out_has "\"picture\":\"$digits/$picture.png\",\"error\":\"\\[classify\\] $digits/$picture.png: the model"
done
mistake "$digits/3_a.png: the model's output holds" classify $digits/3_a.png --weights "$work/w.safetensors"
weights norm.weight all 3e38 norm.bias all 3e38
mistake "\\[features\\] $digits/3_a.png: what the model makes of it holds -?(nan|inf) at \\(" \
  features $digits/3_a.png --weights "$work/w.safetensors" -o "$work/f.safetensors"
run 1 features $digits/3_a.png $digits/4_a.png --weights "$work/w.safetensors" -o "$work/f.safetensors"
err_has "^locant: warning: \\[features\\] $digits/4_a.png: "
[ ! -e "$work/f.safetensors" ] || die "f.safetensors was written"
