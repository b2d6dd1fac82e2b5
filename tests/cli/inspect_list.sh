# locant inspect, locant list.
source tests/cli/support.bash
weights=examples/digits/digits.safetensors

run 0 inspect $weights
out_has "^$weights: safetensors, [0-9]+ tensors, [0-9,]+ numbers, [0-9.]+ [kM]B$"
out_has '^model: .*all [0-9]+ tensors fit'
out_has '^[a-z0-9_.]+weight +F32 +\([0-9, ]+\) +[0-9.]+ k?B$'
run 0 inspect $weights --json
json_lines
out_lines 1
out_has '"format":"safetensors".*"guesses":\[\{"model":.*"tensors":\[\{"name":"[a-z0-9_.]+","dtype":"F32","shape":\['
mistake 'nowhere' inspect nowhere.safetensors
mistake 'LICENSE|README|CMakeLists' inspect CMakeLists.txt
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
