// Fused attention within a window of 7 x 7 tokens, with Swin's relative position bias and the gradient of its
// table.
#include <locant/locant.h>

#include <cstdio>

using namespace locant;

int main() {
  Tensor numbers({64, 49, 3 * 3 * 32});
  Rng rng(1);
  for (float& value : numbers.values()) value = rng.normal();
  // [readme]
  const Window window{7, 7};
  const Var qkv(numbers);  // (64 windows, 49 tokens, q k v x 3 heads x 32)
  const Var table(Tensor::zeros({swin_table_rows(window), 3}), /*requires_grad=*/true);
  const AttentionTerm bias = swin_bias_term({window, table}, swin_gather(window, window));
  Tape tape;
  const Var out = attention({.tape = &tape}, qkv, {.heads = 3, .terms = {bias}});
  tape.backward({{out, Tensor::full(out.shape(), 1.0f)}});
  std::printf("%s, table %s\n", out.shape().str().c_str(), table.grad().shape().str().c_str());
  // [readme]
  std::printf("gradient of a token's bias towards itself, by head:");
  for (int h = 0; h < 3; ++h) std::printf(" %.3f", table.grad()[swin_origin(window) * 3 + h]);
  std::printf("\n");
}
