# locant classify with the bundled digits model.
source tests/cli/support.bash
digits=examples/digits

# A file: answers and timings on stdout, the banner on stderr.
run 0 classify $digits/3_a.png
out_has "^$digits/3_a.png$"
out_has '^ +[0-9.]+ %  3$'
out_has '^load .*ms, preprocess .*ms, inference .*ms a picture \(1 picture, '
out_lines 7
err_has '^locant [0-9.]+, (reference|sse4|avx2|avx512) \(.*\), [0-9]+ threads?$'
run 0 --quiet classify $digits/3_a.png
err_empty
run 0 classify $digits/3_a.png --top 100 --threads 1
out_lines 12
err_has ', 1 thread$'

# A folder, sorted; all answers, whatever the batch.
run 0 classify $digits --csv --top 1 -q
out_lines 21
out_has '^picture,rank,index,label,probability,error$'
right=$(tail -n +2 "$work/out" | awk -F, '{ split($1, path, "/"); if (substr(path[3], 1, 1) == $4) n++ } END { print n }')
[ "$right" -ge 18 ] || die "$right of 20 digits right"
tail -n +2 "$work/out" | cut -d, -f1 >"$work/order"
sort -c "$work/order" || die "the folder is not sorted"
cut -d, -f1-4 "$work/out" >"$work/batch8"
for batch in 1 3 20; do
  run 0 classify $digits --csv --top 1 -q --batch $batch
  cut -d, -f1-4 "$work/out" | cmp - "$work/batch8" || die "batch $batch gives other answers"
done

# Standard input; JSON.
"$locant" classify - -q --json --top 2 <$digits/7_a.png >"$work/out" 2>"$work/err" || die "stdin"
last="classify -"
json_lines
out_lines 1
out_has '^\{"picture":"-","model":"swin_digits","family":"swin","naming":"locant","key":"","preprocessing":\{.*"rows":28,.*\},"precision":"float32","assumed":\[\],"activation":"softmax","top":\[\{"index":7,"label":"7","probability":[0-9.]+\},\{.*\}\],"load_ms":[0-9.]+,"preprocess_ms":[0-9.]+,"inference_ms":[0-9.]+\}$'
run 0 classify $digits --json -q
json_lines
out_lines 20

# Labels.
printf 'zero\none\ntwo\nthree\nfour\nfive\nsix\n"se,ven"\neight\nnine\n' >"$work/labels"
run 0 classify $digits/7_a.png --labels "$work/labels" --csv --top 1 -q
out_has ',1,7,"""se,ven""",'
printf 'a\033[2Jb\n' >"$work/steer"
head -n 9 "$work/labels" >>"$work/steer"
run 0 classify $digits/0_a.png --labels "$work/steer" --top 10 -q
out_has 'a\\x1b\[2Jb$'  # a name cannot steer the terminal
{ printf '\357\273\277'; cat "$work/labels"; } >"$work/marked"  # a byte order mark is no part of the first name
run 0 classify $digits/0_a.png --labels "$work/marked" --csv --top 1 -q
out_has ',1,0,zero,'
echo '["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]' >"$work/list.json"
run 0 classify $digits/7_a.png --labels "$work/list.json" --csv --top 1 -q
out_has ',1,7,seven,'
printf '{\n "architectures": ["X"],\n "id2label": {"1": "one", "0": "zero", "2": "two", "3": "three", "4": "four",\n  "5": "five", "6": "six", "7": "seven", "8": "eight", "9": "nine"}\n}\n' >"$work/config.json"
run 0 classify $digits/7_a.png --labels "$work/config.json" --csv --top 1 -q
out_has ',1,7,seven,'
echo '{"0": "zero", "2": "two"}' >"$work/gap.json"
mistake 'is JSON, but names no class 1' classify $digits/7_a.png --labels "$work/gap.json"
echo ten >>"$work/labels"
mistake 'holds 11 names, the model has 10 classes' classify $digits/7_a.png --labels "$work/labels"

# Each class by itself: on request, or as the folder says. Said once.
run 0 classify $digits/7_a.png $digits/3_a.png --multi-label --top 2 -q
out_has '^each class by itself \(sigmoid\)$'
out_lines 8
run 0 classify $digits/7_a.png --multi-label --top 10 --json -q
out_has '"activation":"sigmoid"'
checks=$((checks + 1))
grep -oE '"probability":[0-9.e-]+' "$work/out" | cut -d: -f2 | awk '{ sum += $1 } END { exit !(sum > 1.01 || sum < 0.99) }' ||
  die "probabilities of several labels add up to 1"
run 0 classify $digits/7_a.png --top 1 -q
out_lacks 'sigmoid'
run 0 classify $digits/7_a.png --weights tests/data/hub/vit_multi_label/model --json -q
out_has '"activation":"sigmoid"'

# What nobody else says, and how pictures are prepared.
hub=tests/data/hub
echo '{"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]}' >"$work/pre.json"
run 0 classify $digits/7_a.png --weights $hub/vit_5_labels/model --preprocess "$work/pre.json" --json -q
out_has '"preprocessing":\{.*"mean":\[0.1,0.2,0.3\]'
run 0 classify $digits/7_a.png --weights $hub/vit_5_labels/model --no-folder-config
err_has 'assumed: .*heads'
run 0 classify $digits/7_a.png --weights $hub/vit_5_labels/model --no-folder-config --config '{"heads": 3}'
err_lacks 'assumed: .*heads'
mistake '--config: this is not a JSON object: \[3\]|--config: cannot read \[3\]' classify $digits/7_a.png --weights $hub/vit_5_labels/model --config '[3]'
mistake '--config: this is not a JSON object: \{heads' classify $digits/7_a.png --weights $hub/vit_5_labels/model --config '{heads: 3}'
mistake '--preprocess: cannot read nowhere.json' classify $digits/7_a.png --weights $hub/vit_5_labels/model --preprocess nowhere.json
mistake '--preprocess: README.md holds no JSON object' classify $digits/7_a.png --weights $hub/vit_5_labels/model --preprocess README.md

# Another input size.
run 0 classify $digits/1_a.png --img-size 56 -q
out_has ' %  '

# One bad picture among good ones is reported, the others are answered, and the exit code tells.
mkdir "$work/mixed"
cp $digits/0_a.png $digits/1_a.png "$work/mixed"
head -c 100 $digits/2_a.png >"$work/mixed/broken.png"
run 1 classify "$work/mixed" --json
json_lines
out_lines 3
out_has '"error":"\[image\] .*broken.png'
run 1 classify "$work/mixed" --csv --top 1
err_has '^locant: warning: \[image\] .*broken.png'
err_has '^locant: warning: 1 of 3 pictures failed$'
out_lines 4
out_has '/broken.png,,,,,\[image\] .*broken.png'

# Mistakes.
mistake 'no file or folder nowhere.png' classify nowhere.png
mkdir "$work/empty"
mistake 'no picture in the folder' classify "$work/empty"
mistake 'cannot open|no such file|nowhere' classify $digits/0_a.png --weights nowhere.safetensors
mistake 'me/my-vit: there is no such file or folder, and nothing is downloaded.*hf download me/my-vit' \
  classify $digits/0_a.png --weights me/my-vit
mistake 'vit_base_patch16_224: is the name of a model, and no file; nothing is downloaded' \
  classify $digits/0_a.png --weights vit_base_patch16_224
mistake 'is one of 3 shards of a model; give the folder, or the index' \
  classify $digits/0_a.png --weights $hub/vit_sharded/model/model-00002-of-00003.safetensors
mistake 'needs --weights' classify $digits/0_a.png --model swin_tiny_patch4_window7_224
mistake 'exclude each other' classify $digits/0_a.png --json --csv
mistake 'README.md' classify $digits/0_a.png --weights README.md
LOCANT_ISA=mmx mistake 'reference.*sse4' classify $digits/0_a.png

# Every instruction set of this machine gives the same answers.
for isa in reference sse4; do
  LOCANT_ISA=$isa run 0 classify $digits --csv --top 1 --threads 2
  err_has "$isa \\(LOCANT_ISA\\)"
  cut -d, -f1-4 "$work/out" | cmp - "$work/batch8" || die "$isa gives other answers"
done

# A reader that goes away, and a full disk.
(trap '' PIPE; "$locant" classify $digits --csv --top 10 -q; echo $? >"$work/code") 2>"$work/err" | head -n 1 >"$work/out"
[ "$(cat "$work/code")" -eq 0 ] && [ ! -s "$work/err" ] || die "a closed pipe"
if [ -w /dev/full ]; then
  "$locant" classify $digits -q >/dev/full 2>"$work/err"
  [ $? -eq 2 ] || die "a full disk"
  err_has 'cannot write the results'
  "$locant" classify $digits $digits $digits $digits $digits --json --top 10 -q >/dev/full 2>"$work/err"  # while it runs
  [ $? -eq 2 ] && ! grep -q 'pictures failed' "$work/err" || die "a full disk is taken for bad pictures"
fi
