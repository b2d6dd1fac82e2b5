# locant draw: every encoding as a picture and as numbers, sizes, and what is refused.
source tests/cli/support.bash

# Width and height of a PNG of ours.
size_of() { od -An -tu1 -j16 -N8 "$1" | xargs; }

run 0 draw swin_bias --grid 2x2 --text
[ "$(cat "$work/out")" = "4 3 1 0
5 4 2 1
7 6 4 3
8 7 5 4" ] || die "not the index matrix of a 2 x 2 window"
run 0 draw swin_bias --grid 2x2 --text --query 1
[ "$(cat "$work/out")" = "5 4
2 1" ] || die "not the second query's row"
run 0 draw natten --grid 4x4 --text
out_has '^12 13 14 +\. 17 18 19 +\. 22 23 24 +\. +\. +\. +\. +\.$'

run 0 draw --all "$work/all"
count=0
for name in $("$locant" list encodings --json | sed -E 's/.*"name":"([a-z0-9_]+)".*/\1/'); do
  [ "$(head -c 8 "$work/all/$name.png" | od -An -tx1 | xargs)" = "89 50 4e 47 0d 0a 1a 0a" ] || die "no picture of $name"
  [ "$(wc -c <"$work/all/$name.png")" -lt 8192 ] || die "the picture of $name is not small"
  [ -s "docs/encodings/$name.png" ] || die "docs/encodings/$name.png is missing: locant draw --all docs/encodings"
  "$locant" draw -q "$name" --text >"$work/out" 2>"$work/err" || die "draw $name --text"
  [ -s "$work/out" ] || die "draw $name --text printed nothing"
  [ "$(awk '{ print NF }' "$work/out" | sort -u | wc -l)" -eq 1 ] || die "the columns of $name differ"
  [ "$(awk '{ print length }' "$work/out" | sort -u | wc -l)" -eq 1 ] || die "the columns of $name are not aligned"
  count=$((count + 1))
done
[ "$count" -ge 40 ] && [ "$(find "$work/all" -name '*.png' | wc -l)" -eq "$count" ] || die "not a picture an encoding"

run 0 draw alibi --grid 12 --cell 5 -o "$work/a.png"
out_has "^wrote $work/a.png: alibi, 1 x 12 tokens, 12 x 12 numbers as 60 x 60 pixels$"
[ "$(size_of "$work/a.png")" = "0 0 0 60 0 0 0 60" ] || die "a.png is not 60 x 60"
run 0 draw swin_bias --grid 3x4 --cell 2 -o "$work/a.png"  # and the middle query beside it, 8 pixels between
[ "$(size_of "$work/a.png")" = "0 0 0 40 0 0 0 24" ] || die "a.png is not 40 x 24"
run 0 draw swin_bias --grid 3x4 --cell 2 --query 0 -o "$work/a.png"
[ "$(size_of "$work/a.png")" = "0 0 0 8 0 0 0 6" ] || die "a.png is not 8 x 6"
run 0 draw decomposed --grid 2x2 --key-grid 4x3 --prefix 1 --text
out_lines 5
out_has '^( *\.){13}$'
run 0 draw dense_bias --grid 3 --heads 2 --d 8 --seed 1 --json
json_lines
out_has '"encoding":"dense_bias","variant":"","query_grid":\[1,1,3\].*"rows":3,"columns":3,"numbers":\[\['
cp "$work/out" "$work/first"
run 0 draw dense_bias --grid 3 --heads 2 --d 8 --seed 2 --json
! cmp -s "$work/out" "$work/first" || die "--seed changes nothing"
run 0 draw t5_bucket --variant causal --grid 4 --text
out_has '^0 \. \. \.$'

run 0 draw alibi --grid 12 --cell 5 -o "$work/a.png"
run 0 draw alibi --grid 12 --cell 5 -o -
cmp "$work/out" "$work/a.png" || die "-o - is not the picture"
err_has '^wrote standard output: alibi'

mistake 'near it: swin_bias' draw swin
mistake 'there are simple_vit, mae, timm, detr' draw sincos --variant cae
mistake 'give the name' draw
mistake 'excludes' draw alibi --all "$work/all"
mistake 'excludes' draw alibi --text -o "$work/a.png"
for grid in 0x2 2x 2x2x2x2 x -1 2y2 '' 99999999999999999999; do mistake 'a grid|grid:' draw swin_bias "--grid=$grid"; done
mistake 'sides of 1 to 4096' draw alibi --grid 4097
mistake 'at most 4096 tokens' draw swin_bias --grid 65x64
mistake 'sides of 1 to 4096' draw alibi --grid 4000000000x4000000000
mistake 'pairs can be drawn' draw alibi --grid 4096
mistake 'smaller cells' draw alibi --grid 512 --cell 1000
mistake 'query 64 of 64' draw alibi --query 64
mistake 'no row for each query' draw peg --query 1
mistake 'swin_bias' draw swin_bias --grid 2x2 --key-grid 3x3
mistake 'nowhere' draw alibi -o "$work/nowhere/a.png"
mistake 'folder' draw --all LICENSE
