#include "position/swin_v2_cpb.h"

#include "core/error.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "position/shared/sequence.h"

namespace locant {
namespace {

constexpr const char* kSwinV2CpbName = "swin_v2_cpb";

void check_side(std::int64_t window, std::int64_t pretrained) {
  require(window >= 1 && window <= 4096, kSwinV2CpbName, "a window side of {}; 1 to 4096 were expected",
          window);
  require(pretrained >= 0 && (pretrained != 1 || window == 1), kSwinV2CpbName,
          "a window side of {} cannot be measured by a pretrained side of {}; that must be 0 or at least 2",
          window, pretrained);
}

}  // namespace

Tensor swin_v2_coordinates(Window window, Window pretrained) {
  check_side(window.rows, pretrained.rows);
  check_side(window.columns, pretrained.columns);
  const std::int64_t rows = 2 * window.rows - 1, columns = 2 * window.columns - 1;
  Tensor out({1, rows, columns, 2});
  for (std::int64_t y = 0; y < rows; ++y)
    for (std::int64_t x = 0; x < columns; ++x) {
      float* at = out.data() + (y * columns + x) * 2;
      at[0] = static_cast<float>(swin_v2_coordinate(y - (window.rows - 1), window.rows, pretrained.rows));
      at[1] = static_cast<float>(
          swin_v2_coordinate(x - (window.columns - 1), window.columns, pretrained.columns));
    }
  return out;
}

Var swin_v2_cpb_logits(const Context& ctx, const SwinV2Cpb& cpb, std::int64_t heads) {
  const bool sane = cpb.first_bias.defined() && cpb.first_bias.shape().rank() == 1;
  const std::int64_t hidden = sane ? cpb.first_bias.dim(0) : SwinV2Cpb::kHidden;
  check_table(kSwinV2CpbName, SwinV2Cpb::kFirstWeight, cpb.first_weight, {hidden, 2});
  check_table(kSwinV2CpbName, SwinV2Cpb::kFirstBias, cpb.first_bias, {hidden});
  check_table(kSwinV2CpbName, SwinV2Cpb::kSecondWeight, cpb.second_weight, {heads, hidden});
  const Var coordinates(swin_v2_coordinates(cpb.window, cpb.pretrained));
  return linear(ctx, relu(ctx, linear(ctx, coordinates, cpb.first_weight, cpb.first_bias)), cpb.second_weight,
                {});
}

Var swin_v2_cpb_table(const Context& ctx, const SwinV2Cpb& cpb, const Var& logits) {
  const Shape want{1, 2 * cpb.window.rows - 1, 2 * cpb.window.columns - 1,
                   logits.shape().rank() == 4 ? logits.dim(3) : 1};
  if (logits.shape() != want)
    fail(kSwinV2CpbName, "logits of shape {} do not belong to a {}x{} window: {} was expected",
         logits.shape().str(), cpb.window.rows, cpb.window.columns, want.str());
  const Var table = affine(ctx, sigmoid(ctx, logits), cpb.scale);
  return reshape(ctx, table, {swin_table_rows(cpb.window), logits.dim(3)});
}

AttentionTerm swin_v2_cpb_term(const Context& ctx, const SwinV2Cpb& cpb, std::int64_t heads) {
  const Var table = swin_v2_cpb_table(ctx, cpb, swin_v2_cpb_logits(ctx, cpb, heads));
  return swin_bias_term({cpb.window, table}, swin_gather(cpb.window, cpb.window));
}

}  // namespace locant
