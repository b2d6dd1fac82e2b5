# locant convert: folders and files out again, refusals, and what is never overwritten.
source tests/cli/support.bash
hub=tests/data/hub
weights=examples/digits/digits.safetensors

run 0 convert $hub/vit_5_labels/model -o "$work/vit" --to transformers
out_lines 3
out_has '/vit/model.safetensors$'
out_has '/vit/config.json$'
out_has '/vit/preprocessor_config.json$'
checks=$((checks + 1))
grep -q '"ViTForImageClassification"' "$work/vit/config.json" || die 'config.json names no class'
run 0 inspect "$work/vit"
out_has 'vit.encoder.layer.0.attention.attention.query.weight'

# There already; and the input itself, with --force too.
mistake 'vit is not empty; --force' convert $hub/vit_5_labels/model -o "$work/vit" --to transformers
run 0 convert $hub/vit_5_labels/model -o "$work/vit" --to transformers --force
mistake 'is the input' convert "$work/vit" -o "$work/vit" --to transformers --force
mistake 'is the input' convert "$work/vit/model.safetensors" -o "$work/vit/model.safetensors" --to locant --force

# What the target cannot be told is refused by name, and nothing is left behind.
mistake 'norm_eps 1e-12' convert $hub/vit_5_labels/model -o "$work/refused" --to timm
checks=$((checks + 1))
[ -z "$(find "$work" -name 'refused*')" ] || die 'a refused conversion left files'

run 0 convert $hub/timm_vit/model -o "$work/timm" --to timm --json
json_lines
out_lines 1
out_has '"to":"timm","architecture":"vit_[a-z0-9_]+".*"files":\[".*/timm/model.safetensors".*"model":"vit'
run 0 convert $hub/timm_vit/model -o "$work/names.safetensors" --to torchvision
out_lines 1
err_has 'tensors alone'
run 0 inspect "$work/names.safetensors"
out_has 'encoder.layers.encoder_layer_0.self_attention.in_proj_weight'

run 0 convert $hub/timm_training/model_best.pth.tar --key state_dict -o "$work/own.safetensors" --to locant
run 0 inspect "$work/own.safetensors" --json
out_has '"format":"safetensors"'
run 0 convert $weights -o "$work/digits.safetensors" --to microsoft/Swin-Transformer

# Names of the classes go along.
printf 'ant\nbee\ncat\ndog\nelk\n' >"$work/labels"
for to in transformers timm; do
  run 0 convert $hub/timm_vit/model -o "$work/named_$to" --to $to --labels "$work/labels"
  checks=$((checks + 1))
  grep -q '"elk"' "$work/named_$to/config.json" || die "config.json for $to does not name the classes"
  run 0 inspect "$work/named_$to"
  out_has '^classes: 5, named by (id2label|label_names)$'
done
echo '["ant", "bee", "cat", "dog", "elk"]' >"$work/labels.json"
run 0 convert $hub/timm_vit/model -o "$work/named.safetensors" --to locant --labels "$work/labels.json"
run 0 inspect "$work/named.safetensors"
out_has '^metadata locant.classes: \["ant","bee","cat","dog","elk"\]$'
echo fox >>"$work/labels"
mistake '6 names of classes were given, the model has 5 classes' convert $hub/timm_vit/model -o "$work/z" --to timm --labels "$work/labels"
mistake 'no tensor names "nobody"; there are' convert $weights -o "$work/x.safetensors" --to nobody
mistake 'no tensor names "huggingface"; there are .*transformers' convert $hub/vit_5_labels/model -o "$work/x" --to huggingface
mistake 'no tensor names "onnx"; there are .*transformers' convert $hub/vit_5_labels/model -o "$work/x.onnx" --to onnx
mistake "--to transformers writes a folder.*: -o $work/y " convert $hub/vit_5_labels/model -o "$work/y.safetensors" --to transformers
mistake '--to timm writes a folder' convert $hub/timm_vit/model -o "$work/y.safetensors" --to timm
checks=$((checks + 1))
[ -z "$(find "$work" -name '[xy]*' -newer "$work/names.safetensors")" ] || die 'a refused conversion left files'
mistake 'ends in .safetensors' convert $weights -o "$work/x" --to torchvision
mistake '--to' convert $weights -o "$work/x"
mistake 'nowhere' convert nowhere.pth -o "$work/x" --to timm
