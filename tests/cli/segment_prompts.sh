# What locant segment is asked (files of prompts, places outside the picture, masks) and the data set it writes.
source tests/cli/support.bash
python3 tests/cli/mobile_sam.py tests/data/oracle/official/mobilesam/names_mobile_sam_vit_t.json "$work/sam.safetensors" ||
  { last=python3; die "no checkpoint to test with"; }
photo=tests/data/photos/chelsea.png
sam=(--weights "$work/sam.safetensors" --image-size 64 --cache "$work/cache")

# The words of the official SamPredictor are ours: the same masks.
echo '[{"points": [[150, 120], [20, 20]], "labels": [1, 0]}, {"box": [10, 20, 200, 280]}, {"box": [200, 30, 400, 290]}]' >"$work/ours.json"
echo '[{"point_coords": [[150, 120], [20, 20]], "point_labels": [1, 0]}, {"boxes": [[10, 20, 200, 280], [200, 30, 400, 290]]}]' >"$work/theirs.json"
run 0 segment $photo "${sam[@]}" --prompts "$work/ours.json" --json
mv "$work/out" "$work/ours"
run 0 segment $photo "${sam[@]}" --prompts "$work/theirs.json" --json
cmp "$work/ours" "$work/out" || die "the official words give other masks"
grep -o '"prompt":[0-9]' "$work/ours" | tr '\n' ' ' | grep -q '^"prompt":0 "prompt":1 "prompt":2 $' || die "not three prompts"
# One prompt alone, a box as the one row of a list, and ids.
echo '{"box": [[10, 20, 200, 280]], "point_coords": [[150, 120], [0, 0]], "point_labels": [1, -1], "id": "cat"}' >"$work/p.json"
run 0 segment $photo "${sam[@]}" --prompts "$work/p.json" --json
out_has '"prompt":0,"id":"cat","segmentation"'
echo '[{"box": [10, 20, 200, 280], "id": 7}]' >"$work/p.json"
run 0 segment $photo "${sam[@]}" --prompts "$work/p.json" -o "$work/a.png" --coco "$work/a.json"
out_has '^prompt 1 \(id 7\): mask of '
grep -q '"prompt_id":7' "$work/a.json" || die "no prompt_id"
run 0 segment $photo "${sam[@]}" --prompts <(cat "$work/p.json") -o "$work/a.png"

# Mistakes name the file and the prompt, in any position, before anything is encoded.
wrong() {  # PATTERN JSON
  echo "$2" >"$work/p.json"
  mistake "p.json: $1" segment $photo "${sam[@]}" --prompts "$work/p.json" -o "$work/x.png"
}
good='{"box": [10, 20, 200, 280]}'
for empty in '{}' '{"points": []}' '{"id": 3}' '{"points": [], "labels": []}' '{"boxes": []}' '{"points": [[1, 2]], "labels": [-1]}'; do
  wrong 'prompt 2 of 3( \(id 3\))?: nothing is asked' "[$good, $empty, $good]"
done
wrong 'prompt 1 of 2: nothing is asked' "[{}, $good]"
wrong 'prompt 2 of 2: nothing is asked' "[$good, {}]"
for bad in NaN Infinity -Infinity 1e999; do
  wrong "prompt 2 of 2 \\(id \"cat\"\\): \"$bad\" in \\[5,\"$bad\"\\] is no number" "[$good, {\"points\": [[5, $bad]], \"id\": \"cat\"}]"
done
wrong 'prompt 1 of 1: "NaN" in \[1,2,3,"NaN"\] is no number' '[{"box": [1, 2, 3, NaN]}]'
wrong 'prompt 1 of 1: the point 1e\+30,5 is no place' '[{"points": [[1e30, 5]]}]'
wrong 'prompt 2 of 2, box 2 of 2: the box 5,5,5,9 is empty' "[$good, {\"boxes\": [[1, 1, 5, 5], [5, 5, 5, 9]]}]"
wrong 'prompt 1 of 1: no prompt has "mask_input"; there are points \(point_coords\)' '[{"mask_input": 1}]'
wrong 'prompt 1 of 1: points are given twice' '[{"points": [[1, 2]], "point_coords": [[1, 2]]}]'
wrong 'prompt 1 of 1: boxes are prompts of their own' '[{"boxes": [[1, 1, 5, 5]], "points": [[1, 2]]}]'
wrong 'prompt 1 of 1: a label of 4' '[{"points": [[1, 2]], "labels": [4]}]'
wrong 'prompt 1 of 1: 1 labels for 2 points' '[{"points": [[1, 2], [3, 4]], "labels": [1]}]'
wrong 'prompt 1 of 1: an id of \[\]' '[{"id": [], "box": [1, 1, 5, 5]}]'
wrong 'a JSON list of prompts was expected' '[]'
wrong 'no JSON: .*line 1' '[{"points": [[1, 2]}]'
mistake "$work is a folder; --prompts takes a JSON file" segment $photo "${sam[@]}" --prompts "$work" -o "$work/x.png"
mistake 'cannot read the prompts .*No such file' segment $photo "${sam[@]}" --prompts "$work/nowhere.json" -o "$work/x.png"
[ ! -e "$work/x.png" ] || die "a mistake left x.png"

# Places outside the picture are taken as they are, and said.
run 0 segment $photo "${sam[@]}" --point 460,120 -o "$work/a.png"
err_has '^locant: warning: the point 460,120 lies outside the picture of 451 x 300 pixels; it is taken as it is$'
run 0 segment $photo "${sam[@]}" --box -3,-2,453,300.5 -o "$work/b.png"
err_has '^locant: warning: the box -3,-2,453,300.5 lies outside'
run 0 segment $photo "${sam[@]}" --box 0,0,451,300 -o "$work/b.png"
err_lacks 'warning'
echo "[$good, {\"points\": [[-1, 5]]}, {\"points\": [[5, -1]]}]" >"$work/p.json"
run 0 segment $photo "${sam[@]}" --prompts "$work/p.json" -o "$work/a.png"
err_has 'p.json: prompt 2 of 3: the point -1,5 lies outside .* \(as in 1 more prompts\); it is taken'

# A mask knows which picture it was made from.
run 0 segment $photo "${sam[@]}" --point 150,120 --logits "$work/l.safetensors"
run 0 segment $photo "${sam[@]}" --mask "$work/l.safetensors" -o "$work/a.png"
err_lacks 'warning'
cp $photo "$work/moved.png" && printf 'tail' >>"$work/moved.png"  # another file of the same pixels
run 0 segment "$work/moved.png" "${sam[@]}" --mask "$work/l.safetensors" -o "$work/a.png"
err_lacks 'warning'
{ printf 'P6\n451 300\n255\n'; head -c 405900 /dev/zero; } >"$work/black.ppm"
run 0 segment "$work/black.ppm" "${sam[@]}" --mask "$work/l.safetensors" -o "$work/a.png"
err_has "^locant: warning: --mask $work/l.safetensors was made from another picture \\($photo\\); it is used as it is$"
{ printf 'P6\n300 451\n255\n'; head -c 405900 /dev/zero; } >"$work/tall.ppm"
run 0 segment "$work/tall.ppm" "${sam[@]}" --mask "$work/l.safetensors" -o "$work/a.png"
err_has 'made from another picture \(.*\), of 451 x 300 pixels; this one has 300 x 451'
sed 's/picture.pixels/picture_pixels/' "$work/l.safetensors" >"$work/old.safetensors"
run 0 segment $photo "${sam[@]}" --mask "$work/old.safetensors" -o "$work/a.png"
err_has 'old.safetensors does not say which picture it was made from'
python3 tests/cli/set_number.py "$work/l.safetensors" low_res_logits 17 nan
mistake 'l.safetensors: low_res_logits holds -?nan at \(0, 0, 1, 1\)' segment $photo "${sam[@]}" --mask "$work/l.safetensors" -o "$work/x.png"

# --coco is a data set, --json the official generator's records.
run 0 segment $photo "${sam[@]}" --everything --points-per-side 3 --pred-iou-thresh 0 --stability-score-thresh 0 \
  --coco "$work/all.json" --json
python3 tests/cli/check_coco.py "$work/all.json" "$work/out" 451 300 chelsea.png || die "all.json is no data set"
