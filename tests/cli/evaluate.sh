# locant evaluate with the digits model: the same answers as classify, files that agree, and what can be wrong.
source tests/cli/support.bash
weights=examples/digits/digits.safetensors
digits=tests/data/digits500

# The 100 digits of the IDX test files as pictures in class folders.
mkdir "$work/photos"
for class in 0 1 2 3 4 5 6 7 8 9; do mkdir "$work/photos/$class"; done
labels=($(tail -c +9 $digits/t10k-labels-idx1-ubyte | od -An -v -tu1))
count=${#labels[@]}
for ((i = 0; i < count; ++i)); do
  { printf 'P5 28 28 255\n'; tail -c +$((17 + 784 * i)) $digits/t10k-images-idx3-ubyte | head -c 784; } \
    >"$work/photos/${labels[i]}/$(printf %03d "$i").pgm"
done

# What classify says, picture by picture.
run 0 classify "$work"/photos/*/*.pgm --weights $weights --csv --top 1 -q
tail -n +2 "$work/out" | awk -F, '{ n = split($1, path, "/"); print path[n - 1] "/" path[n] "," path[n - 1] "," $4 "," sprintf("%.4f", $5) }' >"$work/classify"
right=$(awk -F, '$2 == $3' "$work/classify" | wc -l)

run 0 evaluate "$work/photos" --weights $weights -o "$work/answers"
out_has "^top-1 $(awk "BEGIN { printf \"%.2f\", 100 * $right / $count }") % \($right of $count\), top-5 [0-9.]+ %, mean loss 0\.[0-9]+, calibration error 0\.[0-9]+$"
out_has '^  class +pictures +right +precision +recall +F1$'
out_has '^wrote .*answers: confusion.csv, confusion.png, per_class.csv, predictions.csv, wrong.png, report.json$'
out_has "^load .*, $count pictures in .* a second, swin_digits\)$"
err_has "^$count pictures of 10 classes, matched by name$"
[ "$(ls "$work/answers" | wc -l)" -eq 6 ] || die "files: $(ls "$work/answers")"
tail -n +2 "$work/answers/predictions.csv" | awk -F, '{ n = split($1, path, "/"); print path[n - 1] "/" path[n] "," $2 "," $3 "," sprintf("%.4f", $4) }' |
  cmp - "$work/classify" || die "other answers than classify's"
checks=$((checks + 1))
head -n 1 "$work/answers/predictions.csv" | grep -q '^path,label,predicted,probability,top1,probability1,.*,probability5$' || die "the heading of predictions.csv"
awk -F, 'NR > 1 { for (c = 2; c <= NF; ++c) { all += $c; if (c == NR) right += $c } } END { print right "/" all }' "$work/answers/confusion.csv" >"$work/sum"
[ "$(cat "$work/sum")" = "$right/$count" ] || die "the confusion matrix says $(cat "$work/sum")"
awk -F, 'NR > 1 { if ($7 < last) bad = 1; last = $7; n += $2; r += $4 } END { exit bad || n != '"$count"' || r != '"$right"' }' "$work/answers/per_class.csv" || die "per_class.csv"
for picture in confusion wrong; do
  [ "$(head -c 8 "$work/answers/$picture.png" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || die "$picture.png is no PNG"
done

# report.json is what --json prints but for times and the command; its digest is what sha256sum says.
run 0 evaluate "$work/photos" --weights $weights --json -q
json_lines
out_lines 1
out_has "\"pictures\":$count,\"sha256\":\"$(cd "$work/photos" && sha256sum */*.pgm | LC_ALL=C sort | sha256sum | cut -d' ' -f1)\""
out_has '"command":\["[^"]*","evaluate","[^"]*photos","--weights","examples/digits/digits.safetensors","--json","-q"\]'
out_has '"checkpoint":\{"path":"examples/digits/digits.safetensors","xxh3_128":"[0-9a-f]{32}","model":"swin_digits",.*"preprocessing":\{'
out_has '"instruction_set":"(reference|sse4|avx2|avx512)","threads":[0-9]+'
out_has '"left_out":\[\]'
cp "$work/out" "$work/json"
if command -v python3 >/dev/null; then
  checks=$((checks + 1))
  python3 - "$work/json" "$work/answers/report.json" <<'PYTHON' || die "report.json and --json differ"
import json, sys
a, b = (json.load(open(path)) for path in sys.argv[1:])
for report in (a, b):
    for key in ("command", "load_seconds", "seconds", "pictures_per_second"): report.pop(key)
assert a == b, (a, b)
PYTHON
fi

# The IDX files themselves give the same, whatever the batch.
for batch in 1 7 100; do
  run 0 evaluate $digits --weights $weights --batch $batch
  out_has "\($right of $count\)"
  err_has "^test: $count pictures of 10 classes, matched by name$"
done
run 0 evaluate $digits --weights $weights --split train -q
out_has ' of 400\)'
mistake 'is test \(t10k-...\) or train, not val' evaluate $digits --weights $weights --split val

# Splits: the first of test, val and valid; another on request.
mkdir "$work/split"
cp -r "$work/photos" "$work/split/train"
mistake 'neither test/ nor val/ nor valid/; --split train' evaluate "$work/split" --weights $weights
run 0 evaluate "$work/split" --weights $weights --split train
mkdir -p "$work/split/valid/3"
cp "$work"/photos/3/*.pgm "$work/split/valid/3"
run 0 evaluate "$work/split" --weights $weights
err_has '^valid: [0-9]+ pictures of 1 classes'
mistake 'has no folder holdout; splits in it: valid, train' evaluate "$work/split" --weights $weights --split holdout

# Calibration; a temperature changes probabilities and loss, no answer.
run 0 evaluate "$work/photos" --weights $weights --calibrate
out_has '^temperature [0-9.]+, fitted on [0-9]+ pictures .* on the other [0-9]+ loss [0-9.]+ -> [0-9.]+, calibration error [0-9.]+ -> [0-9.]+$'
[ "$(sed -nE 's/^temperature .* fitted on ([0-9]+) .* other ([0-9]+) loss.*/\1+\2/p' "$work/out" | bc)" -eq "$count" ] || die "halves"
run 0 evaluate "$work/photos" --weights $weights --temperature 3 -o "$work/warm" -q
out_has "\($right of $count\)"
cut -d, -f1-3 "$work/warm/predictions.csv" | cmp - <(cut -d, -f1-3 "$work/answers/predictions.csv") || die "a temperature changes answers"
cmp -s "$work/warm/predictions.csv" "$work/answers/predictions.csv" && die "a temperature changes nothing"
mistake 'take one of them' evaluate "$work/photos" --weights $weights --temperature 3 --calibrate
mistake '--temperature' evaluate "$work/photos" --weights $weights --temperature 0

# Names of the caller's own, hostile ones too.
printf 'zero\none\ntwo\nthree\nfour\nfive\nsix\n"se,ven"\neight\nnine\n' >"$work/labels"
mkdir "$work/named"
cp -r "$work/photos/7" "$work/named/\"se,ven\""
cp -r "$work/photos/1" "$work/named/one"
run 0 evaluate "$work/named" --weights $weights --labels "$work/labels" -o "$work/named_answers"
err_has 'of 2 classes, matched by name'
grep -q '^"""se,ven""",' "$work/named_answers/confusion.csv" || die "a name in confusion.csv"
run 0 evaluate "$work/named" --weights $weights --labels "$work/labels" --json -q
json_lines

# Pictures that cannot be used are named, left out, and tell in the exit code; a FIFO is not waited for.
cp -r "$work/photos" "$work/some"
head -c 100 "$work/some/0/$(ls "$work/some/0" | head -n 1)" >"$work/some/0/broken.pgm"
: >"$work/some/1/empty.png"
ln -s nowhere "$work/some/2/dangling.png"
mkfifo "$work/some/3/pipe.png"
echo "a resource fork" >"$work/some/4/._x.png"
cp "$work/photos/5/"*.pgm "$work/some"
run 1 evaluate "$work/some" --weights $weights -o "$work/some_answers"
out_has "\($right of $count\)"
for name in 0/broken.pgm 1/empty.png 2/dangling.png 3/pipe.png; do err_has "^locant: warning: left out: .*some/$name: "; done
err_has "^locant: warning: 4 of $((count + 4)) pictures left out$"
err_has 'beside the class folders passed over'
grep -c '"reason"' "$work/some_answers/report.json" | grep -qx 4 || die "left_out in report.json"
run 1 evaluate "$work/some" --weights $weights --json
json_lines
run 2 evaluate "$work/some" --weights $weights --strict
err_has 'pipe.png: no regular file.*without --strict it is left out'

# Mistakes.
mkdir "$work/empty" "$work/hollow" "$work/hollow/0" "$work/bad" "$work/bad/0"
echo nothing >"$work/bad/0/x.png"
mistake 'neither class folders nor IDX files' evaluate "$work/empty" --weights $weights
mistake 'no picture in its 1 class folders' evaluate "$work/hollow" --weights $weights
run 2 evaluate "$work/bad" --weights $weights
err_has '^locant: \[evaluate\] none of the 1 pictures could be read; the first is .*x.png: '
mkdir "$work/photos/eleven"
mistake '1 of 11 class folders are no class of the checkpoint.s 10: "eleven" \(nearest: ".*"\); rename the folders, or give --labels' \
  evaluate "$work/photos" --weights $weights
rmdir "$work/photos/eleven"
mistake 'is not a folder' evaluate nowhere --weights $weights
mistake 'is not a folder' evaluate $weights --weights $weights
mistake '--weights' evaluate "$work/photos"
mistake 'lies in .*photos, whose pictures are read' evaluate "$work/photos" --weights $weights -o "$work/photos/answers"
mistake 'lies in' evaluate "$work/photos" --weights $weights -o "$work/photos"
mistake 'holds 10 names, the model has 5 classes' evaluate "$work/photos" --weights tests/data/hub/vit_5_labels/model --labels "$work/labels"
mistake 'labels up to 9, the checkpoint has 5 classes' evaluate $digits --weights tests/data/hub/vit_5_labels/model
run 2 evaluate "$work/photos" --weights tests/data/hub/vit_headless_pooler/model
err_has '^locant: .*without a classification head'
mkdir -p "$work/blocked/report.json"
run 2 evaluate "$work/photos" --weights $weights -o "$work/blocked"
err_has '^locant: .*report.json: it is a folder'

# Ctrl-C: nothing is written.
"$locant" evaluate "$work/photos" --weights $weights --batch 1 --img-size 840 -o "$work/stopped" >"$work/out" 2>"$work/err" &
pid=$!
for _ in $(seq 200); do
  grep -q 'matched by name' "$work/err" && break
  sleep 0.02
done
sleep 0.1
kill -INT $pid
wait $pid
[ $? -eq 130 ] || die "exit code after SIGINT"
checks=$((checks + 1))
err_has 'interrupted after [0-9]+ of [0-9]+ pictures; nothing was written'
[ -z "$(ls "$work/stopped")" ] || die "files after SIGINT"
