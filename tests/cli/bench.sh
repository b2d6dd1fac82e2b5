# locant bench: every measurement runs and says what it should; no time is judged.
source tests/cli/support.bash

run 0 bench matmul --seconds 0 --matmul-size 64 --json --threads 1
json_lines
out_lines 2
out_has '^\{"name":"packed_matmul_64","pass":"forward","precision":"f32","isa":"[a-z0-9]+","threads":1,"batch":1,"ms":[0-9.]+,"gflops":[0-9.]+,"over_matmul":1.0000\}$'

run 0 bench attention --matmul-size 64 --n 64 --d 16 --heads 2 --seconds 0 --json
json_lines
out_lines 3
for pass in forward backward 'forward\+backward'; do
  out_has "^\{\"name\":\"custom\",\"pass\":\"$pass\",.*\"gflops\":[0-9.]+,\"over_matmul\":[0-9.]+,\"over_composed\":[0-9.]+,\"peak_mb\":[0-9.]+\}$"
done
run 0 bench attention --matmul-size 64 --preset swin_stage4 --seconds 0 --no-composed
out_has '^name +pass '
out_has '^swin_stage4 +forward '
run 0 bench attention --matmul-size 64 --side 4 --windows 4 --seconds 0 --json
json_lines
mistake 'no preset is called sam; there are global' bench attention --preset sam -q --json
mistake 'exclude each other' bench attention --preset global --n 64 -q --json
mistake 'no square grid' bench attention --side 4 --windows 3 -q --json
mistake '--d' bench attention --d 257

run 0 bench encodings swin_bias 'shaw:k*' --shape swin_stage1 --seconds 0 --json
json_lines
out_lines 2
out_has '^\{"name":"swin_bias","shape":"swin_stage1",.*"causal":false,.*"over_none":[0-9.]+,"both_over_none":[0-9.]+,.*"composed_both_over_none":[0-9.]+'
out_has '^\{"name":"shaw:keys",'
run 0 bench encodings music_transformer --shape swin_stage1 --seconds 0 --no-composed --markdown
out_has '^\| music_transformer \(causal\) \| [0-9.]+ \| [0-9.]+ \| - \| - \|'
mistake 'no encoding is called swim_bias' bench encodings swim_bias -q
mistake 'no shape is called vit; there are vit_b' bench encodings swin_bias --shape vit -q

run 0 bench model swin_digits --seconds 0 --profile --json
json_lines
out_has '^\{"name":"swin_digits","pass":"forward",.*"batch":1,"ms":[0-9.]+,"peak_mb":[0-9.]+,"images_per_s":[0-9.]+,"parameters":[0-9]+,"gmac":[0-9.]+,"model":"swin_digits","family":"swin",.*"assumed":\[\]\}$'
out_has '"layer":"other"'
run 0 bench model --weights examples/digits/digits.safetensors --batch 4 --train --seconds 0 --profile
out_has ' forward\+backward +4 '
out_has '^other '
mistake 'nearest' bench model swin_tinny -q --json
mistake "model's name or --weights" bench model -q --json

run 0 bench zoo swin_digits --seconds 0 --matmul-size 64 -q
out_lines 2
out_has '^name,family,batch,parameters,gmac,ms,images_per_s,peak_mb,gmac_per_s,matmul_gmac_per_s,of_matmul,shares$'
out_has '^swin_digits,swin,1,[0-9]+,[0-9.]+,'
run 0 bench zoo swin_digits --seconds 0 --matmul-size 64 --batch 2 --json -q
json_lines
out_has '"batch":2,.*"family":"swin",.*"name":"swin_digits",.*"shares":"[a-z_0-9]+ [0-9]+ %'
mistake 'no model or family of pictures is called t5_small' bench zoo t5_small -q
