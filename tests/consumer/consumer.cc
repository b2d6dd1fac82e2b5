#include <locant/models.h>
#include <locant/version.h>

#include <cstdio>

int main() {
  locant::RandomSource source(1);
  const locant::Weights weights(source, locant::WeightMode::inference);
  const auto model = locant::make_model("swin", locant::find_model("swin_digits").config, weights);
  const locant::Var logits = model->forward({}, locant::Var(locant::Tensor::zeros({1, 1, 28, 28})));
  std::printf("locant %s: logits %s\n", locant::version(), logits.shape().str().c_str());
  return logits.value().numel() == 10 ? 0 : 1;
}
