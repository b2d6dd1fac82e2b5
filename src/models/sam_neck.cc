#include "models/sam_neck.h"

#include "ops/rearrange.h"

namespace locant {

SamNeck::SamNeck(const Weights& w, std::int64_t in, std::int64_t out, float norm_eps)
    : path_(w.path()),
      reduce_(w / 0, in, out,
              {.bias = false, .weight_init = Init::fan_in(in), .weight_shape = {out, in, 1, 1}}),
      norm1_(w / 1, out, norm_eps),
      norm2_(w / 3, out, norm_eps),
      conv_(w / 2, out, out, Conv2d::square(3, 1, 1, 1, false)) {}

Var SamNeck::operator()(const Context& ctx, const Var& tokens, std::int64_t rows,
                        std::int64_t columns) const {
  Var x = reduce_(ctx, tokens);
  if (ctx.probe != nullptr) ctx.show([&] { return path_ + ".0"; }, tokens_to_images({}, x, rows, columns));
  x = tokens_to_images(ctx, norm1_(ctx, x), rows, columns);
  ctx.show([&] { return path_ + ".1"; }, x);
  x = conv_(ctx, x);
  x = tokens_to_images(ctx, norm2_(ctx, images_to_tokens(ctx, x)), rows, columns);
  ctx.show([&] { return path_; }, x);
  return x;
}

}  // namespace locant
