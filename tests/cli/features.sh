# locant features on the digits model (no class token: two panels), and locant demo.
source tests/cli/support.bash
weights=examples/digits/digits.safetensors
digits=examples/digits

run 0 features $digits/3_a.png --weights $weights -o "$work/f.safetensors" --picture "$work/f.png" --img-size 56
out_has "^$digits/3_a.png: [0-9]+ x [0-9]+ patches of [0-9]+ features from 56 x 56 pixels, preprocess .*, inference "
out_has "^wrote $work/f.safetensors: 4 tensors$"  # cls, patches, and the two stages
err_has 'no attention panel'
run 0 inspect "$work/f.safetensors"
out_has '^cls +F32 +\([0-9]+\)'
out_has '^patches +F32 +\([0-9]+, [0-9]+, [0-9]+\)'
out_has '^metadata grid: \{"3_a":\[[0-9]+,[0-9]+\]\}'
out_has '^metadata model: swin_digits$'
out_has '^metadata sizes: \{"3_a":\{"picture":\[[0-9]+,[0-9]+\],"input":\[56,56\]\}\}$'
out_has '^metadata preprocessing: \{.*"mode":"squash"'
# The picture holds two panels of 56 pixels and a gap of 8, and the same call writes the same bytes.
[ "$(od -An -tu1 -j16 -N8 "$work/f.png" | xargs)" = "0 0 0 120 0 0 0 56" ] || die "f.png is not 120 x 56"
run 0 features $digits/3_a.png --weights $weights -o "$work/g.safetensors" --picture "$work/g.png" --img-size 56
cmp "$work/f.safetensors" "$work/g.safetensors" && cmp "$work/f.png" "$work/g.png" || die "two runs differ"

run 0 features $digits/3_a.png $digits/4_a.png $digits/3_a.png --weights $weights -o "$work/f.safetensors"
run 0 inspect "$work/f.safetensors"
for name in 3_a.cls 3_a.patches 4_a.cls 3_a_2.patches; do out_has "^$name +F32"; done

# As the model's library evaluates it: of a wide picture the middle.
run 0 features tests/data/photos/chelsea.png --weights tests/data/hub/vit_5_labels/model -o "$work/f.safetensors" --picture "$work/f.png" --crop
out_has ': 4 x 4 patches of 18 features from 16 x 16 pixels,'
run 0 inspect "$work/f.safetensors"
out_has '^metadata sizes: \{"chelsea":\{"picture":\[300,451\],"input":\[16,16\]\}\}$'
run 0 inspect "$work/f.safetensors" --json
out_has '"preprocessing":"\{.*\\"rows\\":16'
run 0 features $digits/3_a.png --weights $weights -o "$work/f.safetensors" --picture "$work/f.png" --crop --img-size 56
out_has ' from 56 x 56 pixels,'

# Segment Anything: the long side at the model's size, the padding cut away again. The rows that are kept are those
# of the same picture with the padding drawn into it: 128 x 64 pixels.
sam=tests/data/hub/sam_with_processor/model
{ printf 'P6\n128 64\n255\n'; head -c 24576 LICENSE README.md HACKING.md docs/encodings.md | head -c 24576; } >"$work/wide.ppm"
run 0 features "$work/wide.ppm" --weights $sam -o "$work/f.safetensors" --picture "$work/f.png"
out_has ': 4 x 8 patches of 16 features from 64 x 32 pixels,'
run 0 inspect "$work/f.safetensors"
out_has '^metadata sizes: \{"wide":\{"picture":\[64,128\],"input":\[32,64\]\}\}$'
out_has '^metadata preprocessing: \{"longest_edge":64,'
# With a mean of zero the padding is black: the picture with that drawn below it has the same patches.
{ printf 'P6\n64 64\n255\n'; head -c 6144 docs/encodings.md; head -c 6144 /dev/zero; } >"$work/square.ppm"
{ printf 'P6\n64 32\n255\n'; head -c 6144 docs/encodings.md; } >"$work/half.ppm"
for name in square half; do
  run 0 features "$work/$name.ppm" --weights $sam --preprocess '{"mean": [0, 0, 0]}' -o "$work/$name.safetensors"
done
checks=$((checks + 1))
python3 - "$work/square.safetensors" "$work/half.safetensors" <<'END' || die "the padding changes the patches that are kept"
import json, struct, sys
def patches(path):
    data = open(path, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    at = json.loads(data[8:8 + size])["patches"]
    return at["shape"], data[8 + size:][slice(*at["data_offsets"])]
(whole, all), (shape, kept) = map(patches, sys.argv[1:])
assert whole == [8, 8, 16] and shape == [4, 8, 16] and all[:len(kept)] == kept
END
run 2 features "$work/wide.ppm" --weights $sam -o "$work/f.safetensors" --crop
err_has 'nothing is cropped'

# A vision transformer has a class token: its attention is written and drawn, three panels.
"$locant" train -q --data tests/data/digits500 --epochs 1 --warmup-epochs 0 --out "$work/vit" --config \
  '{"family":"vit","img_size":[28,28],"patch_size":[7,7],"in_chans":1,"dim":16,"depth":1,"heads":2}' >"$work/out" 2>"$work/err" ||
  { last=train; die "no small transformer to test with"; }
run 0 features $digits/3_a.png --weights "$work/vit/model.safetensors" -o "$work/f.safetensors" --picture "$work/f.png" --img-size 60
out_has '^examples/digits/3_a.png: 9 x 9 patches of 16 features from 63 x 63 pixels,'
out_has 'photo, principal components, attention$'
run 0 inspect "$work/f.safetensors"
out_has '^attention +F32 +\(2, 9, 9\)'
[ "$(od -An -tu1 -j16 -N8 "$work/f.png" | xargs)" = "0 0 0 205 0 0 0 63" ] || die "f.png is not 205 x 63"

# No output onto an input or onto another output, and "-" is standard output.
cp $digits/3_a.png "$work/p.png" && ln "$work/p.png" "$work/hard.png" && ln -s p.png "$work/soft.png"
cp "$work/p.png" "$work/before.png" && cp $weights "$work/w.safetensors"
for name in p.png hard.png soft.png ./p.png; do
  mistake 'would replace .*p.png, which is read' features "$work/p.png" --weights $weights --picture "$work/$name"
done
mistake 'would replace' features "$work/p.png" --weights "$work/w.safetensors" -o "$work/w.safetensors"
mistake 'same file' features "$work/p.png" --weights $weights -o "$work/new" --picture "$work/./new"
mistake 'both be written to standard output' features "$work/p.png" --weights $weights -o - --picture -
mistake 'not a regular file' features "$work/p.png" --weights $weights -o /dev/null
cmp "$work/p.png" "$work/before.png" || die "the picture is another"
cmp "$work/w.safetensors" $weights || die "the weights are others"
run 0 features $digits/3_a.png --weights $weights --img-size 56 -o -
cmp "$work/out" "$work/g.safetensors" || die "-o - is not the file"
err_has 'wrote standard output: 4 tensors'
run 0 features $digits/3_a.png --weights $weights --img-size 56 --picture -
cmp "$work/out" "$work/g.png" || die "--picture - is not the file"

mistake 'x.npy: features are written as safetensors' features $digits/3_a.png --weights $weights -o "$work/x.npy"
mistake 'nowhere to write' features $digits/3_a.png --weights $weights
mistake '--weights' features $digits/3_a.png -o x.safetensors
mistake 'no file or folder' features nowhere.png --weights $weights -o x.safetensors
mistake 'img-size' features $digits/3_a.png --weights $weights -o x.safetensors --img-size 0
mistake 'nowhere' features $digits/3_a.png --weights $weights --picture "$work/nowhere/x.png"

run 0 demo --photos $digits -o "$work/seen" --weights $weights --img-size 28
out_has '^picture +answer +probability +preprocess +inference$'
out_has '^7_b.png +7 +[0-9.]+ % '
out_has '^(1[89]|20) of 20 right, median inference '
out_has "28 x 28 .* $work/seen/7_b.png$"
[ "$(find "$work/seen" -name '*.png' | wc -l)" -eq 20 ] || die "not twenty pictures"
mkdir "$work/own" && cp $digits/3_a.png "$work/own" && cp "$work/own/3_a.png" "$work/before.png"
mistake 'would replace' demo --photos "$work/own" -o "$work/own" --weights $weights
cmp "$work/own/3_a.png" "$work/before.png" || die "demo replaced a photograph"
cp $digits/4_a.png "$work/own/3_a.jpg" && echo broken >"$work/own/5.png"  # two of one name, and a bad one
run 1 demo --photos "$work/own" -o "$work/seen2" --weights $weights --img-size 28
err_has '1 of 3 pictures failed'
[ -s "$work/seen2/3_a.png" ] && [ -s "$work/seen2/3_a_2.png" ] || die "demo wrote one over the other"

# Of a pyramid every stage.
run 0 features $digits/3_a.png --weights tests/data/hub/swin_epsilon/model --crop -o "$work/f.safetensors"
run 0 inspect "$work/f.safetensors"
out_has '^stage_0 +F32 +\([0-9]+, [0-9]+, [0-9]+\)'
out_has '^stage_1 +F32'
out_has '^metadata strides: \[[0-9]+,[0-9]+'

# A clip: the pictures of a folder, by name.
mkdir "$work/clip" && cp $digits/3_a.png "$work/clip/1.png" && cp $digits/4_a.png "$work/clip/2.png"
video=tests/data/hub/video_swin_official/epoch_30.pth
run 0 features --clip "$work/clip" --weights $video -o "$work/f.safetensors"
out_has "^$work/clip: 2 frames, \([0-9, ]+\) patches, preprocess .*, inference "
run 0 inspect "$work/f.safetensors"
out_has '^cls +F32'
out_has '^stage_0 +F32'
cp $digits/3_a.png "$work/clip/2.png"
run 0 features --clip "$work/clip" --weights $video -o "$work/g.safetensors"
cmp -s "$work/f.safetensors" "$work/g.safetensors" && die "another second frame gives the same"
run 2 features $digits/3_a.png --weights $video -o "$work/f.safetensors"
err_has 'sees clips: give a folder of frames as --clip'
run 2 features --clip "$work/clip" --weights $weights -o "$work/f.safetensors"
err_has 'sees pictures, not clips; leave --clip out'
echo broken >"$work/clip/3.png"
run 2 features --clip "$work/clip" --weights $video -o "$work/f.safetensors"
err_has '3.png'

# A sequence: the model's inputs by name, in a safetensors file.
words=tests/data/hub/deberta_v3/model
header='{"input_ids":{"dtype":"I64","shape":[1,3],"data_offsets":[0,24]}}'
ids() { printf "\\x$(printf %x ${#header})\\0\\0\\0\\0\\0\\0\\0%s" "$header"; printf '\x5\0\0\0\0\0\0\0\x7\0\0\0\0\0\0\0\x1\0\0\0\0\0\0\0'; }
ids >"$work/ids.safetensors"
run 0 features "$work/ids.safetensors" --weights $words -o "$work/f.safetensors"
out_has "^$work/ids.safetensors: input_ids \(1, 3\) to last_hidden_state \(1, 3, 12\), inference "
run 0 inspect "$work/f.safetensors"
out_has '^last_hidden_state +F32 +\(1, 3, 12\)'
header=${header/input_ids/tokens___}
ids >"$work/lone.safetensors"
run 0 features "$work/lone.safetensors" --weights $words -o "$work/g.safetensors"
cmp "$work/f.safetensors" "$work/g.safetensors" || die "a lone tensor of another name is another input"
run 2 features "$work/ids.safetensors" --weights tests/data/hub/wav2vec2_conformer_none/model -o "$work/f.safetensors"
err_has 'input_ids|rank|\(B N C\)'
run 2 features $digits/3_a.png --weights $words -o "$work/f.safetensors"
err_has 'sees no pictures; give a .safetensors file that holds its input_ids'
