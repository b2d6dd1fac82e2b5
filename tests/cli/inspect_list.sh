# locant inspect, locant list.
source tests/cli/support.bash
weights=examples/digits/digits.safetensors

run 0 inspect $weights
out_has "^$weights: safetensors, [0-9]+ tensors, [0-9,]+ numbers, [0-9.]+ [kM]B$"
out_has '^model: swin_digits, of the family swin \(locant names\)$'
out_has '^pictures: 28 x 28 pixels, 1 channel$'
out_has '^classes: 10, named by metadata$'
out_has '^configuration: \{.*"depths":'
out_has '^preprocessing: \{.*"rows":28'
out_lacks '^(would not load|nearest|assumed)'
out_has '^[a-z0-9_.]+weight +F32 +\([0-9, ]+\) +[0-9.]+ k?B$'
run 0 inspect $weights --json
json_lines
out_lines 1
out_has '"format":"safetensors".*"guesses":\[\{"model":.*"tensors":\[\{"name":"[a-z0-9_.]+","dtype":"F32","shape":\['
out_has '"model":"swin_digits","family":"swin","naming":"locant","key":"","config":\{.*"preprocessing":\{.*"classes":\{"count":10,"named_by":"metadata","names":\["0",.*"assumed":\[\],"notes":\[\],"refused":null,"segment":null'
mistake 'nowhere' inspect nowhere.safetensors
mistake 'LICENSE|README|CMakeLists' inspect CMakeLists.txt

# What loading makes of a folder, and of the file without what stands beside it.
hub=tests/data/hub
run 0 inspect $hub/vit_5_labels/model
out_has '^model: vit \(transformers names, under vit\.\)$'
out_has '^pictures: 16 x 16 pixels, 3 channels$'
out_has '^classes: 5, named by id2label$'
out_has '^configuration: \{.*"heads":3'
out_lacks '^assumed: .*heads'
run 0 inspect $hub/vit_5_labels/model --no-folder-config
out_has '^classes: 5, without names$'
out_has '^assumed: .*heads'
run 0 inspect $hub/vit_5_labels/model --no-folder-config --config '{"heads": 6}' --preprocess '{"mean": [0.1, 0.2, 0.3]}'
out_has '^configuration: \{.*"heads":6'
out_has '^preprocessing: \{.*"mean":\[0.1,0.2,0.3\]'
out_lacks '^assumed: .*(heads|preprocessing)'
run 0 inspect $hub/vit_headless_pooler/model
out_has '^classes: none, no head$'
run 0 inspect $hub/timm_vit/model
out_has '^classes: 5, named by label_names$'
run 0 inspect $hub/timm_training/model_best.pth.tar --key state_dict --json
out_has '"key":"state_dict\.".*"refused":null'

# What would not load is read all the same: the sentence, what is nearest, the tensors.
run 0 inspect $hub/refused_q_norm/model.safetensors
out_has '^would not load: .*q_norm'
out_has '^nearest: .* unexpected$'
out_has '^blocks.0.attn.q_norm.weight +F32'
run 0 inspect $hub/refused_q_norm/model.safetensors --json
out_has '"model":null.*"refused":"\[load\] .*q_norm'
run 0 inspect $hub/refused_q_norm/model.safetensors --ignore '*.q_norm.*' --ignore '*.k_norm.*'
out_has '^model: vit'
run 0 inspect $hub/vit_sharded/model/model-00001-of-00003.safetensors
out_has '^would not load: .*is one of 3 shards of a model; give the folder, or the index'
run 0 inspect $weights --model no_such_model --config '{"depths": 5}'
out_has '^(would not load|note): '
mistake '--config: cannot read nowhere.json' inspect $weights --config nowhere.json
mistake '--preprocess: .*is not a JSON object' inspect $weights --preprocess '{"mean"'
run 0 inspect --help
out_has 'exit code 0 for every file that can be read'

# Segment Anything goes through another loader.
run 0 inspect $hub/sam_fine_tuned/finetuned.pth
out_has '^segment and embed: sam \(segment-anything names, under .*sam\.\), squares of 64 pixels$'
run 0 inspect $hub/sam_with_processor/model --json
out_has '"segment":\{"model":"sam","family":"sam","naming":"transformers",.*"longest_edge":64'

# No number is read: 40 GB take no time.
python3 - "$work/huge.safetensors" <<'END' || { last=python3; die "no file to test with"; }
import json, os, struct, sys
C, header, at = 8192, {}, 0
def add(name, *shape):
    global at
    size = 4
    for side in shape: size *= side
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
    at += size
add("cls_token", 1, 1, C); add("pos_embed", 1, 197, C); add("patch_embed.proj.weight", C, 3, 16, 16); add("patch_embed.proj.bias", C)
for b in range(12):
    for name, *shape in (("norm1.weight", C), ("norm1.bias", C), ("attn.qkv.weight", 3 * C, C), ("attn.qkv.bias", 3 * C),
                         ("attn.proj.weight", C, C), ("attn.proj.bias", C), ("norm2.weight", C), ("norm2.bias", C),
                         ("mlp.fc1.weight", 4 * C, C), ("mlp.fc1.bias", 4 * C), ("mlp.fc2.weight", C, 4 * C), ("mlp.fc2.bias", C)):
        add(f"blocks.{b}.{name}", *shape)
add("norm.weight", C); add("norm.bias", C); add("head.weight", 10, C); add("head.bias", 10)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(sys.argv[1], "wb") as out:
    out.write(struct.pack("<Q", len(text)) + text)
    out.truncate(8 + len(text) + at)
END
before=$(ulimit -S -t)
ulimit -S -t 5  # seconds of processor time; to read it takes more
run 0 inspect "$work/huge.safetensors"
ulimit -S -t "$before"
out_has 'huge.safetensors: safetensors, 152 tensors, .* 39 GB$'
out_has '^model: .*timm names'

head -c 5000 $weights >"$work/short.safetensors"
mistake 'short.safetensors' inspect "$work/short.safetensors"

# A tensor's name cannot steer the terminal. 76 bytes of header, one number.
printf '\x4c\0\0\0\0\0\0\0{"a\\u001b[2Jb":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}            \0\0\0\0' >"$work/steer.safetensors"
run 0 inspect "$work/steer.safetensors"
out_has '^a\\x1b\[2Jb +F32 +\(1\)'

run 0 list
out_has '^models$'
out_has '^encodings$'
out_has '^ops$'
out_has '^  swin_tiny_patch4_window7_224 +28.29 M  224x224'
out_has '^  vit_base_patch16_224 +86.57 M'
run 0 list 'swin*'
out_has '^  swin_tiny_patch4_window7_224 '
out_has '^  swin_bias '
out_lacks 'vit_base'
out_lacks '^ops$'
run 0 list models
out_lacks '^encodings$'
run 0 list segment
out_has '^  sam_vit_b +93.74 M'
run 0 list encodings
out_has '^  sincos '
out_lacks '^models$'
run 0 list ops --json
json_lines
out_has '^\{"kind":"op","name":"attention",'
run 0 list --json
json_lines
out_has '^\{"kind":"model","name":"swin_tiny_patch4_window7_224".*"family":"swin","parameters":28288354,'
mistake 'nothing is called' list 'no_such_*'
