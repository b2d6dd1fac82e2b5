#include "position/catalogue/encoding.h"

#include "core/error.h"

namespace locant {

const char* place_name(EncodingPlace place) {
  switch (place) {
    case EncodingPlace::tokens:
      return "tokens";
    case EncodingPlace::query_key:
      return "q and k";
    case EncodingPlace::score:
      return "score, table";
    case EncodingPlace::vectors:
      return "score, query or key times table";
    case EncodingPlace::value:
      return "value";
    case EncodingPlace::own_softmax:
      return "own softmax";
    case EncodingPlace::linear:
      return "kernelised";
    case EncodingPlace::projection:
      return "projection side";
  }
  return "";
}

namespace {

std::string grid_text(const Grid& g) { return fmt::format("{}x{}x{}", g.frames, g.rows, g.columns); }

void check_grids(const Encoding& encoding, const Grid& query, const Grid& key) {
  const EncodingGrids grids = encoding.grids;
  const bool flat = grids == EncodingGrids::flat || grids == EncodingGrids::one_flat;
  const bool one = grids == EncodingGrids::one || grids == EncodingGrids::one_flat;
  const bool differ = query.frames != key.frames || query.rows != key.rows || query.columns != key.columns;
  require(!(flat && (query.frames != 1 || key.frames != 1)) && !(one && differ), encoding.name,
          "queries on a grid of {} and keys on one of {} (frames, rows, columns); {} was expected",
          grid_text(query), grid_text(key),
          !one   ? "one frame each"
          : flat ? "one flat grid"
                 : "one grid");
}

void check_variant(const Encoding& encoding, const std::string& variant) {
  if (variant.empty() || encoding.composes_variants) return;
  std::string known;
  int count = 0;
  for (const char* const* name = encoding.variants; *name != nullptr; ++name, ++count) {
    if (variant == *name) return;
    known += (known.empty() ? "" : ", ") + std::string(*name);
  }
  fail(encoding.name, "no variant \"{}\"; there {} {}", variant, count > 1 ? "are" : "is",
       count == 0 ? "none" : known);
}

}  // namespace

EncodingInstance Encoding::make(const EncodingCase& c) const {
  require(prefix || c.prefix == 0, name, "{} tokens in front; it has positions only", c.prefix);
  check_grids(*this, c.query, c.key);
  check_variant(*this, c.variant);
  return instance(c);
}

Grid natural_grid(const Encoding& encoding, std::int64_t side) {
  bool sequence = true;
  int videos = 0, pictures = 0;
  for (const EncodingCase& c : encoding.cases()) {
    sequence = sequence && c.query.rows == 1 && c.query.frames == 1;
    videos += c.query.frames > 1;
    pictures += c.query.frames == 1 && c.query.tokens() > 1;
  }
  if (videos > pictures) return side % 4 == 0 ? Grid{16, side / 4, side / 4} : Grid{side * side, 1, 1};
  return sequence ? Grid{1, 1, side * side} : Grid{1, side, side};
}

}  // namespace locant
