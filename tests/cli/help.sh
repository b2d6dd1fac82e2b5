# Help, version, exit codes of what cannot be parsed.
source tests/cli/support.bash

run 0 --version
out_has '^locant [0-9]+\.[0-9]+\.[0-9]+$'
run 0 --help
for command in demo classify evaluate features train verify inspect convert list draw bench; do
  out_has "^  $command "
done
out_has 'LOCANT_ISA'
for command in demo classify evaluate features train verify inspect convert list draw bench 'bench attention' 'bench model' 'bench matmul'; do
  # shellcheck disable=SC2086
  run 0 $command --help
  out_has "^Usage: locant $command"
  out_has '^Examples:'
  out_has "^  (cat .*)?locant $command"
  out_has '--threads N'
  err_empty
done
run 0 classify --help
out_has '--top K .*\[5\]'

run 2
err_has 'Usage'
mistake "no command 'clasify'; commands: .*classify" clasify
mistake 'see locant classify --help' classify
mistake '--frobnicate' classify x.png --frobnicate
mistake '--threads' list --threads 0
mistake '--threads' --threads many list
mistake '--top' classify x.png --top 0
mistake 'see locant bench --help' bench
mistake '--seconds' bench matmul --seconds -1
