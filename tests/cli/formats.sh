# Pages and 16-bit samples of pictures, by locant classify with the bundled digits; that a model answers is enough.
source tests/cli/support.bash
pages=tests/data/tiff/pages.tif

run 0 classify $pages --page 2 --json
err_has "^$pages: page 2 of 3 is read$"
json_lines
run 0 classify $pages -q
err_empty
"$locant" classify $pages --page 4 >"$work/out" 2>"$work/err" && die "a page that is not there was read"
err_has "$pages: page 4 was asked for; there are 3"
"$locant" classify tests/data/images/rgb8.png --page 2 >"$work/out" 2>"$work/err" && die "a PNG has no pages"
err_has 'only TIFF has pages'
"$locant" classify tests/data/tiff/float32.tif >"$work/out" 2>"$work/err" && die "floating point was read"
err_has 'float32.tif: a TIFF of 32-bit floating point: scale it'

# The three ways from 16 bits to 8 are three pictures, and the first is said to be dark where it is.
{ printf 'P5 64 64 65535\n\377\377'; head -c 4000 /dev/zero; yes a | head -c 4190; } >"$work/hot.pgm"  # one hot pixel
seen() {  # seen NAME PICTURE HOW
  run 0 features "$2" --weights examples/digits/digits.safetensors --depth16 "$3" -o "$work/$1.safetensors"
}
seen high tests/data/tiff/grey16_camera.tif high
seen range tests/data/tiff/grey16_camera.tif range
cmp -s "$work/high.safetensors" "$work/range.safetensors" && die "--depth16 range changes nothing"
seen range "$work/hot.pgm" range
seen percentile "$work/hot.pgm" percentile
cmp -s "$work/range.safetensors" "$work/percentile.safetensors" && die "--depth16 percentile changes nothing"
printf 'P5 2 2 65535\n\1\0\2\0\3\0\4\0' >"$work/dark.pgm"
run 0 classify "$work/dark.pgm"
err_has 'dark.pgm: 16-bit samples by their high bytes: the brightest is 4 of 255; depth16 range or percentile stretches them'
run 0 classify "$work/dark.pgm" --depth16 percentile
! grep -q 'high bytes' "$work/err" || die "a stretched picture is called dark"
mistake 'depth16' classify "$work/dark.pgm" --depth16 bright
mistake 'page' classify "$work/dark.pgm" --page 0

# A folder's TIFFs are found.
mkdir "$work/folder" && cp tests/data/tiff/rgb8.tif "$work/folder/a.TIF" && cp tests/data/tiff/grey8_lzw.tif "$work/folder/b.tiff"
run 0 classify "$work/folder" --json
out_lines 2
