#pragma once

#include <cstdint>
#include <string>

#include "models/config_json.h"
#include "models/named_shapes.h"
#include "nn/irpe_attention.h"

namespace locant {

/// What the families with iRPE have in common: the words of the official get_rpe_config.
struct IrpeConfig {
  std::string on = "k";  ///< letters of q, k and v
  IrpeMethod method = IrpeMethod::product;
  IrpeMode mode = IrpeMode::contextual;
  double ratio = 1.9;       ///< alpha; beta is twice and gamma eight times as much
  bool shared_head = true;  ///< one table for all heads

  IrpeForm form() const { return {method, mode, IrpeBins::ratio(ratio)}; }
  IrpeOptions options(std::int64_t width, std::int64_t heads, std::int64_t skip) const {
    return {.width = width, .heads = heads, .form = form(), .on = on, .shared = shared_head, .skip = skip};
  }
  /// All that the tables below `attention` ("blocks.0.attn") tell, and `heads` of `width` channels, `usual`
  /// of them where no table tells; `skip` as in irpe_buckets. No tables: on nothing. Throws Error for tables
  /// that no method has.
  void from_shapes(const NamedShapes& shapes, const std::string& attention, std::int64_t skip,
                   std::int64_t width, std::int64_t usual, std::int64_t& heads);
};

template <class Archive, class Irpe>
void irpe_fields(Archive& a, Irpe& c, std::int64_t skip) {
  a.field("rpe_on", c.on);
  a.choice("method", c.method, {"euc", "quant", "cross", "product"});
  a.choice("mode", c.mode, {"bias", "contextual"});
  a.field("ratio", c.ratio, below(4096));
  a.field("shared_head", c.shared_head);
  const IrpeBins bins = IrpeBins::ratio(c.ratio);
  a.only("alpha", bins.alpha);
  a.only("beta", bins.beta);
  a.only("gamma", bins.gamma);
  a.only("skip", skip);
  a.only("num_buckets", irpe_buckets(c.method, bins, skip));
}

}  // namespace locant
