#include "position/all.h"

#include <algorithm>

#include "core/error.h"
#include "position/swin_bias.h"

namespace locant {

const std::vector<const Encoding*>& encodings() {
  static const std::vector<const Encoding*> all = {
      // tokens
      // q and k
      // score, table
      &kSwinBias,
      // score, query or key times table
      // value
      // own softmax
      // kernelised
      // projection side
  };
  return all;
}

const Encoding& find_encoding(std::string_view name) {
  for (const Encoding* encoding : encodings())
    if (encoding->name == name) return *encoding;
  std::string near;
  for (const Encoding* encoding : encodings()) {
    const std::string_view other = encoding->name;
    if (other.find(name) != std::string_view::npos || name.find(other) != std::string_view::npos ||
        other.substr(0, 3) == name.substr(0, 3))
      near += (near.empty() ? "; near it: " : ", ") + std::string(other);
  }
  fail("encodings", "nothing is called {}{}; locant list encodings shows all {}", name, near,
       encodings().size());
}

}  // namespace locant
