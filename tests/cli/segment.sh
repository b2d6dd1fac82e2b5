# locant segment, embed and train --task segment, with a MobileSAM of made-up numbers on small squares.
source tests/cli/support.bash
python3 tests/cli/mobile_sam.py tests/data/oracle/official/mobilesam/names_mobile_sam_vit_t.json "$work/sam.safetensors" ||
  { last=python3; die "no checkpoint to test with"; }
photo=tests/data/photos/chelsea.png
sam=(--weights "$work/sam.safetensors" --image-size 128 --cache "$work/cache")

run 0 inspect "$work/sam.safetensors"
out_has '^model: mobile_sam, of the family sam \(.* names\)$'
out_has '^pictures: 1024 pixels at the long side, padded to a square$'
out_has '^preprocessing: \{"longest_edge":1024,"mean":\[0.485,'
out_has '^segment and embed: mobile_sam \(.* names\), squares of 1024 pixels$'

# The embedding is made once, and the second answer is the same.
run 0 segment $photo "${sam[@]}" --point 150,120 -o "$work/a.png" --coco "$work/a.json"
out_has "^prompt 1: mask of [0-9]+ pixels in .*, predicted IoU -?[0-9.]+ -> $work/a.png$"
err_has 'encoded by mobile_sam'
[ "$(ls "$work/cache"/*.safetensors | wc -l)" -eq 1 ] || die "no embedding was kept"
run 0 segment $photo "${sam[@]}" --point 150,120 -o "$work/b.png" --coco "$work/b.json"
! grep -q 'encoded by' "$work/err" || die "encoded again"
cmp "$work/a.png" "$work/b.png" && cmp "$work/a.json" "$work/b.json" || die "a cached answer differs"
[ "$(od -An -tu1 -j16 -N8 "$work/a.png" | xargs)" = "0 0 1 195 0 0 1 44" ] || die "a.png is not 451 x 300"
run 0 segment $photo "${sam[@]}" --no-cache --point 150,120 -o "$work/b.png"
cmp "$work/a.png" "$work/b.png" || die "an answer without cache differs"

# Several prompts and masks, an earlier answer refined, everything.
run 0 segment $photo "${sam[@]}" --box 10,20,200,280 --box 200,30,400,290 --multimask -o "$work/m.png" --overlay "$work/o.png"
out_lines 6
for n in 1 2 3 4 5 6; do [ -s "$work/m_$n.png" ] || die "no m_$n.png"; done
run 0 segment $photo "${sam[@]}" --point 150,120 --negative-point 20,20 --multimask --logits "$work/l.safetensors"
run 0 inspect "$work/l.safetensors"
out_has '^low_res_logits +F32 +\(1, 3, 32, 32\)'
out_has '^logits +F32 +\(1, 3, 300, 451\)'
run 0 segment $photo "${sam[@]}" --point 150,120 --mask "$work/l.safetensors" --json
json_lines
echo '[{"points": [[150, 120], [20, 20]], "labels": [1, 0]}, {"box": [10, 20, 200, 280]}]' >"$work/p.json"
run 0 segment $photo "${sam[@]}" --prompts "$work/p.json" --json
out_has '"prompt":1'
run 0 segment $photo "${sam[@]}" --everything --points-per-side 3 --pred-iou-thresh 0 --stability-score-thresh 0 \
  --coco "$work/all.json" --overlay "$work/all.png" -o "$work/labels.png"
out_has "^$photo: [0-9]+ masks$"
for key in stability_score crop_box point_coords predicted_iou; do grep -q "\"$key\"" "$work/all.json" || die "no $key"; done

# Embeddings ahead: what is there is left, what is foreign is made anew.
cp tests/data/photos/*.png "$work" && mkdir "$work/photos" && cp tests/data/photos/*.png "$work/photos"
run 0 embed "$work/photos" "${sam[@]}"
out_has '^2 embedded, 1 there already, 0 not read$'
run 0 embed "$work/photos" "${sam[@]}" --json
json_lines
out_lines 3
run 0 segment $photo --weights "$work/sam.safetensors" --image-size 64 --cache "$work/cache" --point 150,120 -o "$work/c.png"
err_has 'cached embedding not used: '
echo broken >"$work/photos/broken.png"
run 1 embed "$work/photos" "${sam[@]}"
err_has 'broken.png'
err_has '1 of 4 pictures failed'
run 1 embed "$work/photos" "${sam[@]}" --json
json_lines
out_has '^\{"picture":".*broken.png","error":"\[image\] '
mistake 'broken.png' embed "$work/photos/broken.png" "${sam[@]}"
mistake 'broken.png' embed "$work/photos" "${sam[@]}" --strict

# A picture through a pipe. No output onto what is read, "-" is standard output.
run 0 segment <(cat $photo) "${sam[@]}" --no-cache --point 150,120 -o "$work/b.png"
cmp "$work/a.png" "$work/b.png" || die "a picture through a pipe gets another answer"
run 0 segment $photo "${sam[@]}" --point 150,120 -o -
cmp "$work/out" "$work/a.png" || die "-o - is not the picture"
err_has '-> standard output$'
run 0 segment $photo "${sam[@]}" --point 150,120 --coco -
cmp "$work/out" "$work/a.json" || die "--coco - is not the file"
cp $photo "$work/own_1.png" && ln "$work/own_1.png" "$work/hard.png" && ln -s l.safetensors "$work/soft.safetensors"
cp "$work/own_1.png" "$work/before.png"
mistake 'would replace' segment "$work/own_1.png" "${sam[@]}" --point 5,5 -o "$work/hard.png"
mistake 'would replace' segment "$work/own_1.png" "${sam[@]}" --point 5,5 --multimask -o "$work/own.png"
mistake 'would replace' segment $photo "${sam[@]}" --mask "$work/l.safetensors" --logits "$work/soft.safetensors"
mistake 'would replace' segment $photo "${sam[@]}" --prompts "$work/p.json" --coco "$work/p.json"
mistake 'would replace' segment $photo "${sam[@]}" --point 5,5 --overlay "$work/sam.safetensors"
mistake 'same file' segment $photo "${sam[@]}" --point 5,5 -o "$work/x.png" --overlay "$work/./x.png"
mistake 'both be written to standard output' segment $photo "${sam[@]}" --point 5,5 -o - --json
mistake 'one after the other' segment $photo "${sam[@]}" --point 5,5 --multimask -o -
cmp "$work/own_1.png" "$work/before.png" || die "the picture is another"

mistake 'is empty' segment $photo "${sam[@]}" --box 50,50,50,80 -o "$work/x.png"
mistake '"5;5" is no point' segment $photo "${sam[@]}" --point '5;5' -o "$work/x.png"
mistake 'nothing is asked' segment $photo "${sam[@]}" -o "$work/x.png"
mistake 'nowhere to write' segment $photo "${sam[@]}" --point 5,5
mistake 'no tensor has a name of Segment Anything' segment $photo --weights examples/digits/digits.safetensors --no-cache --point 5,5 -o "$work/x.png"
mistake '--points-per-side requires --everything' segment $photo "${sam[@]}" --point 5,5 --points-per-side 8 -o "$work/x.png"
mistake '--(everything|multimask) excludes --(everything|multimask)' segment $photo "${sam[@]}" --everything --multimask -o "$work/x.png"
mistake 'goes with no point' segment $photo "${sam[@]}" --everything --point 5,5 -o "$work/x.png"
run 0 segment $photo "${sam[@]}" --point 150,120 --logits "$work/128.safetensors"
mistake 'a mask prompt of shape \(32, 32\); the low-resolution logits of an earlier answer, \(16, 16\)' \
  segment $photo --weights "$work/sam.safetensors" --no-cache --image-size 64 --mask "$work/128.safetensors" -o "$work/x.png"
mistake 'does not fit sam_vit_b' segment $photo "${sam[@]}" --model sam_vit_b --no-cache --point 5,5 -o "$work/x.png"
[ ! -e "$work/x.png" ] || die "a mistake left x.png"

# A picture of one pixel, and one as wide as they come.
printf 'P6\n1 1\n255\nabc' >"$work/one.ppm"
run 0 segment "$work/one.ppm" "${sam[@]}" --point 0,0 -o "$work/one.png"
{ printf 'P6\n20000 160\n255\n'; head -c 9600000 /dev/zero | tr '\0' 'z'; } >"$work/wide.ppm"
run 0 segment "$work/wide.ppm" "${sam[@]}" --point 19999,159 -o "$work/wide.png"
[ "$(od -An -tu1 -j16 -N8 "$work/wide.png" | xargs)" = "0 0 78 32 0 0 0 160" ] || die "wide.png is not 20000 x 160"
{ printf 'P6\n20000 20000\n255\n'; head -c 1000 /dev/zero; } >"$work/huge.ppm"
mistake '20000 x 20000 pixels are more than the limit' segment "$work/huge.ppm" "${sam[@]}" --point 5,5 -o "$work/x.png"

# Fine-tuning: one picture, one disc.
mkdir -p "$work/data/images" "$work/data/masks"
cp "$work/a.png" "$work/data/masks/cat.png" && cp $photo "$work/data/images/cat.png"
run 0 train --task segment --data "$work/data" --init "$work/sam.safetensors" --out "$work/run" --epochs 1 --val-split 0 --image-size 128
out_has "^$work/run/sam.safetensors: 1 steps"
run 0 segment $photo --weights "$work/run/sam.safetensors" --image-size 128 --no-cache --point 150,120 -o "$work/d.png"
mistake 'does not go with --task segment' train --task segment --data "$work/data" --init "$work/sam.safetensors" --out "$work/run" --ema 0.9
mistake 'is there already' train --task segment --data "$work/data" --init "$work/sam.safetensors" --out "$work/run"
