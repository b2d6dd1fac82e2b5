#include "models/irpe_config.h"

#include <algorithm>

#include "core/error.h"

namespace locant {
namespace {

constexpr const char* kWords[] = {"euc", "quant", "cross", "product"};

/// What the tables of one side say.
struct Tables {
  bool cross = false;
  IrpeMode mode = IrpeMode::contextual;
  std::int64_t count = 1, buckets = 0;
  std::int64_t head_dim = 0;  ///< 0: numbers, no vectors
};

bool find_tables(const NamedShapes& shapes, const std::string& attention, char side, Tables& out) {
  for (const IrpeMethod method : {IrpeMethod::product, IrpeMethod::cross})
    for (const IrpeMode mode : {IrpeMode::contextual, IrpeMode::bias}) {
      const std::string name = join_path(attention, irpe_name({method, mode}, side, 0));
      if (!shapes.has(name)) continue;
      const int buckets = mode == IrpeMode::bias || side == 'v' ? 1 : 2;
      out = {method == IrpeMethod::cross, mode, shapes.dim(name, 0), shapes.dim(name, buckets), 0};
      if (mode == IrpeMode::contextual) out.head_dim = shapes.dim(name, 3 - buckets);
      return true;
    }
  return false;
}

/// Method and ratio of tables with so many buckets, without that of the skipped tokens.
void tell_buckets(const NamedShapes& shapes, bool cross, std::int64_t buckets, IrpeConfig& c) {
  const std::int64_t side = NamedShapes::square(buckets).rows;
  const bool product = side % 2 == 1;
  require(buckets >= 1 && buckets % 2 == 1 && (product || buckets > 1), "irpe",
          "tables of {} buckets beside that of the class token; they must be odd", buckets);
  if (cross) {
    c.method = IrpeMethod::cross;
  } else {  // 133 are those of the released quantisation
    std::string word = kWords[static_cast<std::size_t>(c.method)];
    const bool possible = c.method == IrpeMethod::product ? product : c.method != IrpeMethod::cross;
    shapes.assume("method", word,
                  std::string(product          ? "product"
                              : buckets == 133 ? "quant"
                                               : "euc"),
                  possible);
    for (std::size_t m = 0; m < std::size(kWords); ++m)
      if (word == kWords[m]) c.method = static_cast<IrpeMethod>(m);
  }
  const std::int64_t most = ((c.method == IrpeMethod::product ? side : buckets) - 1) / 2;
  // Half of what is told apart, and 1.9 for 7 x 7.
  shapes.assume("ratio", c.ratio, most == 3 ? 1.9 : std::max(0.25, static_cast<double>(most) / 2.0),
                irpe_buckets(c.method, IrpeBins::ratio(c.ratio), 0) == buckets);
}

}  // namespace

void IrpeConfig::from_shapes(const NamedShapes& shapes, const std::string& attention, std::int64_t skip,
                             std::int64_t width, std::int64_t usual, std::int64_t& heads) {
  Tables tables;
  std::string sides;
  for (const char side : {'q', 'k', 'v'})
    if (find_tables(shapes, attention, side, tables)) sides += side;
  if (!std::is_permutation(sides.begin(), sides.end(), on.begin(), on.end())) on = sides;
  if (tables.head_dim > 0 && width % tables.head_dim == 0)
    heads = width / tables.head_dim;
  else if (tables.count > 1)
    heads = tables.count;
  else
    shapes.assume("heads", heads, std::max<std::int64_t>(width / usual, 1));
  if (sides.empty()) return;
  mode = tables.mode;
  if (heads > 1) shared_head = tables.count == 1;  // of one head, both are the same
  tell_buckets(shapes, tables.cross, tables.buckets - (skip > 0 ? 1 : 0), *this);
}

}  // namespace locant
