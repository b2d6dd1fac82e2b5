// Fused attention within a window of 7 x 7 tokens, with Swin's relative position bias and the gradient of its
// table.
#include <locant/locant.h>

#include <cstdio>

using namespace locant;

int main() {
  Tensor numbers({64, 49, 3 * 3 * 32});  // 64 windows, 49 tokens, q k v of 3 heads of width 32
  Rng rng(1);
  for (float& value : numbers.values()) value = rng.normal();
  // [readme]
  const Window window{7, 7};
  const Var table(Tensor::zeros({swin_table_rows(window), 3}), /*requires_grad=*/true);
  AttentionOptions options;
  options.heads = 3;
  options.terms = {swin_bias_term({window, table}, swin_gather(window, window))};
  Tape tape;
  const Var out = attention({.tape = &tape}, Var(numbers), options);
  tape.backward({{out, Tensor::full(out.shape(), 1.0f)}});
  // [readme]
  std::printf("out %s, gradient of the table %s\n", out.shape().str().c_str(),
              table.grad().shape().str().c_str());
  std::printf("of a token's bias towards itself, by head:");
  for (int h = 0; h < 3; ++h) std::printf(" %.3f", table.grad()[swin_origin(window) * 3 + h]);
  std::printf("\n");
}
