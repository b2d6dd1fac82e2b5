# Folders and lists of pictures: what is bad is named and counted, what nobody means is passed over, nothing hangs.
source tests/cli/support.bash
digits=examples/digits
weights=examples/digits/digits.safetensors

mkdir -p "$work/mixed/.ipynb_checkpoints" "$work/mixed/__MACOSX" "$work/mixed/deeper"
cp $digits/0_a.png $digits/1_a.png "$work/mixed"
for name in ._0_a.png .hidden.png Thumbs.db __MACOSX/0_a.png .ipynb_checkpoints/0_a.png; do echo litter >"$work/mixed/$name"; done
run 0 classify "$work/mixed" --csv --top 1 -q
out_lines 3
err_empty
run 1 classify "$work/mixed/0_a.png" "$work/mixed/Thumbs.db" "$work/mixed/__MACOSX/" "$work/mixed/._0_a.png" "$work/mixed/.hidden.png" --csv --top 1
out_lines 3
err_has 'Thumbs.db: passed over'
err_has 'warning: .*\.hidden.png'  # named on purpose

# Damaged, empty, unreadable, and what would hang. Each is named; the others are answered.
head -c 100 $digits/2_a.png >"$work/mixed/broken.png"
: >"$work/mixed/empty.jpg"
mkfifo "$work/mixed/fifo.jpg"
ln -s nowhere.png "$work/mixed/dangling.png"
ln -s /dev/zero "$work/mixed/zero.png"
{ printf 'P5\n20000 1\n255\n'; head -c 20000 /dev/zero | tr '\0' 'z'; } >"$work/mixed/line.pgm"
locant_before=$locant
locant() { timeout 60 "$locant_before" "$@"; }
bad='broken.png empty.jpg fifo.jpg dangling.png zero.png'
locant=locant
for format in --json --csv ''; do
  # shellcheck disable=SC2086
  run 1 classify "$work/mixed" $format --top 1 --batch 2
  for name in $bad; do err_has "^locant: warning: .*/$name"; done
  err_has '^locant: warning: 5 of 8 pictures failed$'
  case $format in
    --json)
      cp "$work/err" "$work/kept"
      json_lines
      out_lines 8
      for name in $bad; do out_has "^\{\"picture\":\".*/$name\",\"error\":\"\["; done
      out_has 'line.pgm","model"' ;;
    --csv)
      out_lines 9
      for name in $bad; do out_has "/$name,,,,,[\"[]"; done ;;
    *) out_lines 7 ;;
  esac
done
run 1 features "$work/mixed" --weights $weights --img-size 28 -o "$work/f.safetensors" --picture "$work/f.png"
for name in $bad line.pgm; do err_has "^locant: warning: .*/$name"; done  # of its whole length nothing can be made
err_has '^locant: warning: 6 of 8 pictures failed$'
run 0 inspect "$work/f.safetensors"
out_has '^1_a.patches'
out_lacks '^2_a'
rm -f "$work/f.safetensors"
run 1 features "$work/mixed/broken.png" "$work/mixed/empty.jpg" --weights $weights -o "$work/f.safetensors"
[ ! -e "$work/f.safetensors" ] || die "features of nothing were written"

# A list goes on past names that do not exist; a lone file, and --strict, end at once.
mkdir "$work/none"
run 1 classify nowhere.png $digits/3_a.png "$work/none" --top 1
out_has "^$digits/3_a.png$"
err_has 'no file or folder nowhere.png'
err_has 'no picture in the folder'
err_has '2 of 3 pictures failed'
mistake 'broken.png' classify "$work/mixed/broken.png"
run 2 classify "$work/mixed/broken.png" --json
out_lines 1
out_has '"error":'
run 2 classify "$work/mixed" --strict --csv --top 1
out_has '/1_a.png,1,1,1,'
err_has '^locant: \[image\] .*broken.png'
! grep -q 'empty.jpg' "$work/err" "$work/out" || die "--strict went on"
run 2 features "$work/mixed" --weights $weights -o "$work/f.safetensors" --strict
err_has '^locant: \[image\] .*broken.png'
[ ! -e "$work/f.safetensors" ] || die "--strict wrote features"

# A FIFO that is named is read.
run 0 classify <(cat $digits/3_a.png) --top 1
out_has '%  3$'

# Names are shown, not sent: C0, C1, what is no UTF-8.
mkdir "$work/names"
steer=$'\e]0;x\a\xc2\x9b31m\xff\n.png'
cp $digits/3_a.png "$work/names/$steer"
shown='/\\x1b\]0;x\\x07\\u009b31m\\xff\\x0a\.png'
run 0 classify "$work/names"
out_has "$shown\$"
run 0 classify "$work/names" --json
json_lines
! grep -q "$(printf '\302\233')" "$work/out" || die "a C1 control in JSON"
cp $digits/4_a.png "$work/names"
run 0 features "$work/names" --weights $weights --img-size 28 -o "$work/f.safetensors"
run 0 inspect "$work/f.safetensors"
out_has '^4_a.cls '
rm "$work/names/4_a.png"
echo broken >"$work/names/$steer"
run 1 classify "$work/names"
err_has "^locant: warning: \[image\] .*$shown: "
mistake "$shown" inspect "$work/names/$steer"
mistake "$shown" draw alibi -o "$work/nowhere/$steer"
