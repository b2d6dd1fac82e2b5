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
out_has '^\{"picture":"-","model":"swin_digits","family":"swin","naming":"locant","key":"","preprocessing":\{.*"rows":28,.*\},"precision":"float32","assumed":\[\],"top":\[\{"index":7,"label":"7","probability":[0-9.]+\},\{.*\}\],"load_ms":[0-9.]+,"preprocess_ms":[0-9.]+,"inference_ms":[0-9.]+\}$'
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
echo ten >>"$work/labels"
mistake 'holds 11 names, the model has 10 classes' classify $digits/7_a.png --labels "$work/labels"

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
