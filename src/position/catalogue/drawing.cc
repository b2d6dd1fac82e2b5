#include "position/catalogue/drawing.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>

#include "core/error.h"
#include "position/catalogue/picture.h"

namespace locant {
namespace drawing_encoding {
namespace {

constexpr std::int64_t kMostTokens = 4096, kMostHeads = 64, kWidestHead = 512, kMostPairs = 1 << 24;
constexpr std::int64_t kMostProducts = std::int64_t{1} << 31;  // of all queries and keys
constexpr float kNothing = std::numeric_limits<float>::quiet_NaN();

void check_grid(const char* which, const Grid& grid, std::int64_t prefix) {
  for (const std::int64_t side : {grid.frames, grid.rows, grid.columns})
    require(side >= 1 && side <= kMostTokens, "draw",
            "a {} grid of {} x {} x {}; sides of 1 to {} can be drawn", which, grid.frames, grid.rows,
            grid.columns, kMostTokens);
  require(prefix >= 0 && prefix <= kMostTokens && prefix + grid.tokens() <= kMostTokens, "draw",
          "a {} grid of {} x {} x {} behind {} tokens; at most {} tokens can be drawn", which, grid.frames,
          grid.rows, grid.columns, prefix, kMostTokens);
}

void check_size(const EncodingCase& c) {
  check_grid("query", c.query, c.prefix);
  check_grid("key", c.key, c.prefix);
  require(c.H >= 1 && c.H <= kMostHeads && c.D >= 1 && c.D <= kWidestHead, "draw",
          "{} heads of {} channels; 1 to {} heads of 1 to {} can be drawn", c.H, c.D, kMostHeads,
          kWidestHead);
  const std::int64_t most = std::max(c.Nq(), c.Nk());
  require(c.H * most * most <= kMostPairs, "draw",
          "{} queries and {} keys of {} heads; {} pairs can be drawn, fewer tokens or heads were expected",
          c.Nq(), c.Nk(), c.H, kMostPairs);
  require(c.H * most * most * c.D <= kMostProducts, "draw",
          "{} queries and {} keys of {} heads of {} channels; {} multiply-adds can be drawn, less of one was "
          "expected",
          c.Nq(), c.Nk(), c.H, c.D, kMostProducts);
  require(c.H * c.D * most <= kMostPairs, "draw", "{} tokens of {} channels; {} numbers can be drawn", most,
          c.H * c.D, kMostPairs);
}

/// Whole numbers from 0 on, -1 for nothing.
bool is_counts(const std::vector<float>& numbers) {
  return std::all_of(numbers.begin(), numbers.end(),
                     [](float x) { return std::isnan(x) || (x >= -1.0f && x == std::floor(x)); });
}

/// Where a picture has a row for each query; those of tokens, projections and gates are laid out otherwise.
bool draws_pairs(const Encoding& encoding) {
  return encoding.picture == nullptr || encoding.place == EncodingPlace::query_key ||
         encoding.place == EncodingPlace::score || encoding.place == EncodingPlace::linear;
}

/// Variants that show more than the usual one: all tokens alike give plain linear attention no pattern, and
/// a joint table has a row of its own for every token.
const char* drawn_variant(const std::string& name) {
  if (name == "linear_attention") return "elu rope";
  if (name == "absolute_3d") return "factorised";
  return "";
}

EncodingCase usual_case(const Encoding& encoding, const std::string& variant) {
  const std::string name = encoding.name;
  EncodingCase c{.H = 4, .D = 16, .Dv = 16, .variant = variant};
  // A number of its own for every pair is noise: less of it.
  c.query = natural_grid(encoding, name == "dense_bias" || name == "cosine_attention" ? 4 : 8);
  if (c.query.frames > 1) c.query = {4, 4, 4};
  if (name == "linear_attention") c.query = {1, 1, 64};  // its positions are a sequence's
  if (name == "gpsa") c.H = 9, c.query = {1, 7, 7};      // a neighbour of the middle each
  if (encoding.place == EncodingPlace::tokens) c.D = c.Dv = c.query.rows == 1 ? 8 : 4;
  c.key = c.query;
  std::int64_t with_prefix = 0, cases = 0;
  for (const EncodingCase& own : encoding.cases()) cases += 1, with_prefix += own.prefix > 0;
  c.prefix = 2 * with_prefix > cases ? 1 : 0;
  return c;
}

}  // namespace
}  // namespace drawing_encoding

EncodingCase drawing_case(const Encoding& encoding, const std::string& variant) {
  const EncodingCase usual = drawing_encoding::usual_case(
      encoding, variant.empty() ? drawing_encoding::drawn_variant(encoding.name) : variant);
  std::exception_ptr why;
  try {
    draw_encoding(encoding, usual);
    return usual;
  } catch (const Error&) {
    why = std::current_exception();
  }
  const std::vector<EncodingCase> cases = encoding.cases();
  const EncodingCase* largest = nullptr;
  for (const EncodingCase& own : cases)
    if (own.variant == usual.variant && (largest == nullptr || own.Nk() > largest->Nk())) largest = &own;
  if (largest == nullptr) std::rethrow_exception(why);
  return *largest;
}

Drawing draw_encoding(const Encoding& encoding, const EncodingCase& c) {
  drawing_encoding::check_size(c);
  encoding.make(c);  // refuses what does not suit the encoding: index and picture take any case
  Drawing out;
  if (encoding.picture != nullptr) {
    const Tensor picture = encoding.picture(c);
    out.rows = picture.dim(0), out.columns = picture.dim(1);
    out.numbers.assign(picture.values().begin(), picture.values().end());
    out.counts = drawing_encoding::is_counts(out.numbers);
  } else {
    require(encoding.index != nullptr, "draw", "{} has neither an index nor a picture", encoding.name);
    out.rows = c.Nq(), out.columns = c.Nk();
    for (const std::int64_t row : encoding.index(c)) out.numbers.push_back(static_cast<float>(row));
    out.counts = true;
  }
  if (out.counts)
    for (float& x : out.numbers)
      if (x < 0.0f) x = drawing_encoding::kNothing;
  out.pairs = drawing_encoding::draws_pairs(encoding) && out.rows == c.Nq() && out.columns == c.Nk();
  return out;
}

Drawing query_drawing(const Drawing& drawing, const EncodingCase& c, std::int64_t query) {
  require(drawing.pairs && drawing.rows == c.Nq() && drawing.columns == c.Nk(), "draw",
          "the picture of {} x {} numbers has no row for each query of {} and column for each key of {}",
          drawing.rows, drawing.columns, c.Nq(), c.Nk());
  require(query >= 0 && query < c.Nq(), "draw", "query {} of {}; 0 to {} were expected", query, c.Nq(),
          c.Nq() - 1);
  const Grid& grid = c.key;
  Drawing out;
  out.counts = drawing.counts;
  const std::int64_t across = squarish(grid.frames), down = (grid.frames + across - 1) / across;
  out.columns = across * (grid.columns + 1) - 1;
  const std::int64_t above = c.prefix == 0 ? 0 : (c.prefix + out.columns - 1) / out.columns + 1;
  out.rows = above + down * (grid.rows + 1) - 1;
  out.numbers.assign(static_cast<std::size_t>(out.rows * out.columns), drawing_encoding::kNothing);
  for (std::int64_t j = 0; j < c.Nk(); ++j) {
    std::int64_t at = j;  // the prefix fills its lines from the left
    if (const std::int64_t n = j - c.prefix; n >= 0) {
      const std::int64_t area = grid.rows * grid.columns, frame = n / area;
      const std::int64_t y = above + frame / across * (grid.rows + 1) + n % area / grid.columns;
      at = y * out.columns + frame % across * (grid.columns + 1) + n % grid.columns;
    }
    out.numbers[static_cast<std::size_t>(at)] =
        drawing.numbers[static_cast<std::size_t>(query * drawing.columns + j)];
  }
  return out;
}

}  // namespace locant
