#!/usr/bin/env bash
# locant train at the command line: a short run, Ctrl-C, resuming, and what a user can get wrong.
set -u
locant=$(realpath "$1")
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}
expect_code() {  # WANTED TEXT COMMAND...: exit code and a piece of stderr
  local wanted=$1 text=$2
  shift 2
  "$@" >"$work/stdout" 2>"$work/stderr"
  local code=$?
  [[ $code == "$wanted" ]] || fail "exit code $code, expected $wanted: $* ($(tail -n 1 "$work/stderr"))"
  grep -q -- "$text" "$work/stderr" || fail "no \"$text\" on stderr: $* ($(tail -n 1 "$work/stderr"))"
}

small='{"family":"swin","img_size":28,"patch_size":4,"in_chans":1,"dim":16,"depths":[2],"heads":[2],"window":4}'
options=(--threads 2 train --data tests/data/digits500 --config "$small" --batch 50 --warmup-epochs 1
         --shift 2 --rotate 10 --ema 0.9 --log-every 4)

expect_code 0 "epoch   2" "$locant" "${options[@]}" --epochs 2 --out "$work/straight"
grep -q "ema_val_accuracy" "$work/stdout" || fail "no result on stdout"
[[ $(grep -c '"kind":"epoch"' "$work/straight/train.log.jsonl") == 2 ]] || fail "the log does not hold two epochs"
[[ $(grep -c '"kind":"step"' "$work/straight/train.log.jsonl") == 4 ]] || fail "the log does not hold four step lines"
expect_code 0 "" "$locant" classify examples/digits/7_a.png --weights "$work/straight/model.safetensors"

# Ctrl-C: stopped at some step of a long run, saved, exit code 130; the resumed run ends.
"$locant" "${options[@]}" --epochs 400 --out "$work/stopped" >"$work/stdout" 2>"$work/stderr" &
pid=$!
for _ in $(seq 300); do
  [[ $(grep -cs '"kind":"epoch"' "$work/stopped/train.log.jsonl") -ge 2 ]] && break
  sleep 0.1
done
kill -INT $pid
wait $pid
code=$?
[[ $code == 130 ]] || fail "exit code $code after SIGINT"
grep -q -- "Continue with: locant train --resume $work/stopped" "$work/stderr" || fail "no word on how to resume"
[[ -s $work/stopped/state.safetensors ]] || fail "no state after SIGINT"
ls "$work/stopped" | grep -qv -e '^model.safetensors$' -e '^state.safetensors$' -e '^train.log.jsonl$' && fail "stray files: $(ls "$work/stopped")"
"$locant" train --resume "$work/stopped" >"$work/stdout" 2>"$work/stderr" &
pid=$!
before=$(wc -l <"$work/stopped/train.log.jsonl")
for _ in $(seq 300); do
  [[ $(wc -l <"$work/stopped/train.log.jsonl") -gt $((before + 2)) ]] && break
  sleep 0.1
done
kill -TERM $pid
wait $pid
[[ $? == 130 ]] || fail "exit code after SIGTERM"
grep -q "resumed after epoch" "$work/stderr" || fail "the run did not resume"

# The same run in two parts, cut by a limit on its time: the same bytes.
"$locant" "${options[@]}" --epochs 2 --out "$work/parts" >/dev/null 2>&1 &
pid=$!
for _ in $(seq 300); do
  [[ -s $work/parts/train.log.jsonl ]] && break
  sleep 0.02
done
kill -INT $pid 2>/dev/null
wait $pid
expect_code 0 "" "$locant" train --resume "$work/parts"
cmp -s "$work/straight/model.safetensors" "$work/parts/model.safetensors" || fail "a resumed run gave another model"

# Class folders, colour, another model family; the checkpoint knows its classes.
mkdir -p "$work/photos/round" "$work/photos/straight"
cp examples/digits/[068]_*.png "$work/photos/round"
cp examples/digits/[147]_*.png "$work/photos/straight"
vit='{"family":"vit","img_size":28,"patch_size":7,"dim":32,"depth":1,"heads":2}'
expect_code 0 "12 to train on" "$locant" train --data "$work/photos" --config "$vit" --epochs 30 --lr 5e-3 --batch 6 --out "$work/vit"
"$locant" classify examples/digits/1_a.png --weights "$work/vit/model.safetensors" --top 1 >"$work/stdout" 2>/dev/null
grep -q "straight" "$work/stdout" || fail "the model trained on folders says $(cat "$work/stdout")"
expect_code 0 "the head starts at random, 10 classes instead of 2" "$locant" train --data tests/data/digits500 \
  --init "$work/vit/model.safetensors" --epochs 1 --out "$work/tuned"


# Which of several models in the file, and what of it is left out.
init=tests/data/hub/timm_training/model_best.pth.tar
tune=(train --data tests/data/digits500 --epochs 1 --warmup-epochs 0 --batch 250)
expect_code 0 'under "state_dict."' "$locant" "${tune[@]}" --init $init --key state_dict --out "$work/raw"
expect_code 0 'under "state_dict_ema."' "$locant" "${tune[@]}" --init $init --out "$work/averaged"
cmp -s "$work/raw/model.safetensors" "$work/averaged/model.safetensors" && fail "--key changes nothing"
expect_code 0 "" "$locant" train --resume "$work/raw"
init=tests/data/hub/refused_q_norm/model.safetensors
expect_code 2 "q_norm" "$locant" "${tune[@]}" --init $init --out "$work/x"
expect_code 0 "tensors start from" "$locant" "${tune[@]}" --init $init --ignore '*.q_norm.*' --ignore '*.k_norm.*' --out "$work/ignored"
expect_code 0 "the file has no head; a new one with 10 classes starts at random" "$locant" "${tune[@]}" \
  --init tests/data/hub/vit_headless_pooler/model --out "$work/headless"

# Heads that no file says.
wide='{"family":"vit","img_size":28,"patch_size":14,"dim":72,"depth":1,"heads":3}'
expect_code 0 "" "$locant" "${tune[@]}" --config "$wide" --out "$work/wide"
expect_code 0 "" "$locant" convert "$work/wide/model.safetensors" -o "$work/wide.safetensors" --to torchvision
expect_code 2 "heads must be told" "$locant" "${tune[@]}" --init "$work/wide.safetensors" --out "$work/x"
expect_code 0 "tensors start from" "$locant" "${tune[@]}" --init "$work/wide.safetensors" --config '{"heads": 3}' --out "$work/told"
expect_code 2 "nothing is downloaded" "$locant" "${tune[@]}" --init me/my-vit --out "$work/x"

# More epochs, of the finished run above.
expect_code 0 "3 epochs instead of 2" "$locant" train --resume "$work/straight" --epochs 3
[[ $(grep -c '"kind":"epoch"' "$work/straight/train.log.jsonl") == 3 ]] || fail "the third epoch is not in the log"
expect_code 2 "too few" "$locant" train --resume "$work/straight" --epochs 2

# Pictures that cannot be used are left out and counted; a FIFO is not waited for.
: >"$work/photos/round/empty.jpg"
echo "no picture" >"$work/photos/straight/broken.png"
mkfifo "$work/photos/straight/pipe.png"
mkdir "$work/photos/__MACOSX" "$work/photos/.ipynb_checkpoints"
echo "a resource fork" >"$work/photos/round/._0_a.png"
some=(train --data "$work/photos" --config "$vit" --epochs 1 --batch 6)
expect_code 1 "3 pictures were left out" timeout 60 "$locant" --quiet "${some[@]}" --out "$work/some"
for name in round/empty.jpg straight/broken.png straight/pipe.png; do
  [[ $(grep -c "left out: $work/photos/$name: " "$work/stderr") == 1 ]] || fail "$name is not named once"
done
[[ $(grep -c '"kind":"skip"' "$work/some/train.log.jsonl") == 3 ]] || fail "the log does not name the pictures"
expect_code 1 "3 pictures were left out" "$locant" train --resume "$work/some"
expect_code 2 "pipe.png: no regular file" "$locant" "${some[@]}" --strict --out "$work/x"

expect_code 2 "Try a lower --lr" "$locant" "${options[@]}" --epochs 9 --lr 1000 --clip 0 --weight-decay 1000 --out "$work/x"

# Fine-tuning: recipes print what they set, the probe keeps features, and a run says what it was.
init=(--init examples/digits/digits.safetensors --data tests/data/digits500)
expect_code 0 "recipe probe: probe true, probe_c 0.5 (given)" "$locant" train --recipe probe "${init[@]}" --probe-c 0.5 --out "$work/probe"
grep -q "steps of the head" "$work/stdout" || fail "no word on the probe"
for name in report.json split.csv features.safetensors val/confusion.csv val/confusion.png val/per_class.csv val/predictions.csv; do
  [[ -s $work/probe/$name ]] || fail "the probe left no $name"
done
expect_code 0 "are there already" "$locant" train --recipe probe "${init[@]}" --force --out "$work/probe"
expect_code 0 "100 pictures of 10 classes" "$locant" evaluate tests/data/digits500 --weights "$work/probe/model.safetensors"
expect_code 0 "layer_decay 0.5 (given)" "$locant" train --recipe finetune --epochs 1 --layer-decay 0.5 --freeze 2 --opt sgd \
  --scale 0.5 1 --aa rand-m5-n1 --mixup 0.2 --class-weights balanced --patience 3 --grad-accum-steps 2 --grad-checkpointing \
  "${init[@]}" --out "$work/adapted"
grep -q "parameters stand still" "$work/stderr" || fail "no word on what is frozen"
[[ -s $work/adapted/best.safetensors && -s $work/adapted/curves.png ]] || fail "no best model, or no curves"
expect_code 2 "no recipe is called" "$locant" train --recipe quick "${init[@]}" --out "$work/x"
expect_code 2 "no parameter of the model has such a name" "$locant" train --freeze 'neck.*' "${init[@]}" --out "$work/x"

expect_code 2 "holds a run already" "$locant" "${options[@]}" --epochs 2 --out "$work/straight"
expect_code 2 "keeps its --lr" "$locant" train --resume "$work/straight" --lr 1
expect_code 2 "no run to resume" "$locant" train --resume "$work"
expect_code 2 "no output folder" "$locant" train --data tests/data/digits500 --model swin_digits
expect_code 2 "no model given" "$locant" train --data tests/data/digits500 --out "$work/x"
expect_code 2 "is not a folder" "$locant" train --data "$work/nowhere" --model swin_digits --out "$work/x"
mkdir "$work/nothing"
expect_code 2 "neither class folders nor IDX" "$locant" train --data "$work/nothing" --model swin_digits --out "$work/x"
expect_code 2 "not a JSON object" "$locant" train --data tests/data/digits500 --config '{broken' --out "$work/x"
[[ ! -e $work/x ]] || fail "a failed start left a folder"
"$locant" train --help | grep -q -- "--resume" || fail "--help does not name --resume"
[[ $failures == 0 ]]
