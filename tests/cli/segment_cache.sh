# The cache of locant segment and embed: whose embeddings it gives, and what happens where it cannot be used.
source tests/cli/support.bash
python3 tests/cli/mobile_sam.py tests/data/oracle/official/mobilesam/names_mobile_sam_vit_t.json "$work/sam.safetensors" ||
  { last=python3; die "no checkpoint to test with"; }
photo=tests/data/photos/chelsea.png
sam=(--weights "$work/sam.safetensors" --image-size 128)
ask=(segment $photo "${sam[@]}" --point 150,120 -o)

# An embedding belongs to the content of the weights: one number of a bias, the header, size and time as they were.
run 0 "${ask[@]}" "$work/a.png" --cache "$work/cache"
err_lacks 'warning'
touch -r "$work/sam.safetensors" "$work/time"
python3 tests/cli/set_number.py "$work/sam.safetensors" image_encoder.neck.3.bias 7 0.5
touch -r "$work/time" "$work/sam.safetensors"
run 0 "${ask[@]}" "$work/right.png" --cache "$work/cache"
err_has 'cached embedding not used: .* was made by other weights \([0-9a-f]{12}\.\.\.\) than these \([0-9a-f]{12}\.\.\.\)'
err_has 'encoded by mobile_sam'
run 0 "${ask[@]}" "$work/a.png" --no-cache
cmp "$work/right.png" "$work/a.png" || die "an answer of other weights"

# One warning and the right answer where nothing can be kept.
unusable() {
  err_has "^locant: warning: .*$1.*: nothing is kept for the next time \\(--cache DIR names another folder\\)$"
  [ "$(grep -c warning "$work/err")" -eq 1 ] || die "$last: not one warning"
  cmp "$work/right.png" "$work/a.png" || die "$last: another answer"
  rm "$work/a.png"
}
echo 'a file' >"$work/file"
ln -s "$work/nowhere/at all" "$work/link"
mkdir "$work/tiny"
run 0 "${ask[@]}" "$work/a.png" --cache "$work/file"
unusable "$work/file is no folder"
run 0 "${ask[@]}" "$work/a.png" --cache "$work/file/below"
unusable "$work/file/below is no folder"
run 0 "${ask[@]}" "$work/a.png" --cache "$work/link"
unusable "$work/link is no folder"
run 0 "${ask[@]}" "$work/a.png" --cache /dev/full
unusable '/dev/full is no folder'
(unset HOME XDG_CACHE_HOME; run 0 "${ask[@]}" "$work/a.png") || exit 1
unusable 'neither XDG_CACHE_HOME nor HOME names a folder'
(HOME=relative XDG_CACHE_HOME= run 0 "${ask[@]}" "$work/a.png") || exit 1
unusable 'neither XDG_CACHE_HOME nor HOME names a folder'
(HOME=$work/file XDG_CACHE_HOME= run 0 "${ask[@]}" "$work/a.png") || exit 1
unusable "$work/file/.cache/locant/embeddings is no folder"
real=$locant
for kind in size=64k ro; do  # a full disk and one that cannot be written, where this machine lets us have them
  unshare -rm mount -t tmpfs -o $kind none "$work/tiny" 2>/dev/null || continue
  cat >"$work/inside" <<EOS
#!/bin/sh
mount -t tmpfs -o $kind none "$work/tiny" && exec "$real" "\$@"
EOS
  chmod +x "$work/inside"
  cat >"$work/locant" <<EOS
#!/bin/sh
exec unshare -rm "$work/inside" "\$@"
EOS
  chmod +x "$work/locant"
  locant=$work/locant
  run 0 "${ask[@]}" "$work/a.png" --cache "$work/tiny"
  unusable "$work/tiny/.*"
  locant=$real
done
# embed is there for the cache alone.
mistake 'is no folder' embed $photo "${sam[@]}" --cache "$work/file"
mistake 'is no folder' embed $photo "${sam[@]}" --cache "$work/link"
(unset HOME XDG_CACHE_HOME; mistake 'neither XDG_CACHE_HOME nor HOME' embed $photo "${sam[@]}") || exit 1

# An embedding that leads nowhere is none.
embedding=$(ls "$work/cache"/*.safetensors)
[ "$(basename "$embedding")" = "$(sha256sum $photo | cut -d' ' -f1).safetensors" ] || die "not named by the picture"
rm "$embedding" && ln -s "$work/nowhere/at all" "$embedding"
run 0 "${ask[@]}" "$work/a.png" --cache "$work/cache"
unusable "$embedding"
rm "$embedding"

# What the weights are is read once; two seconds after its last change a file is remembered as it is.
while [ $(($(date +%s) - $(stat -c %Z "$work/sam.safetensors"))) -lt 3 ]; do sleep 0.1; done
for encoded in err_has err_lacks; do
  run 0 "${ask[@]}" "$work/a.png" --cache "$work/cache"
  $encoded 'encoded by'
  cmp "$work/right.png" "$work/a.png" || die "another answer"
done
[ "$(ls "$work/cache"/weights-*.json | wc -l)" -eq 1 ] || die "the weights are not remembered"
grep -q "\"path\":\"$work/sam.safetensors\"" "$work/cache"/weights-*.json || die "$(cat "$work/cache"/weights-*.json)"
run 0 embed $photo "${sam[@]}" --cache "$work/cache"
out_has '^0 embedded, 1 there already, 0 not read$'

# A large file says that it is read, and Ctrl-C ends that.
truncate -s 60G "$work/large"
for command in embed segment; do
  more=(-o "$work/x.png" --point 5,5)
  [ $command = segment ] || more=()
  "$locant" $command $photo --image-size 1024 --weights "$work/large" --cache "$work/cache" "${more[@]}" >"$work/out" 2>"$work/err" &
  pid=$!
  last="$command of large weights"
  for _ in $(seq 100); do grep -q 'once' "$work/err" && break; sleep 0.05; done
  err_has "^$work/large: reading its 64 GB once, to know its embeddings again$"
  kill -INT $pid
  code=0
  wait $pid || code=$?
  [ $code -eq 130 ] || die "$last: exit code $code after SIGINT"
  err_has '^locant: warning: interrupted; nothing was written$'
  [ ! -e "$work/x.png" ] || die "x.png"
done

# What the encoder makes of finite weights may not be: that is said, and not kept. NaN in the weights is named.
python3 tests/cli/set_number.py "$work/sam.safetensors" image_encoder.neck.3.weight all 3e38
python3 tests/cli/set_number.py "$work/sam.safetensors" image_encoder.neck.3.bias all 3e38
rm "$work/cache"/*
run 2 "${ask[@]}" "$work/x.png" --cache "$work/cache"
err_has "^locant: \\[segment\\] $photo: the embedding of this picture holds -?(nan|inf) at \\("
python3 tests/cli/set_number.py "$work/sam.safetensors" image_encoder.neck.3.weight 0 nan
mistake 'tensor image_encoder.neck.3.weight holds -?nan at \(0\)' "${ask[@]}" "$work/x.png" --cache "$work/cache"
[ -z "$(ls "$work/cache"/*.safetensors 2>/dev/null)" ] && [ ! -e "$work/x.png" ] || die "an answer was kept"
